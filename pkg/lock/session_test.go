package lock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sitting is a cluster whose members sit on the first renewals, as followers of a leader that hangs do.
type sitting struct {
	Leases
	sits int
	err  error

	mu      sync.Mutex
	renewed int
}

func (s *sitting) Renew(ctx context.Context, _ int64) (time.Duration, error) {
	s.mu.Lock()
	s.renewed++
	sits := s.renewed <= s.sits
	s.mu.Unlock()
	if sits {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 6 * time.Second, s.err
}

func TestFirstRenewalOutlivesALeaderThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		clock := func() Instant { return Instant(time.Since(began)) }
		s := &sitting{sits: 2}
		r, err := firstRenewal(t.Context(), s, clock, 1, 400*time.Millisecond)
		if err != nil || r.ttl != 6*time.Second || r.sent != Instant(800*time.Millisecond) {
			t.Errorf("sent at %v, ttl %v, error %v; want 800ms, 6s, none", time.Duration(r.sent), r.ttl, err)
		}
	})
}

// far is a cluster whose answers take longer than one attempt.
type far struct{ Leases }

func (far) Renew(ctx context.Context, _ int64) (time.Duration, error) {
	if !pause(ctx, time.Second) {
		return 0, ctx.Err()
	}
	return 6 * time.Second, nil
}

func TestALateAnswerToARenewalCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		clock := func() Instant { return Instant(time.Since(began)) }
		r, err := renewStaggered(t.Context(), far{}, clock, 1, 400*time.Millisecond)
		if err != nil || r.sent != 0 || time.Since(began) != time.Second {
			t.Errorf("sent at %v, error %v, after %v; want the first one, after 1s", time.Duration(r.sent), err, time.Since(began))
		}
	})
}

func TestFirstRenewalIsNotRepeatedAfterAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := errors.New("denied")
		s := &sitting{err: denied}
		if _, err := firstRenewal(t.Context(), s, func() Instant { return 0 }, 1, time.Second); !errors.Is(err, denied) || s.renewed != 1 {
			t.Errorf("error %v after %d renewals; want %v after 1", err, s.renewed, denied)
		}
	})
}

func TestFirstRenewalEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := firstRenewal(ctx, &sitting{sits: 100}, func() Instant { return 0 }, 1, 400*time.Millisecond)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("error %v after %v; want a deadline after 1s", err, time.Since(began))
		}
	})
}

// forgetful is a cluster in which the first leases end before anybody renews them.
type forgetful struct {
	Leases
	forgets int
	granted int64
}

func (f *forgetful) NewLease() int64 {
	f.granted++
	return f.granted
}

func (f *forgetful) Grant(context.Context, int64, time.Duration) error { return nil }

func (f *forgetful) Renew(_ context.Context, lease int64) (time.Duration, error) {
	if lease <= int64(f.forgets) {
		return 0, ErrLeaseGone
	}
	return time.Second, nil
}

func (f *forgetful) Revoke(context.Context, int64) error { return nil }

func TestALeaseThatEndedBeforeItsFirstRenewalIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &forgetful{forgets: 2}
		n, err := open(t.Context(), s, func() Instant { return 0 }, &Request{TTL: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		n.close()
		if n.lease != 3 {
			t.Errorf("the session has lease %d of %d", n.lease, s.granted)
		}
	})
}
