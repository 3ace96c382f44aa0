package conn

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/stats"
)

// trip follows one write on its way. It is found by its key in the call's context.
type trip struct {
	mu   sync.Mutex
	sent bool
}

type tripKey struct{}

// follow returns a context whose calls are noted in the trip.
func follow(ctx context.Context) (context.Context, *trip) {
	t := &trip{}
	return context.WithValue(ctx, tripKey{}, t), t
}

// left says whether the request was handed to a connection: from then on it may reach the server. gRPC reports it right
// after the message is queued for the wire and before the call can return (sendMsg in its stream.go), so that a
// call which has returned without this report was certainly not sent.
func (t *trip) left() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
}

// request keeps the put that a transaction carries, as it goes out: clientv3's Op does not tell its lease. It is found by
// its key in the call's context.
type request struct {
	mu sync.Mutex
	p  *pb.PutRequest
}

type requestKey struct{}

func (r *request) keep(req any) {
	txn, ok := req.(*pb.TxnRequest)
	if !ok || len(txn.Success) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p = txn.Success[0].GetRequestPut()
}

// put returns the kept put, or nil.
func (r *request) put() *pb.PutRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.p
}

// meter is the member's gRPC stats handler.
type meter struct{ m *member }

// TagRPC implements stats.Handler.
func (meter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements stats.Handler.
func (meter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (meter) HandleConn(context.Context, stats.ConnStats) {}

// HandleRPC implements stats.Handler.
func (h meter) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.OutPayload:
		if _, login := s.Payload.(*pb.AuthenticateRequest); login {
			return
		}
		if t, ok := ctx.Value(tripKey{}).(*trip); ok {
			t.mu.Lock()
			t.sent = true
			t.mu.Unlock()
		}
	case *stats.InPayload:
		if w, ok := s.Payload.(*pb.WatchResponse); ok && len(w.Events) > 0 {
			h.m.alive.Store(time.Now().UnixNano())
		}
	}
}
