package cmd

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdx/etcdx/pkg/conn"
)

func TestProspectOfAFailedStream(t *testing.T) {
	met := func(reasons ...conn.Reason) error {
		e := &conn.UnavailableError{}
		for _, r := range reasons {
			e.Attempts = append(e.Attempts, conn.Attempt{Reason: r})
		}
		return e
	}
	for name, tc := range map[string]struct {
		err  error
		want prospect
	}{
		"its time is over":                   {met(), mendsItself},
		"away":                               {met(conn.Refused, conn.Silent), mendsItself},
		"one is away, one has another CA":    {met(conn.Silent, conn.WrongCA), mendsItself},
		"another CA":                         {met(conn.WrongCA, conn.WrongCA), wrongSetUp},
		"a load balancer":                    {met(conn.NotEtcd), wrongSetUp},
		"no certificate, and no TLS":         {met(conn.NeedCert, conn.PlainPort, conn.TLSPort), wrongSetUp},
		"a refused user":                     {met(conn.BadLogin), lasts},
		"a refused user, and another CA":     {met(conn.WrongCA, conn.BadLogin), lasts},
		"a refused range":                    {met(conn.NoPermission, conn.NoPermission), lasts},
		"the server's word that it may not":  {rpctypes.ErrPermissionDenied, lasts},
		"the server's word that it has gone": {rpctypes.ErrNoLeader, mendsItself},
		"a broken stream":                    {errors.New("stream terminated by RST_STREAM"), mendsItself},
	} {
		if got := prospectOf(tc.err); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
