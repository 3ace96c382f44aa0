package lock

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// sleeper is a clock that jumps ahead when the machine was suspended, which timers do not notice.
type sleeper struct {
	base  Clock
	slept atomic.Int64
}

func (s *sleeper) now() Instant            { return s.base().Add(time.Duration(s.slept.Load())) }
func (s *sleeper) suspend(d time.Duration) { s.slept.Add(int64(d)) }

// TestWorkIsNotBegunWhenTheLockIsLostBefore: what was true when the lock was acquired is asked again when it is not recent.
func TestWorkIsNotBegunWhenTheLockIsLostBefore(t *testing.T) {
	for name, harm := range map[string]func(*sleeper, *model, *Held){
		"suspended past the lease": func(s *sleeper, m *model, h *Held) { s.suspend(11 * time.Second) },
		"lease revoked during a pause": func(s *sleeper, m *model, h *Held) {
			s.suspend(3 * time.Second)
			m.mu.Lock()
			m.revoke(h.Lease())
			m.mu.Unlock()
		},
		"key moved during a pause": func(s *sleeper, m *model, h *Held) {
			s.suspend(3 * time.Second)
			_, _ = m.commit(nil, []clientv3.Op{clientv3.OpPut(h.Key(), "")}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sleeper{base: bubbleClock()}
				h, _, m := hold(t, s.now)
				synctest.Wait() // else the first renewal may be sent after the pause, and mend the lease
				harm(s, m, h)
				begun := false
				err := h.Run(minute(t), func(context.Context, context.Context) error { begun = true; return nil })
				if begun || !errors.Is(err, ErrLost) {
					t.Errorf("work begun: %v; ended with %v", begun, err)
				}
				_ = h.Release(t.Context(), err)
			})
		})
	}
}

// A pause that costs nothing but time does not cost the lock.
func TestWorkBeginsAfterAPauseThatTheLeaseOutlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sleeper{base: bubbleClock()}
		h, _, _ := hold(t, s.now)
		s.suspend(5 * time.Second)
		if err := h.Run(minute(t), func(context.Context, context.Context) error {
			if age := s.now().Sub(h.Tenure().Sent()); age > 2500*time.Millisecond {
				t.Errorf("work begins %v after the last answered renewal was sent", age)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := h.Release(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// suspending is a link to a cluster; the machine is suspended while the transaction that joins the queue, and finds nobody ahead, is answered.
type suspending struct {
	*link
	times int
	pause func()
}

func (s *suspending) Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, err := s.link.Commit(ctx, cmps, then, orElse)
	if s.times > 0 {
		s.times--
		s.pause()
	}
	return resp, err
}

// A lease that ended between the answer and the work is noticed: the place in the queue is lost, and taken anew.
func TestALockThatWasLostWhileItWasTakenIsTakenAnew(t *testing.T) {
	for name, revoked := range map[string]bool{"by this clock": false, "and the cluster says so": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, m := &sleeper{base: bubbleClock()}, newModel()
				s := &suspending{link: &link{m: m}, times: 1}
				s.pause = func() {
					synctest.Wait() // else the first renewal may be sent after the pause, and mend the lease
					if revoked {
						c.suspend(3 * time.Second)
						m.mu.Lock()
						defer m.mu.Unlock()
						for id := range m.leases {
							m.revoke(id)
						}
						return
					}
					c.suspend(11 * time.Second)
				}
				rejoined := 0
				h, err := Acquire(t.Context(), s, c.now, Request{Name: "a", TTL: 10 * time.Second, Notice: func(n Notice) {
					if n.Event == "rejoined" {
						rejoined++
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				if rejoined != 1 {
					t.Errorf("rejoined %d times, want once", rejoined)
				}
				if err := h.Run(minute(t), func(context.Context, context.Context) error { return nil }); err != nil {
					t.Error(err)
				}
				if err := h.Release(t.Context(), nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
