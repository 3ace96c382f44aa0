package conn_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

func TestMain(m *testing.M) {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// start returns a running cluster, one to three members.
func start(t *testing.T, cfg lab.Config) *lab.Cluster {
	t.Helper()
	l, err := lab.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func open(t *testing.T, o conn.Options) *conn.Cluster {
	t.Helper()
	c, err := conn.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// within bounds one call.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func plain(l *lab.Cluster) conn.Options {
	return conn.Options{Endpoints: l.Endpoints(), TLS: conn.TLS{Insecure: true}}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
