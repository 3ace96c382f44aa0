package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Held is a lock that is held. Run and then Release it.
type Held struct {
	store   Store
	session *session
	r       *Request

	key       string
	token     int64
	rev       int64
	clusterID uint64
	value     Holder // what the key is to say
	marked    bool
	since     time.Time
	sure      Instant // when the newest question was sent whose answer was that the lock is held
	vanished  bool    // the cluster said that the key is not ours any more
}

// Key returns the lock's key.
func (h *Held) Key() string { return h.key }

// Token returns the fencing token, the create revision of the key: it rises from one exclusive holder to the next.
func (h *Held) Token() int64 { return h.token }

// Rev returns the cluster's revision when the lock was acquired.
func (h *Held) Rev() int64 { return h.rev }

// ClusterID returns the cluster's ID.
func (h *Held) ClusterID() uint64 { return h.clusterID }

// Lease returns the ID of the lease.
func (h *Held) Lease() int64 { return h.session.lease }

// Tenure returns what is known of the lease now.
func (h *Held) Tenure() Tenure { return h.session.now() }

// Since returns when the lock was acquired.
func (h *Held) Since() time.Time { return h.since }

// Work is what is done under a lock. soft ends when it is time to end; hard, which ends soft too, when everything the work
// has started must be dead. The cause of both is an ErrLost, ErrAsked, or that of Run's context.
type Work func(soft, hard context.Context) error

// ready returns when both the last renewal and the cluster's last word on the key are recent: the lock-delay takes time, and
// the process or its machine may have been stopped since the lock was taken.
func (h *Held) ready(ctx context.Context) error {
	for {
		if err := h.session.fresh(ctx); err != nil {
			return err
		}
		if h.session.recent(h.sure) {
			return nil
		}
		asked := h.session.clock()
		resp, err := persist(ctx, h.session, func(ctx context.Context) (*clientv3.GetResponse, error) { return h.store.Get(ctx, h.key) })
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 || resp.Kvs[0].CreateRevision != h.token || resp.Kvs[0].Lease != h.session.lease {
			return errPlaceLost
		}
		h.sure = asked
	}
}

// Run runs work while the lock is certainly held, and returns when it has ended: with its error, or a *LostError.
// When ctx ends, both of the work's contexts do. Work is not begun when the lock was lost before.
func (h *Held) Run(ctx context.Context, work Work) error {
	if err := h.ready(ctx); errors.Is(err, errPlaceLost) {
		h.vanished = true
		return &LostError{Key: h.key, Reason: "it was lost before the work began"}
	} else if err != nil {
		return err
	}
	hard, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	soft, ask := context.WithCancelCause(hard)
	defer ask(nil)
	g := &guard{h: h, ask: ask, kill: kill, facts: make(chan fact), recheck: make(chan struct{}, 1)}
	wctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- work(soft, hard) }()
	var tasks sync.WaitGroup
	for _, task := range []func(context.Context){g.watch, g.verify, g.say} {
		tasks.Go(func() { task(wctx) })
	}
	defer func() { stop(); tasks.Wait() }()
	err := g.loop(done)
	if g.lost != "" {
		return &LostError{Key: h.key, Reason: g.lost, Work: err}
	}
	return err
}

// fact is what the cluster says about the key.
type fact struct {
	lost  string // why it is not ours any more, if so
	asked string // who requests the lock, if anybody does
}

// guard watches over one run of work. Its loop owns everything but the channels.
type guard struct {
	h         *Held
	ask, kill context.CancelCauseFunc
	facts     chan fact
	recheck   chan struct{} // has a value when the key is to be read now

	lost    string  // why the work was asked to end, or killed
	asked   Instant // when it was asked to end because the lease was not renewed
	warned  bool
	killed  bool
	invited bool
}

// loop decides, at every tick and at every news, whether the work may go on.
func (g *guard) loop(done <-chan error) error {
	s := g.h.session
	last := s.clock()
	for {
		now := s.clock()
		if gap := now.Sub(last); gap > max(500*time.Millisecond, s.now().TTL()/10) {
			signal(g.recheck) // this process, or the machine, was paused
		}
		last = now
		due := g.decide(now)
		timer := time.NewTimer(max(min(due.Sub(now), tick), 0))
		select {
		case err := <-done:
			timer.Stop()
			return err
		case f := <-g.facts:
			g.learn(f)
		case <-g.gone():
			g.end("the cluster has ended its lease")
		case <-timer.C:
		}
		timer.Stop()
	}
}

