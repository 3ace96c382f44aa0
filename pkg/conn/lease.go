package conn

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// NewLease chooses the ID of a lease that Grant is to make. It is positive and random, as a server would choose it.
func (c *Cluster) NewLease() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return int64(binary.LittleEndian.Uint64(b[:])&(1<<63-1) | 1)
}

// Grant makes a lease that ends after ttl, in whole seconds, unless it is renewed. The server may make it longer.
// As the ID is known before, repeating the call, or sending it to two members, makes one lease.
func (c *Cluster) Grant(ctx context.Context, id int64, ttl time.Duration) error {
	req := &pb.LeaseGrantRequest{TTL: int64(ttl / time.Second), ID: id}
	return resend(ctx, c, func(ctx context.Context, m Member) error {
		_, err := pb.NewLeaseClient(m.Client.ActiveConnection()).LeaseGrant(ctx, req)
		err = clientv3.ContextError(ctx, err)
		if errors.Is(err, rpctypes.ErrLeaseExist) {
			err = nil // an earlier copy of this call
		}
		return err
	})
}

// Revoke ends a lease and deletes its keys. A lease that is gone already is no error.
func (c *Cluster) Revoke(ctx context.Context, id int64) error {
	return resend(ctx, c, func(ctx context.Context, m Member) error {
		_, err := m.Client.Revoke(ctx, clientv3.LeaseID(id))
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			err = nil
		}
		return err
	})
}

// resend makes an idempotent write, again and with twice the patience each time that no member answers. What followers passed on to a leader
// that hangs is lost, and they sit on the call for as long as it lasts, while their next leader would do it at once.
func resend(ctx context.Context, c *Cluster, write func(context.Context, Member) error) error {
	for patience := firstResend; ; patience *= 2 {
		rctx, cancel := context.WithTimeout(ctx, patience)
		_, err := Read(rctx, c, func(ctx context.Context, m Member) (struct{}, error) { return struct{}{}, write(ctx, m) })
		again := err != nil && rctx.Err() != nil && ctx.Err() == nil
		cancel()
		if !again {
			return err
		}
	}
}

// firstResend is about what a cluster with etcd's default timeouts needs to miss its leader.
const firstResend = time.Second
