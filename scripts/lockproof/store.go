package main

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lock"
)

// oneClient is a store without fail-over, so that only what pkg/lock itself asks for is counted.
type oneClient struct{ *clientv3.Client }

// NewLease implements lock.Leases.
func (c oneClient) NewLease() int64 { return 1 + rand.Int64N(math.MaxInt64) }

// Grant implements lock.Leases.
func (c oneClient) Grant(ctx context.Context, lease int64, ttl time.Duration) error {
	_, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: lease, TTL: int64(ttl / time.Second)})
	return err
}

// Renew implements lock.Leases.
func (c oneClient) Renew(ctx context.Context, lease int64) (time.Duration, error) {
	resp, err := c.KeepAliveOnce(ctx, clientv3.LeaseID(lease))
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return 0, lock.ErrLeaseGone
	case err != nil:
		return 0, err
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

// Revoke implements lock.Leases.
func (c oneClient) Revoke(ctx context.Context, lease int64) error {
	_, err := c.Client.Revoke(ctx, clientv3.LeaseID(lease))
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// Commit implements lock.Keys.
func (c oneClient) Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, err := c.Txn(ctx).If(cmps...).Then(then...).Else(orElse...).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil, lock.ErrLeaseGone
	}
	return resp, err
}

// Watch implements lock.Keys.
func (c oneClient) Watch(ctx context.Context, keys []string, rev int64, handle func(*clientv3.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make(chan clientv3.WatchResponse)
	for _, key := range keys {
		opts := []clientv3.OpOption{clientv3.WithRev(rev)}
		if strings.HasSuffix(key, "/") {
			opts = append(opts, clientv3.WithPrefix())
		}
		go func(responses clientv3.WatchChan) {
			for resp := range responses {
				select {
				case all <- resp:
				case <-ctx.Done():
				}
			}
		}(c.Client.Watch(ctx, key, opts...))
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case resp := <-all:
			if err := resp.Err(); err != nil {
				return err
			}
			for _, ev := range resp.Events {
				handle(ev)
			}
		}
	}
}