// gone is closed when the lease is gone, but never ready when that has been dealt with.
func (g *guard) gone() <-chan struct{} {
	if g.killed {
		return nil
	}
	return g.h.session.gone
}

// decide acts on the clock alone, and returns when to look again.
func (g *guard) decide(now Instant) Instant {
	t := g.h.session.now()
	if g.killed {
		return now.Add(time.Hour)
	}
	if g.asked != 0 {
		if now < t.Killing(g.asked) {
			return t.Killing(g.asked)
		}
		g.killed = true
		g.notice("killing", g.lost)
		g.kill(g.cause())
		return now.Add(time.Hour)
	}
	switch {
	case now >= t.Soft():
		g.asked = now
		g.lost = fmt.Sprintf("no renewal was answered for %v", now.Sub(t.Sent()).Round(10*time.Millisecond))
		g.notice("ending", g.lost)
		g.ask(g.cause())
		return t.Killing(now)
	case now >= t.Suspect() && !g.warned:
		g.warned = true
		g.notice("suspect", fmt.Sprintf("no renewal was answered for %v", now.Sub(t.Sent()).Round(10*time.Millisecond)))
	case now < t.Suspect() && g.warned:
		g.warned = false
		g.notice("renewed", "renewals are answered again")
	}
	if now < t.Suspect() {
		return t.Suspect()
	}
	return t.Soft()
}

// learn acts on news about the key.
func (g *guard) learn(f fact) {
	if f.lost != "" {
		g.end(f.lost)
	}
	if f.asked != "" && !g.invited && !g.killed {
		g.invited = true
		g.notice("asked", "the lock is requested by "+Plain(f.asked))
		g.ask(ErrAsked)
	}
}

// end kills the work at once: the next holder may start at any moment.
func (g *guard) end(why string) {
	if g.killed {
		return
	}
	g.killed, g.lost, g.h.vanished = true, why, true
	g.notice("killing", why)
	g.kill(g.cause())
}

func (g *guard) cause() error { return &LostError{Key: g.h.key, Reason: g.lost} }

func (g *guard) notice(event, text string) {
	g.h.r.notice(Notice{Event: event, Key: g.h.key, Token: g.h.token, Text: "lock " + g.h.key + ": " + text})
}

// tell hands a fact to the loop.
func (g *guard) tell(ctx context.Context, f fact) {
	select {
	case g.facts <- f:
	case <-ctx.Done():
	}
}

// watch reports what happens to the key, as it happens.
func (g *guard) watch(ctx context.Context) {
	rev := g.h.rev + 1
	for ctx.Err() == nil {
		err := g.h.store.Watch(ctx, []string{g.h.key}, rev, func(ev *clientv3.Event) {
			rev = max(rev, ev.Kv.ModRevision+1)
			g.judge(ctx, ev)
		})
		if err != nil {
			// The position may be compacted. What happened before is found by reading, and the next watch begins right behind.
			rev = max(rev, g.check(ctx)+1)
		}
		pause(ctx, retryPause)
	}
}

func (g *guard) judge(ctx context.Context, ev *clientv3.Event) {
	switch {
	case ev.Type == clientv3.EventTypeDelete:
		g.tell(ctx, fact{lost: "its key was deleted"})
	case ev.Kv.CreateRevision != g.h.token:
		g.tell(ctx, fact{lost: "its key was deleted, and put by somebody else"})
	case ev.Kv.Lease != g.h.session.lease:
		g.tell(ctx, fact{lost: fmt.Sprintf("its key was moved to lease %x", ev.Kv.Lease)})
	default:
		if v, ok := ParseHolder(ev.Kv.Value); ok && v.AskedBy != "" {
			g.tell(ctx, fact{asked: v.AskedBy})
		}
	}
}

// sayAfter is how long a lock is held before its key says so. Nothing depends on it, and short work is not slowed down.
const sayAfter = 500 * time.Millisecond

// say writes into the key that the lock is held, unless somebody else has written there since it was made. An election's key
// stays as it is: those who observe it would take a second put for a second proposal.
func (g *guard) say(ctx context.Context) {
	h := g.h
	if h.r.Proposal != nil || !pause(ctx, sayAfter) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.session.now().Attempt())
	defer cancel()
	_, _ = h.store.Commit(ctx, []clientv3.Cmp{
		isToken(h.key, h.token), clientv3.Compare(clientv3.ModRevision(h.key), "=", h.token), clientv3.Compare(clientv3.LeaseValue(h.key), "=", h.session.lease),
	}, []clientv3.Op{clientv3.OpPut(h.key, h.value.encode(), clientv3.WithIgnoreLease())}, nil)
}

