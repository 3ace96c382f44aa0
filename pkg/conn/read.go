package conn

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// doubtAfter is how long a read may be out before its connection is tested, and doubtFor how long the test may take.
	doubtAfter, doubtFor = 2 * time.Second, time.Second
	// rangePatience is how long a read of a whole range may take before another member is asked as well: it is real work
	// for a server, so it is not doubled as lightly as the read of one key.
	rangePatience = time.Second
)

// Read runs call on the best member, and after a short delay on the next one too; the first answer wins and the others
// are cancelled. call must be free of side effects, or idempotent, and may run several times at once.
//
// It returns the error of etcd's that every member would give, such as rpctypes.ErrCompacted, as it is; an
// *UnavailableError when no endpoint answered before ctx's deadline, or none can until somebody changes something; and ctx's cause when ctx was cancelled.
func Read[T any](ctx context.Context, c *Cluster, call func(context.Context, Member) (T, error)) (T, error) {
	v, _, err := readFrom(ctx, c, 0, call)
	return v, err
}

// readFrom is Read, and says which member answered. No other member is asked before patience has passed (0: as the
// roster says).
func readFrom[T any](ctx context.Context, c *Cluster, patience time.Duration, call func(context.Context, Member) (T, error)) (v T, i int, err error) {
	if c.opts.Pin {
		v, err = pinned(ctx, c, call)
		return v, 0, err
	}
	r := race[T]{
		names: c.opts.Endpoints,
		order: c.order(),
		patience: func(i int) time.Duration {
			return max(patience, c.patience(i))
		},
		try: func(ctx context.Context, i int) (T, error) {
			return attempt(ctx, c.members[i], call)
		},
		judge:    c.judge,
		answered: c.answered,
		failed:   c.failed,
		notice:   c.opts.Notice,
	}
	return r.run(ctx)
}

// attempt runs call on one member. A connection that stays silent meanwhile is closed, so that a new one is made.
func attempt[T any](ctx context.Context, m *member, call func(context.Context, Member) (T, error)) (T, error) {
	var zero T
	mm, err := m.use()
	if err != nil {
		return zero, err
	}
	tested := make(chan struct{})
	doubt := time.AfterFunc(doubtAfter, func() {
		defer close(tested)
		m.test(ctx)
	})
	v, err := call(ctx, mm)
	if !doubt.Stop() {
		<-tested
	}
	return v, err
}

// test closes the member's connection if nothing comes back over it: no answer to a read that asks nobody else.
func (m *member) test(ctx context.Context) {
	if !m.ready() {
		return
	}
	mm, err := m.use()
	if err != nil {
		return
	}
	// The slow call may be the login itself, a bcrypt hash: the test must not wait for it.
	tctx, cancel := context.WithTimeout(context.WithValue(ctx, anonymousKey{}, true), doubtFor)
	defer cancel()
	_, err = mm.Client.Get(tctx, probeKey, clientv3.WithSerializable(), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	if err != nil && ctx.Err() == nil && tctx.Err() != nil {
		m.notes.hangUp()
	}
}

// pinned runs call on the first endpoint, as clientv3 does it, and explains its failure.
func pinned[T any](ctx context.Context, c *Cluster, call func(context.Context, Member) (T, error)) (T, error) {
	var zero T
	mm, err := c.members[0].use()
	if err != nil {
		return zero, err
	}
	v, err := call(ctx, mm)
	if err == nil {
		return v, nil
	}
	if verdict, why, cause := c.judge(0, err); verdict != final && !errors.Is(context.Cause(ctx), context.Canceled) {
		return zero, &UnavailableError{Attempts: []Attempt{{mm.Endpoint, why, cause}}, Cause: ctx.Err()}
	}
	return zero, err
}

// probeKey is read to learn whether a member serves: the first possible key, so that the server has nothing to search.
const probeKey = "\x00"

// probe asks a member for a linearizable read: it proves that the member reaches a leader which reaches a majority.
func probe(ctx context.Context, m Member) (struct{}, error) {
	_, err := m.Client.Get(ctx, probeKey, clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	// Permission is looked at after the majority has agreed on the revision to read at (Range in etcdserver/v3_server.go).
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		err = nil
	}
	return struct{}{}, err
}

// Get reads with Read.
func (c *Cluster) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	var patience time.Duration
	if op := clientv3.OpGet(key, opts...); op.RangeBytes() != nil && op.Limit() == 0 && !op.IsCountOnly() {
		patience = rangePatience
	}
	resp, _, err := readFrom(ctx, c, patience, func(ctx context.Context, m Member) (*clientv3.GetResponse, error) {
		return m.Client.Get(ctx, key, opts...)
	})
	return resp, err
}
