package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	mixed  bool // markers of such locks are among those of this one
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

// hold turns the place into a held lock.
func (a *acquirer) hold(ctx context.Context, v view) (*Held, error) {
	h := &Held{
		store: a.store, session: a.session, r: a.r, marked: !a.unmark, sure: v.asked,
		key: a.key, token: a.token, rev: v.rev, clusterID: v.clusterID, value: a.value.held(), since: time.Now(),
	}
	if err := h.ready(ctx); err != nil {
		return nil, err
	}
	a.r.notice(Notice{Event: "acquired", Key: a.key, Token: a.token, Text: fmt.Sprintf("holding lock %q, fencing token %d", a.r.Name, a.token)})
	return h, nil
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
