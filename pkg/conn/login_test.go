package conn

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A server says in several ways that a token is stale, one of them only for watches: as plain text.
func TestStaleLogin(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{rpctypes.ErrGRPCInvalidAuthToken, true},
		{rpctypes.ErrInvalidAuthToken, true},
		{errors.New(rpctypes.ErrGRPCInvalidAuthToken.Error()), true},
		{errors.New("etcdserver: invalid auth token"), true},
		{errors.New(rpctypes.ErrGRPCAuthOldRevision.Error()), true},
		{errors.New(rpctypes.ErrGRPCUserEmpty.Error()), true},
		{errors.New(rpctypes.ErrGRPCPermissionDenied.Error()), false},
		{rpctypes.ErrGRPCNoLeader, false},
	} {
		if got := staleLogin(c.err); got != c.want {
			t.Errorf("staleLogin(%v) is %v", c.err, got)
		}
	}
}
