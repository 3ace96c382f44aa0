//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Change is what one event did to one key.
type Change struct {
	Key    string
	Value  string
	Delete bool
}

// History is every event of a cluster, by revision. Revision 1 is that of an empty store; every later one has events.
type History map[int64][]Change

// Within returns the events of a revision whose keys have the prefix.
func (h History) Within(rev int64, prefix string) []Change {
	var own []Change
	for _, c := range h[rev] {
		if strings.HasPrefix(c.Key, prefix) {
			own = append(own, c)
		}
	}
	return own
}

// State returns the keys with the prefix as they were at a revision.
func (h History) State(rev int64, prefix string) map[string]string {
	state := map[string]string{}
	for r := int64(2); r <= rev; r++ {
		apply(state, h.Within(r, prefix))
	}
	return state
}

func apply(state map[string]string, changes []Change) {
	for _, c := range changes {
		if c.Delete {
			delete(state, c.Key)
		} else {
			state[c.Key] = c.Value
		}
	}
}

// truth records the cluster's history from every member, past the proxies. What one member can't send, because it is dead,
// hangs or lags, another one does; and what two of them send must be the same.
type truth struct {
	c *campaign

	mu      sync.Mutex
	history History
	through int64 // every revision up to it is in history
	moved   chan struct{}
	wrong   []Violation
}

func newTruth(c *campaign) *truth {
	return &truth{c: c, history: History{}, through: 1, moved: make(chan struct{})}
}

// run records until ctx ends.
func (t *truth) run(ctx context.Context) {
	var work sync.WaitGroup
	for i := range t.c.cluster.Len() {
		work.Go(func() {
			next := int64(2)
			for ctx.Err() == nil {
				next = t.follow(ctx, i, next)
				sleep(ctx, 100*time.Millisecond)
			}
		})
	}
	work.Wait()
}

// follow records what member i sends from revision next on, until its stream ends, and returns where to go on. A restarted member
// listens elsewhere: then the stream is given up. It asks for one revision more: servers before 3.4.36 and 3.5.18 may have
// lost the deletes of the revision that was compacted, and serve the rest of it (etcd issues 18089 and 19179).
func (t *truth) follow(ctx context.Context, i int, next int64) int64 {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	address := t.c.cluster.Direct()[i]
	cl, err := t.c.direct(i)
	if err != nil {
		return next
	}
	defer cl.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for t.c.cluster.Direct()[i] == address && sleep(ctx, 300*time.Millisecond) {
			continue
		}
		cancel()
	}()
	defer func() { cancel(); <-gone }()
	for resp := range cl.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(next-1)) {
		if errors.Is(resp.Err(), rpctypes.ErrCompacted) {
			return max(next, t.known()+1, resp.CompactRevision+1)
		}
		if resp.Err() != nil {
			return next
		}
		events := slices.DeleteFunc(resp.Events, func(e *clientv3.Event) bool { return e.Kv.ModRevision < next })
		t.record(i, events)
		if n := len(events); n > 0 {
			next = events[n-1].Kv.ModRevision + 1
		}
	}
	return next
}

func (t *truth) record(member int, events []*clientv3.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(events) > 0 {
		rev := events[0].Kv.ModRevision
		var changes []Change
		for len(events) > 0 && events[0].Kv.ModRevision == rev {
			e := events[0]
			changes = append(changes, Change{Key: string(e.Kv.Key), Value: string(e.Kv.Value), Delete: e.Type == clientv3.EventTypeDelete})
			events = events[1:]
		}
		known, ok := t.history[rev]
		switch {
		case !ok:
			t.history[rev] = changes
		case !slices.Equal(known, changes):
			t.wrong = append(t.wrong, Violation{Workload: "server", Rule: "agreed", From: t.c.journal.now(), Text: fmt.Sprintf("m%d says revision %d is %v, another one %v", member+1, rev, changes, known)})
		}
	}
	for t.history[t.through+1] != nil {
		t.through++
	}
	close(t.moved)
	t.moved = make(chan struct{})
}

func (t *truth) known() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.through
}

// wait waits until every revision up to rev is recorded.
func (t *truth) wait(ctx context.Context, rev int64) error {
	for {
		t.mu.Lock()
		through, moved := t.through, t.moved
		t.mu.Unlock()
		if through >= rev {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the history is known up to revision %d of %d: %w", through, rev, context.Cause(ctx))
		case <-moved:
		}
	}
}

// catchUp bounds how long a healthy cluster takes to send what is outstanding.
const catchUp = 20 * time.Second

// check completes the history and says what is wrong with it; without it nothing else can be judged.
func (t *truth) check(ctx context.Context) []Violation {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	rev, err := t.c.cluster.Revision(ctx)
	if err == nil {
		err = t.wait(ctx, rev)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		return append(t.wrong, Violation{Workload: "server", Rule: "checked", Text: err.Error()})
	}
	return t.wrong
}

// all returns the history recorded so far, and up to which revision it is complete.
func (t *truth) all() (History, int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := make(History, len(t.history))
	for rev, changes := range t.history {
		h[rev] = changes
	}
	return h, t.through
}
