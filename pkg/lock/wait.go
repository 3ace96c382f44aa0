package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// view is what matters of the queue, at a revision.
type view struct {
	asked     Instant  // when the question was sent
	ahead     Queue    // who comes first; for an exclusive contender at least the last of them
	stale     []string // markers of earlier contenders that did not leave in order, if nobody is ahead who might have made them
	rev       int64
	clusterID uint64
}

// reread is how often a waiter looks at the queue although nothing was reported, give or take a fifth.
const reread = 10 * time.Second

// wait returns when nobody is ahead who keeps the claim from being admitted.
func (a *acquirer) wait(ctx context.Context, v view) (view, error) {
	for !v.ahead.admits(a.r.Claim) {
		err := a.awaitChange(ctx, v)
		if err != nil {
			return v, err
		}
		if v, err = a.look(ctx); err != nil {
			return v, err
		}
	}
	return v, nil
}

// look reads the queue: for an exclusive contender its own key and the one before it, which is the same work for the network
// however long the queue is.
func (a *acquirer) look(ctx context.Context) (view, error) {
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(a.token)}
	if a.r.Claim.Mode == Exclusive && !a.nested {
		opts = append(opts, clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(2))
	}
	ops, known := []clientv3.Op{clientv3.OpGet(Prefix(a.r.Name), opts...)}, a.nested
	if !a.unmark {
		ops = append(ops, a.markers())
	}
	v := view{asked: a.session.clock()}
	resp, err := a.commit(ctx, nil, ops, nil)
	if err != nil {
		return v, err
	}
	q := a.queue(resp.Responses[0].GetResponseRange().Kvs)
	if a.nested != known {
		return a.look(ctx) // keys of other locks may have kept those ahead out of the answer
	}
	if c, ok := q.find(a.key); !ok || c.Token != a.token || c.Lease != a.session.lease {
		return v, errPlaceLost
	}
	v.ahead, v.rev, v.clusterID = q.before(a.token), resp.Header.Revision, resp.Header.ClusterId
	if a.unmark {
		return v, nil
	}
	if v.stale, err = a.unclean(v.ahead, resp.Responses[1].GetResponseRange()); errors.Is(err, errMixed) {
		return a.look(ctx)
	}
	return v, nil
}

// awaitChange returns when somebody ahead has left, after some time, or when the watch breaks.
func (a *acquirer) awaitChange(ctx context.Context, v view) error {
	// An exclusive contender wakes up when the one before it leaves, and not for everybody else.
	keys := []string{v.ahead[len(v.ahead)-1].Key, a.key}
	if a.r.Claim.Mode != Exclusive {
		keys = []string{Prefix(a.r.Name)}
	}
	wctx, cancel := context.WithTimeout(ctx, time.Duration((0.8+0.4*rand.Float64())*float64(reread)))
	defer cancel()
	changed, watched := make(chan struct{}, 1), make(chan struct{})
	// The end of the watch is not waited for here: work may start meanwhile.
	a.session.tasks.Go(func() {
		defer close(watched)
		err := a.store.Watch(wctx, keys, v.rev+1, func(ev *clientv3.Event) {
			if ev.Type == clientv3.EventTypeDelete {
				signal(changed)
			}
		})
		if err != nil {
			pause(wctx, retryPause) // do not spin while no member answers
		}
	})
	for {
		timer := time.NewTimer(10 * tick)
		over := false
		select {
		case <-changed:
			over = true
		case <-watched:
			over = true
		case <-a.session.gone:
		case <-timer.C:
		}
		timer.Stop()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case a.session.ended():
			return errPlaceLost
		case over:
			return nil
		}
	}
}

// delay waits for the lock-delay if an earlier holder did not let go in order: its lease was taken away while it may have
// been at work, and it learns of that no sooner than this process. It is over early when those markers go away.
func (a *acquirer) delay(ctx context.Context, stale []string) error {
	d := a.r.delay(a.session.now().TTL())
	if len(stale) == 0 {
		return nil
	}
	if d > 0 {
		a.r.notice(Notice{Event: "delayed", Key: a.key, Token: a.token, Text: fmt.Sprintf("a contender for lock %q did not let go in order; waiting up to %v", a.r.Name, d)})
	}
	over := a.session.clock().Add(d)
	for a.session.clock() < over && len(stale) > 0 {
		if !pause(ctx, min(d/8, over.Sub(a.session.clock()))) {
			return context.Cause(ctx)
		}
		v, err := a.look(ctx)
		if err != nil {
			return err
		}
		stale = v.stale
	}
	done := map[string]bool{}
	for len(stale) > 0 {
		for _, marker := range stale {
			if err := a.forget(ctx, marker); err != nil {
				return err
			}
			done[marker] = true
		}
		v, err := a.look(ctx) // there may be more than one look shows
		if err != nil {
			return err
		}
		stale = slices.DeleteFunc(v.stale, func(marker string) bool { return done[marker] })
	}
	return nil
}

// forget takes away the marker of a contender that has gone. One whose key is there again, put by a late copy of its first
// call or by itself, may get the lock later, and its successor has to know.
func (a *acquirer) forget(ctx context.Context, marker string) error {
	key := Prefix(a.r.Name) + strings.TrimPrefix(marker, markersOf(a.r.Name))
	_, err := a.commit(ctx, []clientv3.Cmp{isToken(a.key, a.token), isToken(key, 0)}, []clientv3.Op{clientv3.OpDelete(marker)}, nil)
	return err
}
