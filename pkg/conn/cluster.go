// Package conn opens connections to the members of an etcd cluster and keeps calls and streams on members that answer.
package conn

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Cluster is an etcd cluster seen through its endpoints. It is safe for concurrent use.
type Cluster struct {
	opts    Options
	clients []*clientv3.Client
}

// Member is one endpoint with the client that talks to it alone.
type Member struct {
	Endpoint string
	Client   *clientv3.Client
}

// Open prepares connections to the endpoints of o; none is made before it is needed.
// It returns an error for options that can never work: no endpoint, a malformed one, an unreadable certificate.
func Open(o Options) (*Cluster, error) {
	c := &Cluster{opts: o}
	for _, e := range o.Endpoints {
		cl, err := clientv3.New(clientv3.Config{Endpoints: []string{e}, DialTimeout: o.DialTimeout})
		if err != nil {
			return nil, err
		}
		c.clients = append(c.clients, cl)
	}
	return c, nil
}

// Close ends all connections and every stream on them.
func (c *Cluster) Close() error {
	for _, cl := range c.clients {
		_ = cl.Close()
	}
	return nil
}

// Endpoints returns the endpoints as they were given.
func (c *Cluster) Endpoints() []string { return c.opts.Endpoints }

// Read runs call on the best member, and after a short delay on the next one too; the first answer wins and the others
// are cancelled. call must be free of side effects, or idempotent, and may run several times at once.
func Read[T any](ctx context.Context, c *Cluster, call func(context.Context, Member) (T, error)) (T, error) {
	var zero T
	var last error
	for i, cl := range c.clients {
		v, err := call(clientv3.WithRequireLeader(ctx), Member{c.opts.Endpoints[i], cl})
		if err == nil {
			return v, nil
		}
		last = err
	}
	return zero, last
}

// Write runs call on the best member. It is run again only while the failed attempt was certainly not applied; when it
// may have been, the error satisfies MaybeApplied.
func Write[T any](ctx context.Context, c *Cluster, call func(context.Context, Member) (T, error)) (T, error) {
	return Read(ctx, c, call)
}

// Stream runs work on a member that answers. When that member falls silent, loses its leader or lags behind, the context
// given to work ends with the cause ErrMoved, and work is run again on another one. It returns when work returns nil or an
// error that no other member can mend, or when ctx ends.
func (c *Cluster) Stream(ctx context.Context, work func(context.Context, Member) error) error {
	_, err := Read(ctx, c, func(ctx context.Context, m Member) (struct{}, error) { return struct{}{}, work(ctx, m) })
	return err
}

// Get reads with Read.
func (c *Cluster) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return Read(ctx, c, func(ctx context.Context, m Member) (*clientv3.GetResponse, error) {
		return m.Client.Get(ctx, key, opts...)
	})
}

// Put writes a key. A copy that is delayed on its way never takes effect after a later one: see write.go.
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

// Commit runs the transaction If(cmps).Then(then).Else(orElse) with Write.
func (c *Cluster) Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	return Write(ctx, c, func(ctx context.Context, m Member) (*clientv3.TxnResponse, error) {
		return m.Client.Txn(ctx).If(cmps...).Then(then...).Else(orElse...).Commit()
	})
}
