package lock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// steal deletes a key and puts it again, as somebody else's.
func steal(t *testing.T, m *model, key string) {
	t.Helper()
	for _, op := range []clientv3.Op{clientv3.OpDelete(key), clientv3.OpPut(key, "theirs")} {
		if _, err := m.commit(nil, []clientv3.Op{op}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReleaseLeavesTheKeyOfSomebodyElse: a key of the same name that another one has put is not taken away, and the loss
// is told.
func TestReleaseLeavesTheKeyOfSomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, m := hold(t, bubbleClock())
		err := h.Run(minute(t), func(context.Context, context.Context) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		steal(t, m, h.Key())
		if err := h.Release(t.Context(), nil); !errors.Is(err, ErrLost) {
			t.Errorf("released with %v, want a loss", err)
		}
		if kv := m.kvs[h.Key()]; kv == nil || string(kv.Value) != "theirs" {
			t.Errorf("the key of somebody else is %v", kv)
		}
		if left := m.kvs[MarkerKey("a", h.Lease())]; left != nil {
			t.Error("the marker of work that has ended is left")
		}
	})
}

// TestAWaiterLeavesTheKeyOfSomebodyElse: the same for one that gives up.
func TestAWaiterLeavesTheKeyOfSomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l, m := hold(t, bubbleClock())
		ctx, cancel := context.WithCancel(t.Context())
		var key string
		done := make(chan error, 1)
		go func() {
			_, err := Acquire(ctx, l, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second, Notice: func(n Notice) { key = n.Key }})
			done <- err
		}()
		synctest.Wait()
		m.mu.Lock()
		m.rev++
		m.remove(key) // without an event that is seen: the waiter believes that its key is there
		m.mu.Unlock()
		if _, err := m.commit(nil, []clientv3.Op{clientv3.OpPut(key, "theirs")}, nil); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiter ended with %v", err)
		}
		if kv := m.kvs[key]; kv == nil || string(kv.Value) != "theirs" {
			t.Errorf("the key of somebody else is %v", kv)
		}
		if err := h.Release(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// TestAContenderThatLeavesInOrderLeavesNothing: neither its key nor its marker nor its lease.
func TestAContenderThatLeavesInOrderLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l, m := hold(t, bubbleClock())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Acquire(ctx, l, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the waiter ended with %v", err)
		}
		if _, err := Acquire(t.Context(), l, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second, Try: true}); !errors.Is(err, ErrBusy) {
			t.Errorf("the one that tries ended with %v", err)
		}
		if err := h.Release(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if len(m.kvs) > 0 || len(m.leases) > 0 {
			t.Errorf("left behind: keys %v, leases %v", m.kvs, m.leases)
		}
	})
}

// TestAnUncleanEndIsSeenAmongTheMarkersOfOtherLocks: those of locks whose names begin with this one's are older, and many.
func TestAnUncleanEndIsSeenAmongTheMarkersOfOtherLocks(t *testing.T) {
	for name, contended := range map[string]bool{"free": false, "contended": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				put := func(key string) {
					if _, err := m.commit(nil, []clientv3.Op{clientv3.OpPut(key, "")}, nil); err != nil {
						t.Fatal(err)
					}
				}
				for i := range int64(2 * fewMarkers) {
					put(MarkerKey("a/b", i))
				}
				l := &link{m: m}
				release := func() {}
				if contended {
					h, err := Acquire(t.Context(), l, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second})
					if err != nil {
						t.Fatal(err)
					}
					release = func() { _ = h.Release(t.Context(), nil) }
				}
				put(MarkerKey("a", 0xdead))
				time.AfterFunc(time.Second, release)
				delayed := false
				h, err := Acquire(t.Context(), l, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second, Delay: AutoDelay, Notice: func(n Notice) {
					delayed = delayed || n.Event == "delayed"
				}})
				if err != nil || !delayed {
					t.Fatalf("acquired with %v, after the lock-delay: %v", err, delayed)
				}
				_ = h.Release(t.Context(), nil)
				if m.kvs[MarkerKey("a", 0xdead)] != nil || m.kvs[MarkerKey("a/b", 1)] == nil {
					t.Error("want the marker of this lock gone, and those of the other one left")
				}
			})
		})
	}
}
