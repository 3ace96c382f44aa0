package conn

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lab"
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

// A watch that is opened with a token which the server does not know any more begins again with a new one.
func TestRefusedStreamLogsInAgain(t *testing.T) {
	for _, jwt := range []bool{false, true} {
		l, err := lab.Start(t.Context(), lab.Config{Members: 1, Auth: lab.Auth{Password: "secret", JWT: jwt}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		c, err := Open(Options{Endpoints: l.Endpoints(), TLS: TLS{Insecure: true}, Auth: Auth{User: "root", Password: "secret"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		opened := 0
		err = c.Stream(ctx, func(ctx context.Context, m Member) error {
			if opened++; opened == 1 {
				tok := c.members[0].token
				<-tok.turn
				tok.text, tok.have = "expired.long.ago", true
				tok.turn <- struct{}{}
			}
			for resp := range m.Client.Watch(ctx, "k", clientv3.WithCreatedNotify()) {
				if resp.Created && !resp.Canceled {
					return nil
				}
				if err := resp.Err(); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
		if err != nil || opened < 2 {
			t.Errorf("JWT %v: opened %d times, %v", jwt, opened, err)
		}
	}
}
