package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrMarkers is what Keys.Commit returns, in a *RefusedError, when the user may not write outside the lock's own keys.
var ErrMarkers = errors.New("permission denied")

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
	for len(stale) > 0 {
		var gone []clientv3.Op
		for _, key := range stale {
			gone = append(gone, clientv3.OpDelete(key))
		}
		if _, err := a.commit(ctx, []clientv3.Cmp{isToken(a.key, a.token)}, gone, nil); err != nil {
			return err
		}
		v, err := a.look(ctx) // there may be more than one look shows
		if err != nil {
			return err
		}
		stale = v.stale
	}
	return nil
}

// hold turns the place into a held lock.
func (a *acquirer) hold(ctx context.Context, v view) (*Held, error) {
	h := &Held{
		store: a.store, session: a.session, r: a.r, marked: !a.unmark, sure: v.asked,
		key: a.key, token: a.token, rev: v.rev, clusterID: v.clusterID, value: a.value.held(), since: time.Now(),
	}
	if err := h.ready(ctx); err != nil {
		return nil, err
	}
	a.r.notice(Notice{Event: "acquired", Key: a.key, Token: a.token, Text: fmt.Sprintf("holding lock %q, fencing token %d", a.r.Name, a.token)})
	return h, nil
}
