package lock

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestTenureCountsFromTheSending(t *testing.T) {
	for _, tc := range []struct {
		ttl, grace       time.Duration
		soft, hard, next time.Duration
	}{
		{15 * time.Second, 0, 9 * time.Second, 12750 * time.Millisecond, 1875 * time.Millisecond},
		{5 * time.Second, 0, 3 * time.Second, 4250 * time.Millisecond, 625 * time.Millisecond},
		{60 * time.Second, 10 * time.Second, 41 * time.Second, 51 * time.Second, 2 * time.Second},
		{2 * time.Second, 0, 1200 * time.Millisecond, 1700 * time.Millisecond, 250 * time.Millisecond},
	} {
		const sent = Instant(1000 * time.Second)
		n := NewTenure(sent, tc.ttl, tc.grace)
		if near(n.Soft().Sub(sent), tc.soft) && near(n.Hard().Sub(sent), tc.hard) && n.Next().Sub(sent) == tc.next && n.End() == sent.Add(tc.ttl) {
			continue
		}
		t.Errorf("ttl %v grace %v: soft %v hard %v next %v", tc.ttl, tc.grace, n.Soft().Sub(sent), n.Hard().Sub(sent), n.Next().Sub(sent))
	}
}

func near(a, b time.Duration) bool { return (a - b).Abs() < time.Microsecond }

func TestTenureNeverGoesBack(t *testing.T) {
	n := NewTenure(100, 10*time.Second, 0).Renewed(200, 10*time.Second)
	if late := n.Renewed(150, 10*time.Second); late != n {
		t.Errorf("an older answer changed %v to %v", n, late)
	}
}

func TestCheckTTL(t *testing.T) {
	for _, tc := range []struct {
		ttl, grace  time.Duration
		risky, fail bool
	}{
		{15 * time.Second, 0, false, false},
		{5 * time.Second, 0, true, false},
		{time.Second, 0, true, true},
		{15 * time.Second, 6 * time.Second, false, false},
		{15 * time.Second, 7 * time.Second, true, true},
	} {
		risky, err := CheckTTL(tc.ttl, tc.grace)
		if risky != tc.risky || (err != nil) != tc.fail {
			t.Errorf("ttl %v grace %v: %v, %v", tc.ttl, tc.grace, risky, err)
		}
		if e, ok := errors.AsType[*TTLError](err); ok {
			if _, err := CheckTTL(e.Need, tc.grace); err != nil {
				t.Errorf("what it asks for is refused: %v", err)
			}
		}
	}
}

// hold acquires a lock on a model, through a link that test may break.
func hold(t *testing.T, clock Clock) (*Held, *link, *model) {
	t.Helper()
	m := newModel()
	l := &link{m: m}
	h, err := Acquire(t.Context(), l, clock, Request{Name: "a", TTL: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return h, l, m
}

// minute bounds a test whose work is never told to end.
func minute(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// bubbleClock is the fake clock of synctest.
func bubbleClock() Clock {
	start := time.Now()
	return func() Instant { return Instant(1 + time.Since(start)) }
}

func TestWorkIsAskedThenKilledWhenNothingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l, _ := hold(t, bubbleClock())
		sent := time.Now()
		l.mu.Lock()
		l.c.lose = 1000
		l.mu.Unlock()
		l.rng = always()
		var asked, killed time.Duration
		err := h.Run(minute(t), func(soft, hard context.Context) error {
			<-soft.Done()
			asked = time.Since(sent)
			<-hard.Done()
			killed = time.Since(sent)
			return nil
		})
		if asked != 6*time.Second || killed != 8500*time.Millisecond {
			t.Errorf("asked after %v, killed after %v; want 6s and 8.5s", asked, killed)
		}
		if !errors.Is(err, ErrLost) {
			t.Errorf("ended with %v", err)
		}
		_ = h.Release(t.Context(), err)
	})
}

