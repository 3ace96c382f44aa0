package watch

import (
	"context"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// queue holds items between a stream and the handler, bounded by their size. One goroutine pushes, one pops.
type queue struct {
	mu     sync.Mutex
	items  []Item
	sizes  []int64
	held   int64
	limit  int64
	err    error
	closed bool
	// pushed and popped hold at most one token each: "look again".
	pushed, popped chan struct{}
}

func newQueue(limit int64) *queue {
	return &queue{limit: limit, pushed: make(chan struct{}, 1), popped: make(chan struct{}, 1)}
}

// each is what an event takes beside its bytes: structs and slice headers.
const each = 160

// size estimates the memory that an item holds.
func size(it Item) int64 {
	n := int64(each)
	for _, e := range it.Events {
		n += sizeOf(e)
	}
	return n
}

func sizeOf(e *clientv3.Event) int64 {
	n := each + int64(len(e.GetKv().GetKey())+len(e.GetKv().GetValue()))
	if p := e.GetPrevKv(); p != nil {
		n += each + int64(len(p.GetKey())+len(p.GetValue()))
	}
	return n
}

// tryPush adds it unless the queue is full. An empty queue takes any item, however big.
func (q *queue) tryPush(it Item) bool {
	n := size(it)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held > 0 && q.held+n > q.limit {
		return false
	}
	q.items, q.sizes, q.held = append(q.items, it), append(q.sizes, n), q.held+n
	signal(q.pushed)
	return true
}

// drain waits until half of the queue is handled, then adds items, waiting for space where needed.
func (q *queue) drain(ctx context.Context, items []Item) error {
	for q.size() > q.limit/2 || len(items) > 0 && !q.tryPush(items[0]) {
		select {
		case <-q.popped:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if len(items) > 1 {
		return q.drain(ctx, items[1:])
	}
	return nil
}

func (q *queue) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

// close lets pop return err after the last item.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.err = true, err
	signal(q.pushed)
}

// pop returns the next item. It waits for one, for close or for ctx.
func (q *queue) pop(ctx context.Context) (Item, error) {
	for {
		if ctx.Err() != nil {
			return Item{}, context.Cause(ctx)
		}
		if it, ok, err := q.take(); ok || err != nil {
			return it, err
		}
		select {
		case <-q.pushed:
		case <-ctx.Done():
		}
	}
}

func (q *queue) take() (Item, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		if q.closed {
			return Item{}, false, q.err
		}
		return Item{}, false, nil
	}
	it := q.items[0]
	q.held -= q.sizes[0]
	q.items[0] = Item{} // let the collector have it
	q.items, q.sizes = q.items[1:], q.sizes[1:]
	signal(q.popped)
	return it, true, nil
}

// gather appends to it the events that come within pause of each other, for ten times as long at most, and while they
// fit into a quarter of the queue.
func (q *queue) gather(ctx context.Context, it Item, pause time.Duration) Item {
	if it.Kind != Events {
		return it
	}
	end := time.Now().Add(10 * pause)
	it.Events = slices.Clone(it.Events)
	for bytes := size(it); bytes < q.limit/4; {
		within, cancel := context.WithTimeout(ctx, min(pause, time.Until(end)))
		next, ok := q.popEvents(within)
		cancel()
		if !ok {
			return it
		}
		bytes += size(next)
		it.Rev, it.Header, it.Events = next.Rev, next.Header, append(it.Events, next.Events...)
	}
	return it
}

// popEvents returns the next item if it has events and comes before ctx ends.
func (q *queue) popEvents(ctx context.Context) (Item, bool) {
	for {
		q.mu.Lock()
		n, closed := len(q.items), q.closed
		isEvents := n > 0 && q.items[0].Kind == Events
		q.mu.Unlock()
		if n > 0 || closed {
			if !isEvents {
				return Item{}, false
			}
			it, ok, _ := q.take()
			return it, ok
		}
		select {
		case <-q.pushed:
		case <-ctx.Done():
			return Item{}, false
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
