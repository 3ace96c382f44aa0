package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errPlaceLost says that the place in the queue is gone: the lease ended, or somebody deleted the key.
var errPlaceLost = errors.New("the place in the queue is lost")

// Acquire waits for its turn and returns with the lock held. The error is ErrBusy, a *SkippedError, a *RefusedError, a
// *SlotsError, ctx's cause, or what kept the cluster from answering. Nothing is left behind in the queue then, unless the cluster did not
// answer; in that case the lease ends by itself.
func Acquire(ctx context.Context, s Store, clock Clock, r Request) (*Held, error) {
	if r.Name == "" {
		return nil, &RefusedError{errors.New("a lock needs a name")}
	}
	if r.Claim.Mode == "" {
		r.Claim.Mode = Exclusive
	}
	if err := validClaim(r.Claim); err != nil {
		return nil, &RefusedError{err}
	}
	for {
		n, err := open(ctx, s, clock, &r)
		if err != nil {
			return nil, err
		}
		a := &acquirer{store: s, session: n, r: &r, key: KeyOf(r.Name, n.lease)}
		h, err := a.run(ctx)
		if err == nil {
			return h, nil
		}
		a.leave(ctx)
		if !errors.Is(err, errPlaceLost) {
			return nil, err
		}
		r.notice(Notice{Event: "rejoined", Key: a.key, Text: "lost the place in the queue; joining it again"})
	}
}

// acquirer is one place in a queue.
type acquirer struct {
	store   Store
	session *session
	r       *Request

	key   string
	token int64
	value Holder

	unmark bool // this user may not write markers
	nested bool // keys of locks whose names begin with this one's are among those of its queue
}

func (a *acquirer) run(ctx context.Context) (*Held, error) {
	if err := a.r.Once.check(ctx, a.store, a.r.Name, 0); err != nil {
		return nil, err
	}
	v, err := a.enqueue(ctx)
	if err != nil {
		return nil, err
	}
	if v, err = a.wait(ctx, v); err != nil {
		return nil, err
	}
	if err := a.delay(ctx, v.stale); err != nil {
		return nil, err
	}
	if err := a.markStart(ctx); err != nil {
		return nil, err
	}
	return a.hold(ctx, v)
}

// commit repeats a transaction that is idempotent until it is answered.
func (a *acquirer) commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	return persist(ctx, a.session, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return a.store.Commit(ctx, cmps, then, orElse)
	})
}

func (a *acquirer) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return persist(ctx, a.session, func(ctx context.Context) (*clientv3.GetResponse, error) { return a.store.Get(ctx, key, opts...) })
}

// persist repeats a call, each time with a deadline of its own, until it is answered or refused, or the session has ended.
func persist[T any](ctx context.Context, n *session, call func(context.Context) (T, error)) (T, error) {
	for {
		actx, cancel := context.WithTimeout(ctx, max(2*n.now().Attempt(), time.Second))
		v, err := call(actx)
		cancel()
		switch {
		case err == nil:
			return v, nil
		case errors.Is(err, ErrLeaseGone), n.ended():
			return v, errPlaceLost
		case ctx.Err() != nil:
			return v, fmt.Errorf("%w (last answer: %w)", context.Cause(ctx), err)
		}
		if _, ok := errors.AsType[*RefusedError](err); ok {
			return v, err
		}
		if !pause(ctx, retryPause) {
			return v, context.Cause(ctx)
		}
	}
}

// pause waits for d. It returns false when ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// put writes the key: the value is JSON about the holder, or an election's proposal.
func (a *acquirer) put(value Holder, opts ...clientv3.OpOption) clientv3.Op {
	text := value.encode()
	if a.r.Proposal != nil {
		text = *a.r.Proposal
	}
	return clientv3.OpPut(a.key, text, opts...)
}

// BusyError says who holds a lock that was not to be had. It is an ErrBusy.
type BusyError struct {
	Name string
	// By is the first in the queue.
	By Contender
	// Ahead is how many were in the queue.
	Ahead int
}

// Error names the holder, as far as it says who it is.
func (e *BusyError) Error() string {
	return fmt.Sprintf("lock %q is held by %s", e.Name, e.By.Who())
}

// Unwrap makes it an ErrBusy.
func (e *BusyError) Unwrap() error { return ErrBusy }

// Who describes a contender in a few words.
func (c Contender) Who() string {
	h, ok := ParseHolder(c.Value)
	if !ok || h.Host == "" {
		return Plain(c.Key)
	}
	text := fmt.Sprintf("%s (pid %d", Plain(h.Host), h.PID)
	if h.User != "" {
		text += ", " + Plain(h.User)
	}
	if h.Command != "" {
		text += ", " + Plain(h.Command)
	}
	return text + ")"
}

