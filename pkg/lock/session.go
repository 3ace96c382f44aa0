package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// tick is how long nothing looks at the clock at most: timers do not run while the machine is suspended.
const tick = 50 * time.Millisecond

// session is a lease that is being renewed.
type session struct {
	store Leases
	clock Clock
	lease int64

	mu     sync.Mutex
	tenure Tenure

	gone   chan struct{} // closed when the cluster says that the lease has ended
	beat   chan struct{} // has a value after an answered renewal
	urge   chan struct{} // has a value when somebody wants a renewal now
	cancel context.CancelFunc
	tasks  sync.WaitGroup // what goes on for the session, its renewals among it
}

// open grants a lease and starts to renew it. close must be called.
func open(ctx context.Context, s Leases, clock Clock, r *Request) (*session, error) {
	if r.Connect > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Connect)
		defer cancel()
	}
	var lease int64
	var renewed renewal
	for again := true; again; {
		var err error
		lease = s.NewLease()
		if err = s.Grant(ctx, lease, r.TTL); err != nil {
			return nil, fmt.Errorf("grant a lease: %w", err)
		}
		// The grant does not say how long the lease lives, and the server may have made it longer.
		renewed, err = firstRenewal(ctx, s, clock, lease, NewTenure(clock(), r.TTL, r.Grace).Attempt())
		// Between the two the whole cluster may have been out of reach: nothing hangs on that lease yet.
		if again = errors.Is(err, ErrLeaseGone) && ctx.Err() == nil; err != nil && !again {
			err = fmt.Errorf("renew the lease: %w", err)
			rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hopelessTime)
			defer cancel()
			return nil, errors.Join(err, s.Revoke(rctx, lease))
		}
	}
	n := &session{
		store: s, clock: clock, lease: lease, tenure: NewTenure(renewed.sent, renewed.ttl, r.Grace),
		gone: make(chan struct{}), beat: make(chan struct{}, 1), urge: make(chan struct{}, 1),
	}
	ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.tasks.Go(func() { n.renew(ctx) })
	return n, nil
}

// firstRenewal renews until it succeeds or ctx ends, each try bounded: a member whose leader hangs keeps a renewal for
// longer than the cluster needs for its next leader.
func firstRenewal(ctx context.Context, s Leases, clock Clock, lease int64, attempt time.Duration) (renewal, error) {
	for {
		r, err := renewStaggered(ctx, s, clock, lease, attempt)
		if err == nil || !errors.Is(err, errNoRenewal) || ctx.Err() != nil {
			return r, err
		}
	}
}

// renewal is an answered one: when it was sent, and the time to live that the server gave.
type renewal struct {
	sent Instant
	ttl  time.Duration
}

// errNoRenewal says that there was no answer in time, not even a refusal.
var errNoRenewal = errors.New("no answer")

// renewCopies is how many renewals may be out at once.
const renewCopies = 3

// renewStaggered sends a renewal, and another copy after each attempt without an answer; the first answer wins. A copy that went to a leader which
// has died since is never answered, one that went over a slow line or to a machine that has much to do is, a little late: the next one must not end it.
func renewStaggered(ctx context.Context, s Leases, clock Clock, lease int64, attempt time.Duration) (renewal, error) {
	type answer struct {
		renewal
		err error
	}
	sctx, cancel := context.WithTimeoutCause(ctx, renewCopies*attempt, errNoRenewal)
	answers := make(chan answer, renewCopies)
	var copies sync.WaitGroup
	defer copies.Wait()
	defer cancel()
	send := func() {
		sent := clock()
		ttl, err := s.Renew(sctx, lease)
		answers <- answer{renewal{sent, ttl}, err}
	}
	copies.Go(send)
	next := time.NewTicker(attempt)
	defer next.Stop()
	for sent, open := 1, 1; ; {
		select {
		case a := <-answers:
			open--
			switch {
			case sctx.Err() != nil && a.err != nil:
				return renewal{}, errors.Join(context.Cause(sctx), a.err)
			case a.err == nil, errors.Is(a.err, ErrLeaseGone), open == 0:
				return a.renewal, a.err
			}
		case <-next.C:
			if sent < renewCopies {
				sent, open = sent+1, open+1
				copies.Go(send)
			}
		}
	}
}

// close stops renewing.
func (n *session) close() {
	n.cancel()
	n.tasks.Wait()
}

// now returns what is known of the lease.
func (n *session) now() Tenure {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tenure
}

// ended says whether the lease is gone, or may be.
func (n *session) ended() bool {
	select {
	case <-n.gone:
		return true
	default:
		return n.clock() >= n.now().End()
	}
}

// retryPause is the time between a failed renewal and the next one.
const retryPause = 100 * time.Millisecond

func (n *session) renew(ctx context.Context) {
	due := n.now().Next()
	for {
		if !n.sleepUntil(ctx, due) {
			return
		}
		t := n.now()
		r, err := renewStaggered(ctx, n.store, n.clock, n.lease, t.Attempt())
		switch {
		case err == nil:
			t = t.Renewed(r.sent, r.ttl)
			n.mu.Lock()
			n.tenure = t
			n.mu.Unlock()
			signal(n.beat)
			due = t.Next()
		case errors.Is(err, ErrLeaseGone):
			close(n.gone)
			return
		default:
			due = n.clock().Add(retryPause)
		}
	}
}

// sleepUntil waits for due, or for an urge. It returns false when ctx ends.
func (n *session) sleepUntil(ctx context.Context, due Instant) bool {
	for {
		left := due.Sub(n.clock())
		if left <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(left, 4*tick))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-n.urge:
			timer.Stop()
			return true
		case <-timer.C:
		}
	}
}

// recent says whether what was true at an instant may still be relied on to start work. Renewals come twice as often.
func (n *session) recent(at Instant) bool { return n.clock().Sub(at) <= n.now().TTL()/4 }

// fresh waits until the last renewal is recent.
func (n *session) fresh(ctx context.Context) error {
	for {
		if n.ended() {
			return errPlaceLost
		}
		if n.recent(n.now().Sent()) {
			return nil
		}
		signal(n.urge)
		timer := time.NewTimer(4 * tick)
		select {
		case <-ctx.Done():
		case <-n.beat:
		case <-n.gone:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// signal puts a value into c, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
