package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lock"
)

// lockStore is a cluster as pkg/lock sees it.
type lockStore struct{ *conn.Cluster }

// Renew asks several members if the first is slow: each answer is as good as the other.
func (s lockStore) Renew(ctx context.Context, lease int64) (time.Duration, error) {
	ttl, err := conn.Read(ctx, s.Cluster, func(ctx context.Context, m conn.Member) (int64, error) {
		stream, err := pb.NewLeaseClient(m.Client.ActiveConnection()).LeaseKeepAlive(ctx)
		if err != nil {
			return 0, clientv3.ContextError(ctx, err)
		}
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: lease}); err != nil {
			return 0, clientv3.ContextError(ctx, err)
		}
		resp, err := stream.Recv()
		if err != nil {
			return 0, clientv3.ContextError(ctx, err)
		}
		return resp.TTL, stream.CloseSend()
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && ttl <= 0 {
		return 0, lock.ErrLeaseGone
	}
	return time.Duration(ttl) * time.Second, refusal(err)
}

// Get is a linearizable read.
func (s lockStore) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := s.Cluster.Get(ctx, key, opts...)
	return resp, refusal(err)
}

// Commit runs a transaction that may be repeated.
func (s lockStore) Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, err := s.Cluster.Commit(ctx, cmps, then, orElse)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil, lock.ErrLeaseGone
	}
	return resp, refusal(err)
}

// Watch watches several keys on one member at a time.
func (s lockStore) Watch(ctx context.Context, keys []string, rev int64, handle func(*clientv3.Event)) error {
	next := rev
	return s.Stream(ctx, func(ctx context.Context, m conn.Member) error {
		ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		defer cancel()
		all := make(chan clientv3.WatchResponse)
		for _, key := range keys {
			opts := []clientv3.OpOption{clientv3.WithRev(next)}
			if strings.HasSuffix(key, "/") {
				opts = append(opts, clientv3.WithPrefix())
			}
			go func(c clientv3.WatchChan) {
				for resp := range c {
					select {
					case all <- resp:
					case <-ctx.Done():
						return
					}
				}
				select {
				case all <- clientv3.WatchResponse{Canceled: true}:
				case <-ctx.Done():
				}
			}(m.Client.Watch(ctx, key, opts...))
		}
		for {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case resp := <-all:
				if err := resp.Err(); err != nil {
					return err
				}
				if resp.Canceled {
					return fmt.Errorf("the watch of %q was closed", keys)
				}
				for _, ev := range resp.Events {
					handle(ev)
				}
				// With several keys, another one may still be behind; events twice are harmless, missed ones are not.
				if len(keys) == 1 && len(resp.Events) > 0 {
					next = resp.Header.Revision + 1
				}
			}
		}
	})
}

// refusal marks what no waiting mends.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return &lock.RefusedError{Err: fmt.Errorf("%w: %w", lock.ErrMarkers, err)}
	}
	for _, final := range []error{rpctypes.ErrRequestTooLarge, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrEmptyKey} {
		if errors.Is(err, final) {
			return &lock.RefusedError{Err: err}
		}
	}
	return err
}