// view is what matters of the queue, at a revision.
type view struct {
	asked     Instant  // when the question was sent
	ahead     Queue    // who comes first; for an exclusive contender at least the last of them
	stale     []string // markers of earlier contenders that did not leave in order, if nobody is ahead who might have made them
	rev       int64
	clusterID uint64
}

// fewMarkers is how many markers are looked at: those of a queue that is in order matter to nobody, and one is enough to know
// that it is not.
const fewMarkers = 8

// enqueue puts the key at the end of the queue; its create revision is the place.
func (a *acquirer) enqueue(ctx context.Context) (view, error) {
	if a.value.LockKey == "" {
		a.value = newHolder(a.r, a.key, a.session.now().TTL())
	}
	v := view{asked: a.session.clock()}
	absent := clientv3.Compare(clientv3.CreateRevision(a.key), "=", 0)
	cond := absent
	if a.r.Try && a.r.Claim.Mode == Exclusive {
		// Only while nobody else is there, so that a hundred hosts that try do not queue up.
		cond = clientv3.Compare(clientv3.CreateRevision(Prefix(a.r.Name)), "=", 0).WithPrefix()
	}
	e, err := a.join(ctx, cond)
	if err == nil && e.token == 0 {
		if len(e.queue) > 0 {
			return v, a.busy(e)
		}
		e, err = a.join(ctx, absent) // only locks below this one's name are held
	}
	if err != nil {
		return v, err
	}
	a.token = e.token
	v.rev, v.clusterID, v.ahead = e.rev, e.clusterID, e.queue.before(a.token)
	v.stale = v.ahead.unclean(a.r.Name, e.markers, a.token)
	if err := v.ahead.disagrees(a.r.Name, a.r.Claim); err != nil {
		return v, err
	}
	if v.ahead.admits(a.r.Claim) {
		return v, nil
	}
	if a.r.Try {
		return v, a.busy(e)
	}
	n := Notice{Event: "waiting", Key: a.key, Token: a.token, Lease: a.session.lease, Ahead: len(v.ahead), Text: fmt.Sprintf("waiting for lock %q, %d ahead", a.r.Name, len(v.ahead))}
	if len(e.first) > 0 {
		n.Text += ", held by " + e.first[0].Who()
	}
	a.r.notice(n)
	return v, nil
}

// entry is the answer to an attempt to join the queue.
type entry struct {
	token        int64 // 0: not joined
	queue, first Queue // first has the value of the first contender
	markers      []*mvccpb.KeyValue
	rev          int64
	clusterID    uint64
}

// join puts the key, with its marker, if cond is true or if it is there already: the call may be an earlier one's copy.
func (a *acquirer) join(ctx context.Context, cond clientv3.Cmp) (entry, error) {
	resp, err := a.joinOnce(ctx, cond)
	if refused, ok := errors.AsType[*RefusedError](err); ok && errors.Is(refused, ErrMarkers) && !a.unmark {
		a.unmark = true
		if resp, err = a.joinOnce(ctx, cond); err == nil {
			a.r.notice(Notice{Event: "unmarked", Key: a.key, Text: "no permission for " + markersOf(a.r.Name) + ": a successor will not wait after an unclean end"})
		}
	}
	if err != nil {
		return entry{}, err
	}
	kvs := func(i int) []*mvccpb.KeyValue { return resp.Responses[i].GetResponseRange().Kvs }
	e := entry{rev: resp.Header.Revision, clusterID: resp.Header.ClusterId, queue: a.queue(kvs(1)), first: newQueue(a.r.Name, kvs(2))}
	if !a.unmark {
		e.markers = kvs(3)
	}
	if resp.Succeeded {
		e.token = resp.Header.Revision
	} else if own := kvs(0); len(own) > 0 {
		e.token = own[0].CreateRevision
	}
	return e, nil
}

func (a *acquirer) joinOnce(ctx context.Context, cond clientv3.Cmp) (*clientv3.TxnResponse, error) {
	prefix := Prefix(a.r.Name)
	put := []clientv3.Op{a.put(a.value, clientv3.WithLease(clientv3.LeaseID(a.session.lease)))}
	look := []clientv3.Op{clientv3.OpGet(prefix, a.ranged()...), clientv3.OpGet(prefix, clientv3.WithFirstCreate()...)}
	if !a.unmark {
		look = append(look, a.markers(), clientv3.OpPut(MarkerKey(a.r.Name, a.session.lease), a.value.encode()))
	}
	return a.commit(ctx, []clientv3.Cmp{cond}, append(put, look...), append([]clientv3.Op{clientv3.OpGet(a.key)}, look[:min(len(look), 3)]...))
}

func (a *acquirer) busy(e entry) error {
	if len(e.first) == 0 { // the oldest key is another lock's, below this one's name
		e.first = e.queue
	}
	return &BusyError{Name: a.r.Name, By: e.first[0], Ahead: len(e.queue)}
}

