package conn

import (
	"bytes"
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Put writes a key, guarded so that a copy which is delayed on its way never takes effect after a later one: see guard.go.
// The answer is that of a plain put. Where the user may not read the key, or the request is as large as the server allows,
// a plain put is sent, and the error satisfies MaybeApplied when its answer stays away.
func (c *Cluster) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	op := clientv3.OpPut(key, value, opts...)
	if !c.opts.Pin {
		resp, err := c.guard(key, op).run(ctx)
		if !unguardable(err) {
			return (*clientv3.PutResponse)(resp.GetResponsePut()), err
		}
	}
	return Write(ctx, c, func(ctx context.Context, m Member) (*clientv3.PutResponse, error) {
		resp, err := m.Client.Do(ctx, op)
		return resp.Put(), err
	})
}

// Delete deletes keys. One key is guarded as in Put; but when the key is deleted while the answer stays away, nobody can
// tell by whom, and the error satisfies MaybeApplied. A range is sent once, and again only while it was certainly not applied.
func (c *Cluster) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	op := clientv3.OpDelete(key, opts...)
	if !c.opts.Pin && op.RangeBytes() == nil {
		resp, err := c.guard(key, op).run(ctx)
		if !unguardable(err) {
			return (*clientv3.DeleteResponse)(resp.GetResponseDeleteRange()), err
		}
	}
	return Write(ctx, c, func(ctx context.Context, m Member) (*clientv3.DeleteResponse, error) {
		resp, err := m.Client.Do(ctx, op)
		return resp.Del(), err
	})
}

// unguardable says whether err stems from the guard, and a plain request may do better. An *UnknownOutcomeError never does.
func unguardable(err error) bool {
	if err == nil || MaybeApplied(err) {
		return false
	}
	return errors.Is(err, rpctypes.ErrPermissionDenied) || errors.Is(err, rpctypes.ErrRequestTooLarge) || isTooLarge(err)
}

// guard returns the guarded form of op, which puts or deletes key.
func (c *Cluster) guard(key string, op clientv3.Op) guarded[*pb.ResponseOp] {
	asked := &request{}
	return guarded[*pb.ResponseOp]{
		read: func(ctx context.Context) (guard, int, error) {
			resp, i, err := readFrom(ctx, c, 0, func(ctx context.Context, m Member) (*clientv3.GetResponse, error) {
				return m.Client.Get(ctx, key, clientv3.WithKeysOnly())
			})
			if err != nil {
				return guard{}, 0, err
			}
			return guardOf((*pb.RangeResponse)(resp)), i, nil
		},
		send: func(ctx context.Context, i int, g guard) reply[*pb.ResponseOp] {
			return c.sendGuarded(ctx, i, g, guardedOp{key, op, asked})
		},
		first: func(ctx context.Context, g guard) (change[*pb.ResponseOp], error) {
			return Read(ctx, c, func(ctx context.Context, m Member) (change[*pb.ResponseOp], error) {
				return firstChange(ctx, m.Client, guardedOp{key, op, asked}, g)
			})
		},
		judge:  c.judge,
		failed: c.failed,
	}
}

// guardedOp is a put or delete of one key, with the request that it became on the wire.
type guardedOp struct {
	key   string
	op    clientv3.Op
	asked *request
}

func guardOf(r *pb.RangeResponse) guard {
	g := guard{head: r.Header.Revision}
	if len(r.Kvs) > 0 {
		g.rev = r.Kvs[0].ModRevision
	}
	return g
}

// sendGuarded sends one copy to member i. When the key has changed, the answer says what it looks like now.
func (c *Cluster) sendGuarded(ctx context.Context, i int, g guard, o guardedOp) reply[*pb.ResponseOp] {
	ctx = context.WithValue(ctx, requestKey{}, o.asked)
	resp, t, err := send(ctx, c, i, func(ctx context.Context, m Member) (*clientv3.TxnResponse, error) {
		return m.Client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(o.key), "=", g.rev)).
			Then(o.op).
			Else(clientv3.OpGet(o.key, clientv3.WithKeysOnly())).
			Commit()
	})
	r := reply[*pb.ResponseOp]{member: i, guard: g, err: err, sent: t.left()}
	if err != nil {
		return r
	}
	one := resp.Responses[0]
	if r.applied = resp.Succeeded; !r.applied {
		in := one.GetResponseRange()
		in.Header = resp.Header
		r.now = guardOf(in)
		return r
	}
	setHeader(one, resp.Header)
	r.resp = one
	return r
}

// setHeader gives the answer of one operation the header that it would have had outside a transaction.
func setHeader(one *pb.ResponseOp, h *pb.ResponseHeader) {
	if p := one.GetResponsePut(); p != nil {
		p.Header = h
	}
	if d := one.GetResponseDeleteRange(); d != nil {
		d.Header = h
	}
}

// firstChange returns the first change of the key after the guard was read.
func firstChange(ctx context.Context, cl *clientv3.Client, o guardedOp, g guard) (change[*pb.ResponseOp], error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range cl.Watch(ctx, o.key, clientv3.WithRev(g.head+1), clientv3.WithPrevKV()) {
		if err := resp.Err(); err != nil {
			return change[*pb.ResponseOp]{}, err
		}
		if len(resp.Events) > 0 {
			return o.compare(resp.Events[0], resp.Header), nil
		}
	}
	return change[*pb.ResponseOp]{}, ctx.Err()
}

// compare says whose the change is: of a put, by its value and lease.
func (o guardedOp) compare(e *clientv3.Event, h *pb.ResponseHeader) change[*pb.ResponseOp] {
	put := o.asked.put()
	switch {
	case o.op.IsDelete() && e.Type == clientv3.EventTypeDelete:
		return change[*pb.ResponseOp]{whose: unclear}
	case !o.op.IsPut() || e.Type != clientv3.EventTypePut || put == nil:
		return change[*pb.ResponseOp]{whose: others}
	case (put.IgnoreValue || put.IgnoreLease || put.PrevKv) && e.PrevKv == nil && !e.IsCreate():
		return change[*pb.ResponseOp]{whose: unclear} // compacted
	}
	value, lease := put.Value, put.Lease
	if put.IgnoreValue && e.PrevKv != nil {
		value = e.PrevKv.Value
	}
	if put.IgnoreLease && e.PrevKv != nil {
		lease = e.PrevKv.Lease
	}
	if !bytes.Equal(e.Kv.Value, value) || e.Kv.Lease != lease {
		return change[*pb.ResponseOp]{whose: others}
	}
	head := &pb.ResponseHeader{ClusterId: h.ClusterId, MemberId: h.MemberId, RaftTerm: h.RaftTerm, Revision: e.Kv.ModRevision}
	resp := &pb.PutResponse{Header: head}
	if put.PrevKv {
		resp.PrevKv = e.PrevKv
	}
	return change[*pb.ResponseOp]{own, &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: resp}}}
}