// verify reads the key as often as the lease is renewed: watches can lose events, and an answered renewal does not prove
// that the key is there.
func (g *guard) verify(ctx context.Context) {
	for {
		every := max(g.h.session.now().every(), g.h.session.now().TTL()/4)
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-g.recheck:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		g.check(ctx)
	}
}

// check reads the key and returns the revision at which it did, or 0 if no member answered.
func (g *guard) check(ctx context.Context) (rev int64) {
	actx, cancel := context.WithTimeout(ctx, 2*g.h.session.now().Attempt())
	defer cancel()
	resp, err := g.h.store.Get(actx, g.h.key)
	switch {
	case err != nil: // the clock decides
		return 0
	case len(resp.Kvs) == 0:
		g.tell(ctx, fact{lost: "its key is gone"})
	default:
		g.judge(ctx, &clientv3.Event{Type: clientv3.EventTypePut, Kv: resp.Kvs[0]})
	}
	return resp.Header.Revision
}

// Release gives the lock up and ends its lease. outcome is the work's: it is remembered if Once asks for it. It returns a
// *LostError if the lock had been lost already, which work that ended by itself did not notice; any other error means that
// the lock may stay until its lease ends.
func (h *Held) Release(ctx context.Context, outcome error) error {
	h.session.close()
	// When the lease has ended there is nothing left that has to be taken back.
	budget := min(leaveTime, max(h.Tenure().End().Sub(h.session.clock()), hopelessTime))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()
	others, err := h.delete(ctx, outcome)
	if others {
		pause(ctx, wayFree)
	}
	if rerr := h.store.Revoke(ctx, h.session.lease); rerr != nil && !errors.Is(err, ErrLost) {
		err = errors.Join(err, fmt.Errorf("end lease %x: %w", h.session.lease, rerr))
	}
	if err == nil {
		h.r.notice(Notice{Event: "released", Key: h.key, Token: h.token, Text: fmt.Sprintf("released lock %q", h.r.Name)})
	}
	return err
}

// wayFree is how long the end of the lease, which every member has to write down, is put off when somebody waits for the lock: it
// would come before the start of their work.
const wayFree = 10 * time.Millisecond

// delete takes the key and its marker away, if they are ours. It says whether others wait for the lock.
func (h *Held) delete(ctx context.Context, outcome error) (others bool, err error) {
	then := []clientv3.Op{clientv3.OpDelete(h.key)}
	var marker []clientv3.Op
	if h.marked {
		marker = []clientv3.Op{clientv3.OpDelete(MarkerKey(h.r.Name, h.session.lease))}
	}
	ops, err := h.marks(ctx, outcome)
	if err != nil {
		return false, err
	}
	then = append(append(then, marker...), ops...)
	then = append(then, clientv3.OpGet(Prefix(h.r.Name), clientv3.WithPrefix(), clientv3.WithCountOnly()))
	repeated := false
	for {
		actx, cancel := context.WithTimeout(ctx, leaveTime/2)
		// The work has ended, so the marker goes even if the key has gone before it: no successor needs to wait.
		resp, err := h.store.Commit(actx, []clientv3.Cmp{isToken(h.key, h.token)}, then, marker)
		cancel()
		switch {
		case err == nil && !resp.Succeeded && !repeated && !h.vanished:
			h.vanished = true
			return false, &LostError{Key: h.key, Reason: "its key was gone before the work ended"}
		case err == nil:
			return resp.Succeeded && resp.Responses[len(then)-1].GetResponseRange().GetCount() > 0, nil
		case ctx.Err() != nil || !pause(ctx, retryPause):
			return false, fmt.Errorf("release lock %q: %w", h.r.Name, err)
		}
		if _, ok := errors.AsType[*RefusedError](err); ok {
			return false, fmt.Errorf("release lock %q: %w", h.r.Name, err)
		}
		repeated = true
	}
}

// marks returns what is to be remembered of a run that has ended.
func (h *Held) marks(ctx context.Context, outcome error) ([]clientv3.Op, error) {
	o := h.r.Once
	if !o.used() || h.vanished {
		return nil, nil
	}
	run := Run{Start: h.since.UTC(), End: time.Now().UTC(), Exit: "ok", Token: h.token, Host: h.r.Holder.Host}
	if outcome != nil {
		run.Exit = outcome.Error()
	}
	if o.OnSuccess {
		if outcome != nil {
			return nil, nil
		}
		return o.marks(ctx, h.store, h.r.Name, run, newRunLeases(h.store))
	}
	return o.ends(h.r.Name, run), nil
}
