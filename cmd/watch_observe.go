package cmd

import (
	"context"
	"time"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/watch"
)

func horizonsPath(path string) string { return path + ".horizons" }

// observed is what one look at a cluster told.
type observed struct {
	head    watch.Head
	horizon int64 // 0: never compacted
	cadence watch.Cadence
}

// observe looks at the cluster's revision and its compactions, and adds what it saw to the file at path. A file that cannot
// be written costs a forecast and no more.
func observe(ctx context.Context, w *watch.Watcher, path string) (observed, error) {
	head, err := w.Verify(ctx, watch.Evidence{})
	if err != nil {
		return observed{}, err
	}
	horizon, err := w.Horizon(ctx)
	if err != nil {
		return observed{}, err
	}
	h := checkpoint.ReadHorizons(path)
	h.Add(head.ClusterID, horizon, time.Now())
	_ = checkpoint.WriteHorizons(path, h)
	return observed{head: head, horizon: horizon, cadence: watch.CadenceOf(seen(h))}, nil
}

func seen(h checkpoint.Horizons) []watch.Seen {
	all := make([]watch.Seen, len(h.Seen))
	for i, s := range h.Seen {
		all[i] = watch.Seen(s)
	}
	return all
}

// observer looks at the cluster beside a watch.
type observer struct {
	w    *watch.Watcher // not the one that watches
	path string
	sink *sink
}

// run looks from time to time, until ctx ends.
func (o observer) run(ctx context.Context) {
	for {
		saw, err := observe(ctx, o.w, o.path)
		if err == nil {
			points := o.sink.sample(time.Now(), saw.head.Rev)
			o.sink.stats.saw(saw.head.Rev)
			o.sink.stats.compacted(saw.horizon, saw.cadence, points)
		}
		select {
		case <-time.After(saw.cadence.Look()):
		case <-ctx.Done():
			return
		}
	}
}
