package watch

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Point is a revision that was seen at a time.
type Point struct {
	At  time.Time
	Rev int64
}

// TimeOf estimates when revision rev was current, from revisions seen at other times, oldest first. It interpolates
// between two points, and does not guess before the first one or after the last.
func TimeOf(points []Point, rev int64) (time.Time, bool) {
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if rev < a.Rev || rev > b.Rev {
			continue
		}
		if b.Rev == a.Rev {
			return b.At, true
		}
		part := float64(rev-a.Rev) / float64(b.Rev-a.Rev)
		return a.At.Add(time.Duration(part * float64(b.At.Sub(a.At)))), true
	}
	return time.Time{}, false
}

// Horizon returns the revision of the latest compaction: the oldest one that can still be watched. 0: there was none.
//
// It needs no more than the right to watch the range: a watch from revision 1 is refused with the exact answer. For a
// range that is one key, an old read tells the same in a few steps.
func (w *Watcher) Horizon(ctx context.Context) (int64, error) {
	if compacted, err := w.compacted(ctx); err != nil || !compacted {
		return 0, err
	}
	probe := *w
	probe.Config = Config{Range: w.probeRange(), ProgressEvery: 50 * time.Millisecond}
	probe.Guard = nil
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	cur := Since(1)
	quiet := time.AfterFunc(2*time.Second, cancel)
	defer quiet.Stop()
	never := errors.New("never compacted")
	err := probe.Follow(ctx, cur, func(context.Context, Item) error { return never })
	if e, ok := errors.AsType[*CompactedError](err); ok {
		return e.Oldest, nil
	}
	if errors.Is(err, never) {
		return 0, nil
	}
	return w.search(context.WithoutCancel(ctx))
}

// compacted says whether there was a compaction at all, which a watch that is not refused shows only by its silence.
func (w *Watcher) compacted(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	_, err := w.KV.Get(ctx, string(w.Range.Key), clientv3.WithRev(1), clientv3.WithCountOnly())
	if errors.Is(err, rpctypes.ErrCompacted) {
		return true, nil
	}
	return false, err
}

// probeRange is a part of the range that hardly holds a key.
func (w *Watcher) probeRange() Range {
	if len(w.Range.End) == 0 {
		return w.Range
	}
	key := append(append([]byte(nil), w.Range.Key...), "\x00etcdx-probe"...)
	if !w.Range.Contains(key) {
		return Range{Key: w.Range.Key}
	}
	return Range{Key: key}
}

// search finds the horizon by reading at old revisions: those before it are refused.
func (w *Watcher) search(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*readWithin)
	defer cancel()
	head, err := w.head(ctx)
	if err != nil {
		return 0, err
	}
	low, high := int64(0), head.Rev // the horizon is in (low, high], or there is none and low stays 0
	for low+1 < high {
		mid := low + (high-low)/2
		_, err := w.KV.Get(ctx, string(w.Range.Key), clientv3.WithRev(mid), clientv3.WithCountOnly())
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			low = mid
		case err != nil:
			return 0, err
		default:
			high = mid
		}
	}
	if low == 0 {
		return 0, nil
	}
	return high, nil
}
