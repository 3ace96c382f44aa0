package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrChanged says that the contender is not there any more, or is another one than was meant.
var ErrChanged = errors.New("the lock has changed hands")

// Read returns a lock's queue, and the revision that it is true at.
func Read(ctx context.Context, s Keys, name string) (Queue, int64, error) {
	resp, err := s.Get(ctx, Prefix(name), clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	return newQueue(name, resp.Kvs), resp.Header.Revision, nil
}

// AwaitFree returns when nobody holds or wants the lock.
func AwaitFree(ctx context.Context, s Keys, name string) error {
	for {
		q, rev, err := Read(ctx, s, name)
		if err == nil && len(q) == 0 {
			return nil
		}
		if err == nil {
			wctx, cancel := context.WithTimeout(ctx, reread)
			err = s.Watch(wctx, []string{q[len(q)-1].Key}, rev+1, func(ev *clientv3.Event) {
				if ev.Type == clientv3.EventTypeDelete {
					cancel()
				}
			})
			cancel()
		}
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			return refused
		}
		if !pause(ctx, retryPause/10) {
			return context.Cause(ctx)
		}
	}
}

// Ask requests the lock from a holder that made its key with this package: its work is asked to end, and the lock let go.
func Ask(ctx context.Context, s Keys, c Contender, by string) error {
	h, ok := ParseHolder(c.Value)
	if !ok {
		return fmt.Errorf("%s does not listen to requests", c.Who())
	}
	h.AskedBy, h.UpdateTime = by, time.Now().UTC()
	resp, err := s.Commit(ctx, []clientv3.Cmp{isToken(c.Key, c.Token), clientv3.Compare(clientv3.LeaseValue(c.Key), "=", c.Lease)},
		[]clientv3.Op{clientv3.OpPut(c.Key, h.encode(), clientv3.WithIgnoreLease())}, nil)
	if err == nil && !resp.Succeeded {
		err = ErrChanged
	}
	return err
}

// Break takes the lock away from a holder, and returns when it is certainly at an end: a living holder that made its key
// with this package kills its work and lets go; a dead or cut-off one has passed its own deadline when the lease, to which its
// key is moved and which nobody renews, ends. ttl is the holder's time to live.
func Break(ctx context.Context, s Store, c Contender, ttl time.Duration) error {
	lease := s.NewLease()
	if err := s.Grant(ctx, lease, ttl+2*time.Second); err != nil {
		return fmt.Errorf("grant a lease: %w", err)
	}
	value := string(c.Value)
	if h, ok := ParseHolder(c.Value); ok {
		h.State, h.UpdateTime = stateBreaking, time.Now().UTC()
		value = h.encode()
	}
	resp, err := s.Commit(ctx, []clientv3.Cmp{isToken(c.Key, c.Token)},
		[]clientv3.Op{clientv3.OpPut(c.Key, value, clientv3.WithLease(clientv3.LeaseID(lease)))}, nil)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return ErrChanged
	}
	return awaitGone(ctx, s, c, resp.Header.Revision+1)
}

// BreakNow deletes a holder's key: the next holder enters after the lock-delay, whether or not this one knows.
func BreakNow(ctx context.Context, s Keys, c Contender) error {
	resp, err := s.Commit(ctx, []clientv3.Cmp{isToken(c.Key, c.Token)}, []clientv3.Op{clientv3.OpDelete(c.Key)}, nil)
	if err == nil && !resp.Succeeded {
		err = ErrChanged
	}
	return err
}

// awaitGone returns when a contender's key is not there any more.
func awaitGone(ctx context.Context, s Keys, c Contender, rev int64) error {
	for {
		wctx, cancel := context.WithTimeout(ctx, time.Second)
		_ = s.Watch(wctx, []string{c.Key}, rev, func(ev *clientv3.Event) {
			if ev.Type == clientv3.EventTypeDelete {
				cancel()
			}
		})
		cancel()
		resp, err := s.Get(ctx, c.Key)
		if err == nil && (len(resp.Kvs) == 0 || resp.Kvs[0].CreateRevision != c.Token) {
			return nil
		}
		if !pause(ctx, retryPause/10) {
			return context.Cause(ctx)
		}
	}
}