func TestWorkIsKilledAtOnce(t *testing.T) {
	for name, harm := range map[string]func(*model, *Held){
		"lease revoked": func(m *model, h *Held) { m.mu.Lock(); m.revoke(h.Lease()); m.mu.Unlock() },
		"key deleted":   func(m *model, h *Held) { _, _ = m.commit(nil, []clientv3.Op{clientv3.OpDelete(h.Key())}, nil) },
		"key moved":     func(m *model, h *Held) { _, _ = m.commit(nil, []clientv3.Op{clientv3.OpPut(h.Key(), "")}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _, m := hold(t, bubbleClock())
				var took time.Duration
				err := h.Run(minute(t), func(_, hard context.Context) error {
					pause(hard, 20*time.Second)
					harm(m, h)
					began := time.Now()
					<-hard.Done()
					took = time.Since(began)
					return nil
				})
				if took != 0 || !errors.Is(err, ErrLost) {
					t.Errorf("killed after %v, ended with %v", took, err)
				}
				_ = h.Release(t.Context(), err)
			})
		})
	}
}

// A watch that never says anything does not hide the loss: reading finds it.
func TestVerificationFindsWhatTheWatchLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l, m := hold(t, bubbleClock())
		l.rng, l.c.dead = always(), 1000
		var took time.Duration
		err := h.Run(minute(t), func(_, hard context.Context) error {
			pause(hard, 11*time.Second)
			_, _ = m.commit(nil, []clientv3.Op{clientv3.OpPut(h.Key(), "")}, nil)
			began := time.Now()
			<-hard.Done()
			took = time.Since(began)
			return nil
		})
		if took > 2500*time.Millisecond || !errors.Is(err, ErrLost) {
			t.Errorf("killed after %v, ended with %v", took, err)
		}
		_ = h.Release(t.Context(), err)
	})
}

// The clock runs on while the machine is suspended, and timers do not: on waking up, the first thing is to kill.
func TestSuspendedPastTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := bubbleClock()
		asleep := make(chan time.Duration, 1)
		var slept atomic.Int64
		clock := func() Instant {
			select {
			case d := <-asleep:
				slept.Add(int64(d))
			default:
			}
			return base().Add(time.Duration(slept.Load()))
		}
		h, l, _ := hold(t, clock)
		var took time.Duration
		err := h.Run(minute(t), func(_, hard context.Context) error {
			pause(hard, 3*time.Second)
			l.mu.Lock()
			l.outage = time.Now().Add(time.Hour)
			l.mu.Unlock()
			asleep <- 20 * time.Second
			began := time.Now()
			<-hard.Done()
			took = time.Since(began)
			return nil
		})
		if took > 2*tick || !errors.Is(err, ErrLost) {
			t.Errorf("killed %v after waking up, ended with %v", took, err)
		}
		_ = h.Release(t.Context(), err)
	})
}

// slowRenewals answers a number of renewals late, and the rest never.
type slowRenewals struct {
	*link
	late time.Duration

	mu       sync.Mutex
	answered int
	sent     time.Time // of the last answered one
}

func (s *slowRenewals) lastAnswered() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

func (s *slowRenewals) Renew(ctx context.Context, lease int64) (time.Duration, error) {
	s.mu.Lock()
	s.answered--
	never := s.answered < 0
	s.mu.Unlock()
	if never {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	sent := time.Now()
	ttl, err := s.link.Renew(ctx, lease)
	pause(ctx, s.late)
	s.mu.Lock()
	s.sent = sent
	s.mu.Unlock()
	return ttl, err
}

func TestTheTimeCountsFromTheSendingOfTheLastAnsweredRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowRenewals{link: &link{m: newModel()}, late: 500 * time.Millisecond, answered: 3}
		h, err := Acquire(t.Context(), s, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var asked time.Duration
		err = h.Run(minute(t), func(soft, _ context.Context) error {
			<-soft.Done()
			asked = time.Since(s.lastAnswered())
			return nil
		})
		if asked != 6*time.Second {
			t.Errorf("asked to end %v after the last answered renewal was sent, want 6s", asked)
		}
		_ = h.Release(t.Context(), err)
	})
}

// lossy loses every second renewal.
type lossy struct {
	*link
	n atomic.Int64
}

func (s *lossy) Renew(ctx context.Context, lease int64) (time.Duration, error) {
	if s.n.Add(1)%2 == 0 {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return s.link.Renew(ctx, lease)
}

func TestLostRenewalsDoNotCostTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := Acquire(t.Context(), &lossy{link: &link{m: newModel()}}, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		err = h.Run(minute(t), func(soft, _ context.Context) error {
			pause(soft, 50*time.Second)
			return context.Cause(soft)
		})
		if err != nil {
			t.Errorf("ended with %v", err)
		}
		_ = h.Release(t.Context(), err)
	})
}
