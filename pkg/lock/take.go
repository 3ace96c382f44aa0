package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrMarkers is what Keys.Commit returns, in a *RefusedError, when the user may not write outside the lock's own keys.
var ErrMarkers = errors.New("permission denied")

// errNotFirst says that somebody is ahead.
var errNotFirst = errors.New("somebody is ahead")

// taken is how a lock was taken.
type taken struct {
	stale     []string // markers of earlier holders that did not let go in order
	rev       int64
	clusterID uint64
}

// take writes down that the lock is held, if nobody is ahead.
func (a *acquirer) take(ctx context.Context) (taken, error) {
	a.value = a.value.held()
	for {
		a.sure = a.session.clock()
		resp, err := a.takeOnce(ctx)
		if refused, ok := errors.AsType[*RefusedError](err); ok && errors.Is(refused, ErrMarkers) && !a.unmark {
			a.unmark = true
			a.r.notice(Notice{Event: "unmarked", Key: a.key, Text: "no permission for " + markersOf(a.r.Name) + ": a successor will not wait after an unclean end"})
			continue
		}
		if err != nil {
			return taken{}, err
		}
		if !resp.Succeeded && a.mine(resp.Responses[0].GetResponseRange().Kvs) {
			return taken{}, errNotFirst
		} else if !resp.Succeeded {
			return taken{}, errPlaceLost
		}
		t := taken{rev: resp.Header.Revision, clusterID: resp.Header.ClusterId}
		q, rest := Queue{{Key: a.key, Token: a.token}}, resp.Responses[1:]
		if !a.alone() {
			q, rest = a.queue(rest[0].GetResponseRange().Kvs), rest[1:]
			if !q.before(a.token).admits(a.r.Claim) {
				// Somebody with a lower create revision cannot appear later; this is never seen, and would be an overlap.
				return taken{}, errPlaceLost
			}
		}
		if !a.unmark {
			t.stale = q.unclean(a.r.Name, rest[1].GetResponseRange().Kvs)
		}
		return t, nil
	}
}

// alone says whether taking the lock needs no look at the queue: a comparison with all of its keys does the same.
func (a *acquirer) alone() bool { return a.r.Claim.Mode == Exclusive && !a.nested }

func (a *acquirer) takeOnce(ctx context.Context) (*clientv3.TxnResponse, error) {
	say := a.put(a.value, clientv3.WithIgnoreLease())
	if a.r.Proposal != nil {
		say = clientv3.OpGet(a.key) // those who observe an election would take a second put for a second proposal
	}
	cmps := []clientv3.Cmp{isToken(a.key, a.token), clientv3.Compare(clientv3.LeaseValue(a.key), "=", a.session.lease)}
	then := []clientv3.Op{say}
	if a.alone() {
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(Prefix(a.r.Name)), ">", a.token-1).WithPrefix())
	} else {
		then = append(then, clientv3.OpGet(Prefix(a.r.Name), append(a.ranged(), clientv3.WithMaxCreateRev(a.token))...))
	}
	if !a.unmark {
		then = append(then,
			clientv3.OpPut(MarkerKey(a.r.Name, a.token), a.value.encode()),
			clientv3.OpGet(markersOf(a.r.Name), clientv3.WithPrefix(), clientv3.WithKeysOnly()))
	}
	return a.commit(ctx, cmps, then, []clientv3.Op{clientv3.OpGet(a.key)})
}

// mine says whether the answer to a read of the own key is the contender that this is.
func (a *acquirer) mine(kvs []*mvccpb.KeyValue) bool {
	return len(kvs) == 1 && kvs[0].CreateRevision == a.token && kvs[0].Lease == a.session.lease
}

// delay waits for the lock-delay if an earlier holder did not let go in order: its lease was taken away while it may have
// been at work, and it learns of that no sooner than this process. It is over early when those markers go away.
func (a *acquirer) delay(ctx context.Context, stale []string) error {
	d := a.r.delay(a.session.now().TTL())
	if len(stale) == 0 {
		return nil
	}
	if d > 0 {
		a.r.notice(Notice{Event: "delayed", Key: a.key, Token: a.token, Text: fmt.Sprintf("the last holder of lock %q did not let go in order; waiting up to %v", a.r.Name, d)})
	}
	over := a.session.clock().Add(d)
	for a.session.clock() < over {
		if !pause(ctx, min(d/8, over.Sub(a.session.clock()))) {
			return context.Cause(ctx)
		}
		if a.session.ended() {
			return errPlaceLost
		}
		resp, err := a.get(ctx, markersOf(a.r.Name), clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		left := stale[:0:0]
		for _, kv := range resp.Kvs {
			for _, key := range stale {
				if key == string(kv.Key) {
					left = append(left, key)
				}
			}
		}
		if len(left) == 0 {
			return nil
		}
	}
	var gone []clientv3.Op
	for _, key := range stale {
		gone = append(gone, clientv3.OpDelete(key))
	}
	_, err := a.commit(ctx, []clientv3.Cmp{isToken(a.key, a.token)}, gone, nil)
	return err
}

// hold turns the place into a held lock.
func (a *acquirer) hold(ctx context.Context, t taken) (*Held, error) {
	h := &Held{
		store: a.store, session: a.session, r: a.r, marked: !a.unmark, sure: a.sure,
		key: a.key, token: a.token, rev: t.rev, clusterID: t.clusterID, since: time.Now(),
	}
	if err := h.ready(ctx); err != nil {
		return nil, err
	}
	a.r.notice(Notice{Event: "acquired", Key: a.key, Token: a.token, Text: fmt.Sprintf("holding lock %q, fencing token %d", a.r.Name, a.token)})
	return h, nil
}
