package lock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// compacting is a link whose first watch ends after a second, because its position is compacted.
type compacting struct {
	*link
	again bool
}

func (c *compacting) Watch(ctx context.Context, keys []string, rev int64, handle func(*clientv3.Event)) error {
	if c.again {
		return c.link.Watch(ctx, keys, rev, handle)
	}
	c.again = true
	pause(ctx, time.Second)
	return rpctypes.ErrCompacted
}

// TestABrokenWatchHidesNothing: a key that is deleted between the end of one watch and the beginning of the next is missed
// at once, and not by the next verification, which may be later than the lock-delay of a successor.
func TestABrokenWatchHidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		h, err := Acquire(t.Context(), &compacting{link: &link{m: m}}, bubbleClock(), Request{Name: "a", TTL: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var deleted, killed time.Time
		err = h.Run(minute(t), func(_, hard context.Context) error {
			pause(hard, time.Second+retryPause/2)
			m.mu.Lock()
			m.rev++
			m.remove(h.Key())
			m.publish()
			m.mu.Unlock()
			deleted = time.Now()
			<-hard.Done()
			killed = time.Now()
			return nil
		})
		if late := killed.Sub(deleted); late > retryPause || !errors.Is(err, ErrLost) {
			t.Errorf("killed after %v: %v", late, err)
		}
		_ = h.Release(t.Context(), err)
	})
}
