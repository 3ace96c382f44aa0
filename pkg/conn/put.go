package conn

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Put writes a key. A copy that is delayed on its way never takes effect after a later one: see guard.go.
func (c *Cluster) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	return Write(ctx, c, func(ctx context.Context, m Member) (*clientv3.PutResponse, error) {
		return m.Client.Put(ctx, key, value, opts...)
	})
}

// Delete deletes keys; see Put.
func (c *Cluster) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	return Write(ctx, c, func(ctx context.Context, m Member) (*clientv3.DeleteResponse, error) {
		return m.Client.Delete(ctx, key, opts...)
	})
}
