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

	unmark bool    // this user may not write markers
	nested bool    // keys of locks whose names begin with this one's are among those of its queue
	sure   Instant // when the question was sent whose answer was that the lock is taken
}

func (a *acquirer) run(ctx context.Context) (*Held, error) {
	if err := a.r.Once.check(ctx, a.store, a.r.Name, 0); err != nil {
		return nil, err
	}
	if a.r.Try && a.r.Claim.Mode == Exclusive {
		if err := a.try(ctx); err != nil {
			return nil, err
		}
	}
	v, err := a.enqueue(ctx)
	if err != nil {
		return nil, err
	}
	t, err := a.wait(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := a.delay(ctx, t.stale); err != nil {
		return nil, err
	}
	if err := a.markStart(ctx); err != nil {
		return nil, err
	}
	return a.hold(ctx, t)
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

// try puts the key only while nobody else is there, so that a hundred hosts that try do not queue up.
func (a *acquirer) try(ctx context.Context) error {
	prefix := Prefix(a.r.Name)
	a.value = newHolder(a.r, a.key, a.session.now().TTL())
	empty := clientv3.Compare(clientv3.CreateRevision(prefix), "=", 0).WithPrefix()
	resp, err := a.commit(ctx, []clientv3.Cmp{empty},
		[]clientv3.Op{a.put(a.value, clientv3.WithLease(clientv3.LeaseID(a.session.lease)))},
		[]clientv3.Op{clientv3.OpGet(prefix, clientv3.WithPrefix())})
	if err != nil || resp.Succeeded {
		return err
	}
	q := newQueue(a.r.Name, resp.Responses[0].GetResponseRange().Kvs)
	if _, mine := q.find(a.key); mine || len(q) == 0 {
		return nil // an earlier copy of this call; or only locks below this one's name are held
	}
	return a.busy(q)
}

func (a *acquirer) busy(q Queue) error {
	if len(q) == 0 {
		return ErrBusy
	}
	return &BusyError{Name: a.r.Name, By: q[0], Ahead: len(q)}
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

// enqueue puts the key at the end of the queue; its create revision is the place.
func (a *acquirer) enqueue(ctx context.Context) (view, error) {
	prefix := Prefix(a.r.Name)
	if a.value.LockKey == "" {
		a.value = newHolder(a.r, a.key, a.session.now().TTL())
	}
	look := []clientv3.Op{clientv3.OpGet(prefix, a.ranged()...), clientv3.OpGet(prefix, clientv3.WithFirstCreate()...)}
	resp, err := a.commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(a.key), "=", 0)},
		append([]clientv3.Op{a.put(a.value, clientv3.WithLease(clientv3.LeaseID(a.session.lease)))}, look...),
		append([]clientv3.Op{clientv3.OpGet(a.key)}, look...))
	if err != nil {
		return view{}, err
	}
	a.token = resp.Header.Revision
	if !resp.Succeeded {
		a.token = resp.Responses[0].GetResponseRange().Kvs[0].CreateRevision
	}
	v := view{a.queue(resp.Responses[1].GetResponseRange().Kvs).before(a.token), resp.Header.Revision}
	if err := v.ahead.disagrees(a.r.Name, a.r.Claim); err != nil {
		return view{}, err
	}
	if v.ahead.admits(a.r.Claim) {
		return v, nil
	}
	first := newQueue(a.r.Name, resp.Responses[2].GetResponseRange().Kvs)
	if a.r.Try {
		return view{}, a.busy(first)
	}
	n := Notice{Event: "waiting", Key: a.key, Token: a.token, Ahead: len(v.ahead), Text: fmt.Sprintf("waiting for lock %q, %d ahead", a.r.Name, len(v.ahead))}
	if len(first) > 0 {
		n.Text += ", held by " + first[0].Who()
	}
	a.r.notice(n)
	return v, nil
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

// reread is how often a waiter looks at the queue although nothing was reported, give or take a fifth.
const reread = 10 * time.Second

// view is who is ahead in the queue, as far as that matters, at a revision.
type view struct {
	ahead Queue
	rev   int64
}

// wait takes the lock when nobody is ahead who keeps the claim from being admitted.
func (a *acquirer) wait(ctx context.Context, v view) (taken, error) {
	for {
		if v.ahead.admits(a.r.Claim) {
			t, err := a.take(ctx)
			if !errors.Is(err, errNotFirst) {
				return t, err
			}
		} else {
			left, err := a.awaitChange(ctx, v)
			if err != nil {
				return taken{}, err
			}
			if left && a.r.Claim.Mode == Exclusive {
				v.ahead = nil // that is the usual end of a wait, and taking the lock looks at the queue anyway
				continue
			}
		}
		var err error
		if v, err = a.ahead(ctx); err != nil {
			return taken{}, err
		}
	}
}

// ahead reads who is ahead, or, for an exclusive contender, only the last of them.
func (a *acquirer) ahead(ctx context.Context) (view, error) {
	opts := append(a.ranged(), clientv3.WithMaxCreateRev(a.token))
	if a.r.Claim.Mode == Exclusive && !a.nested {
		// Its own key and the one before it: the same work for the network however long the queue is.
		opts = append(opts, clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(2))
	}
	known := a.nested
	resp, err := a.get(ctx, Prefix(a.r.Name), opts...)
	if err != nil {
		return view{}, err
	}
	q := a.queue(resp.Kvs)
	if a.nested != known {
		return a.ahead(ctx) // keys of other locks may have kept those ahead out of the answer
	}
	if c, ok := q.find(a.key); !ok || c.Token != a.token {
		return view{}, errPlaceLost
	}
	return view{q.before(a.token), resp.Header.Revision}, nil
}

// awaitChange returns when somebody ahead has left, after some time, or when the watch breaks. left says that it was the
// last one ahead.
func (a *acquirer) awaitChange(ctx context.Context, v view) (left bool, err error) {
	last := v.ahead[len(v.ahead)-1].Key
	// An exclusive contender wakes up when the one before it leaves, and not for everybody else.
	keys := []string{last, a.key}
	if a.r.Claim.Mode != Exclusive {
		keys = []string{Prefix(a.r.Name)}
	}
	wctx, cancel := context.WithTimeout(ctx, time.Duration((0.8+0.4*rand.Float64())*float64(reread)))
	defer cancel()
	deleted, watched := make(chan string, 1), make(chan struct{})
	// The end of the watch is not waited for here: work may start meanwhile.
	a.session.tasks.Go(func() {
		defer close(watched)
		err := a.store.Watch(wctx, keys, v.rev+1, func(ev *clientv3.Event) {
			if ev.Type == clientv3.EventTypeDelete {
				select {
				case deleted <- string(ev.Kv.Key):
				default:
				}
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
		case key := <-deleted:
			left, over = key == last, true
		case <-watched:
			over = true
		case <-a.session.gone:
		case <-timer.C:
		}
		timer.Stop()
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case a.session.ended():
			return false, errPlaceLost
		case over:
			return left, nil
		}
	}
}

// leave gives the place up. What cannot be taken back in time ends with the lease.
func (a *acquirer) leave(ctx context.Context) {
	a.session.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if a.token > 0 {
		_, _ = a.store.Commit(ctx, []clientv3.Cmp{isToken(a.key, a.token)},
			[]clientv3.Op{clientv3.OpDelete(a.key), clientv3.OpDelete(MarkerKey(a.r.Name, a.token))}, nil)
	}
	_ = a.store.Revoke(ctx, a.session.lease)
}

// leaveTime bounds leaving a queue.
const leaveTime = 2 * time.Second

// isToken compares a key with the contender that made it: nobody deletes what somebody else put there.
func isToken(key string, token int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", token)
}
