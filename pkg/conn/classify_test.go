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

// A member that lags refuses the newest token, too: that says nothing about what became of an earlier copy of a write.
func TestARefusedTokenIsTriedElsewhere(t *testing.T) {
	for _, tc := range []struct {
		auth Auth
		err  error
		want verdict
	}{
		{Auth{User: "u", Password: "p"}, rpctypes.ErrGRPCInvalidAuthToken, elsewhere},
		{Auth{User: "u", Password: "p"}, rpctypes.ErrGRPCAuthFailed, final},
		{Auth{Token: "t"}, rpctypes.ErrGRPCInvalidAuthToken, final},
	} {
		c, err := Open(Options{Endpoints: []string{"127.0.0.1:1", "127.0.0.1:2"}, Auth: tc.auth})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := c.judge(0, tc.err); got != tc.want {
			t.Errorf("%+v: %v is judged as %v, want %v", tc.auth, tc.err, got, tc.want)
		}
		c.Close()
	}
}
