package conn

import (
	"context"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// anonymousKey marks calls that go without logging in: any answer will do, a refusal too.
type anonymousKey struct{}

// unary goes with every call that is not a stream. It runs inside clientv3's own interceptor.
func (m *member) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method == pb.Auth_Authenticate_FullMethodName || ctx.Value(anonymousKey{}) != nil {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		r.keep(req)
	}
	if leaderNeeded(method, req) {
		ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	}
	// A call to an endpoint that cannot be reached fails, so that another one is asked; clientv3 would wait here.
	opts = append(opts, grpc.WaitForReady(m.opts.Pin))
	// An expired token costs one more round trip, not the call: the server refuses it before it looks at the request
	// (AuthInfoFromCtx in etcdserver/v3_server.go), so the second copy is the only one.
	for tries := 0; ; tries++ {
		tok, err := m.token.get(ctx, cc)
		if err != nil {
			return err
		}
		err = invoke(withToken(ctx, tok), method, req, reply, cc, opts...)
		if tries == 1 || !m.token.stale(err) {
			return err
		}
		m.token.drop(tok)
	}
}

// stream goes with every stream.
func (m *member) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	tok, err := m.token.get(ctx, cc)
	if err != nil {
		return nil, err
	}
	if leaderNeeded(method, nil) {
		if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get(rpctypes.MetadataRequireLeaderKey)) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
		}
	}
	return open(withToken(ctx, tok), desc, cc, method, opts...)
}

// leaderNeeded says whether a member without a leader should refuse the request rather than keep it. Serializable reads
// are asked for just to be served without one, and maintenance concerns the one member.
func leaderNeeded(method string, req any) bool {
	if r, ok := req.(*pb.RangeRequest); ok && r.Serializable {
		return false
	}
	return !strings.HasPrefix(method, "/"+pb.Maintenance_ServiceDesc.ServiceName+"/")
}

func withToken(ctx context.Context, tok string) context.Context {
	if tok == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, tok)
}
