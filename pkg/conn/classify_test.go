package conn

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestJudgeAnswer(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want verdict
		ok   bool
	}{
		{rpctypes.ErrGRPCTimeout, elsewhere, true},
		{rpctypes.ErrGRPCPermissionDenied, final, true},
		{status.Error(codes.Unknown, "raft proposal dropped"), elsewhere, true},
		// Servers before 3.6 say this when the caller's deadline ends on their side first.
		{status.Error(codes.Unknown, "context deadline exceeded"), elsewhere, true},
		{status.Error(codes.Unknown, "context canceled"), elsewhere, true},
		{status.Error(codes.Unknown, "context of a user's making"), final, false},
		{errors.New("context deadline exceeded"), final, false},
	} {
		if v, _, ok := judgeAnswer(tc.err); v != tc.want || ok != tc.ok {
			t.Errorf("%v: %v, %v, want %v, %v", tc.err, v, ok, tc.want, tc.ok)
		}
	}
}