// queue sorts what a range of the lock's prefix returned.
func (a *acquirer) queue(kvs []*mvccpb.KeyValue) Queue {
	q := newQueue(a.r.Name, kvs)
	a.nested = a.nested || len(q) < len(kvs)
	return q
}

// ranged returns the options for reading the queue: an exclusive contender need not know what the others want.
func (a *acquirer) ranged() []clientv3.OpOption {
	opts := []clientv3.OpOption{clientv3.WithPrefix()}
	if a.r.Claim.Mode == Exclusive {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	return opts
}

// markers reads the oldest markers.
func (a *acquirer) markers() clientv3.Op {
	return clientv3.OpGet(markersOf(a.r.Name), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(fewMarkers))
}

// reread is how often a waiter looks at the queue although nothing was reported, give or take a fifth.
const reread = 10 * time.Second

// wait returns when nobody is ahead who keeps the claim from being admitted.
func (a *acquirer) wait(ctx context.Context, v view) (view, error) {
	for !v.ahead.admits(a.r.Claim) {
		err := a.awaitChange(ctx, v)
		if err != nil {
			return v, err
		}
		if v, err = a.look(ctx); err != nil {
			return v, err
		}
	}
	return v, nil
}

// look reads the queue: for an exclusive contender its own key and the one before it, which is the same work for the network
// however long the queue is.
func (a *acquirer) look(ctx context.Context) (view, error) {
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(a.token)}
	if a.r.Claim.Mode == Exclusive && !a.nested {
		opts = append(opts, clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(2))
	}
	ops, known := []clientv3.Op{clientv3.OpGet(Prefix(a.r.Name), opts...)}, a.nested
	if !a.unmark {
		ops = append(ops, a.markers())
	}
	v := view{asked: a.session.clock()}
	resp, err := a.commit(ctx, nil, ops, nil)
	if err != nil {
		return v, err
	}
	q := a.queue(resp.Responses[0].GetResponseRange().Kvs)
	if a.nested != known {
		return a.look(ctx) // keys of other locks may have kept those ahead out of the answer
	}
	if c, ok := q.find(a.key); !ok || c.Token != a.token || c.Lease != a.session.lease {
		return v, errPlaceLost
	}
	v.ahead, v.rev, v.clusterID = q.before(a.token), resp.Header.Revision, resp.Header.ClusterId
	if !a.unmark {
		v.stale = v.ahead.unclean(a.r.Name, resp.Responses[1].GetResponseRange().Kvs, a.token)
	}
	return v, nil
}

// awaitChange returns when somebody ahead has left, after some time, or when the watch breaks.
func (a *acquirer) awaitChange(ctx context.Context, v view) error {
	// An exclusive contender wakes up when the one before it leaves, and not for everybody else.
	keys := []string{v.ahead[len(v.ahead)-1].Key, a.key}
	if a.r.Claim.Mode != Exclusive {
		keys = []string{Prefix(a.r.Name)}
	}
	wctx, cancel := context.WithTimeout(ctx, time.Duration((0.8+0.4*rand.Float64())*float64(reread)))
	defer cancel()
	changed, watched := make(chan struct{}, 1), make(chan struct{})
	// The end of the watch is not waited for here: work may start meanwhile.
	a.session.tasks.Go(func() {
		defer close(watched)
		err := a.store.Watch(wctx, keys, v.rev+1, func(ev *clientv3.Event) {
			if ev.Type == clientv3.EventTypeDelete {
				signal(changed)
			}
		})
		if err != nil {
			pause(wctx, retryPause) // do not spin while no member answers
		}
	})
	for {
		timer := time.NewTimer(10 * tick)
		over := false
		select {
		case <-changed:
			over = true
		case <-watched:
			over = true
		case <-a.session.gone:
		case <-timer.C:
		}
		timer.Stop()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case a.session.ended():
			return errPlaceLost
		case over:
			return nil
		}
	}
}

// leave gives the place up. What cannot be taken back in time ends with the lease.
func (a *acquirer) leave(ctx context.Context) {
	a.session.close()
	budget := leaveTime
	if !a.session.recent(a.session.now().Sent()) {
		budget = hopelessTime
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()
	if a.token > 0 {
		// No work was begun, so the marker goes even if the key has gone before it.
		marker := clientv3.OpDelete(MarkerKey(a.r.Name, a.session.lease))
		_, _ = a.store.Commit(ctx, []clientv3.Cmp{isToken(a.key, a.token)}, []clientv3.Op{clientv3.OpDelete(a.key), marker}, []clientv3.Op{marker})
	}
	_ = a.store.Revoke(ctx, a.session.lease)
}

// leaveTime bounds leaving a queue, hopelessTime the same when nobody has answered lately: whoever waits for the end of a wait
// is not kept for what the lease's end does anyway.
const leaveTime, hopelessTime = 2 * time.Second, leaveTime / 10

// isToken compares a key with the contender that made it: nobody deletes what somebody else put there.
func isToken(key string, token int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", token)
}
