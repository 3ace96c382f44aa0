package watch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A resync that meets a cluster without a quorum waits for it, as a stream does; what nobody can mend ends it.
func TestResyncOutlivesAnOutage(t *testing.T) {
	away, denied := errors.New("no endpoint served the request"), errors.New("permission denied")
	for _, c := range []struct {
		name  string
		err   error
		until time.Duration
		want  error
	}{
		{"away for ten minutes", away, 10 * time.Minute, errEnough},
		{"denied", denied, time.Hour, denied},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			s := &outage{script: &script{rev: 9}, err: c.err, end: begun.Add(c.until), from: begun.Add(time.Second)}
			k := &Keep{
				Watcher: &Watcher{Source: s, KV: s, Config: Config{Range: allKeys()}}, Index: NoIndex{},
				Mends: func(err error) bool { return errors.Is(err, away) },
				Deliver: func(_ context.Context, it Item) error {
					if it.Kind == SyncBegin {
						time.Sleep(2 * time.Second) // into the outage
					}
					if it.Kind == SyncEnd {
						return errEnough
					}
					return nil
				},
			}
			err := k.Run(t.Context(), Evidence{Count: -1}, 0)
			if as[*HandlerError](err) {
				err = errEnough
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
			if d := time.Since(begun); c.want == errEnough && (d < c.until || d > c.until+time.Minute) {
				t.Errorf("%s: over after %v", c.name, d)
			}
		})
	}
}

// outage is a cluster that is away for a while.
type outage struct {
	*script
	err       error
	from, end time.Time
}

func (o *outage) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if now := time.Now(); now.After(o.from) && now.Before(o.end) {
		return nil, o.err
	}
	return o.script.Get(ctx, key, opts...)
}

// A hundred watches that lose their position to the same compaction begin their resyncs apart, and none waits for long.
func TestResyncsAreSpread(t *testing.T) {
	for _, c := range []struct {
		keys int64
		most time.Duration
	}{{0, 0}, {10, 10 * time.Millisecond}, {10_000, 10 * time.Second}, {10_000_000, 30 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			starts := make([]time.Duration, 100)
			var all sync.WaitGroup
			for i := range starts {
				all.Go(func() {
					r := &Resync{Watcher: &Watcher{}, Index: many{n: c.keys}}
					if err := r.Spread(t.Context()); err != nil {
						t.Error(err)
					}
					starts[i] = time.Since(begun)
				})
			}
			all.Wait()
			tenths := [10]int{}
			for _, d := range starts {
				if d > c.most {
					t.Errorf("with %d keys a resync began after %v", c.keys, d)
				}
				if c.most > 0 {
					tenths[min(9, int(10*d/c.most))]++
				}
			}
			if n := slices.Max(tenths[:]); c.keys >= 10_000 && n > 40 {
				t.Errorf("with %d keys %d of 100 began within a tenth of the time", c.keys, n)
			}
		})
	}
}

// many is an index of which only the size matters.
type many struct {
	NoIndex
	n int64
}

func (m many) Len() int64 { return m.n }
