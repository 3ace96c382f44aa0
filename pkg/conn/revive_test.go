package conn

import (
	"context"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// An endpoint that is set aside comes back as soon as it serves again, long before --retry-after, without any call to it.
func TestEndpointsSetAsideComeBack(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Config{Members: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := Open(Options{Endpoints: l.Endpoints(), TLS: TLS{Insecure: true}, RetryAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, f := range []struct {
		name       string
		hurt, mend func() error
	}{
		{"killed", func() error { return l.Kill(0) }, func() error { return l.Restart(ctx, 0) }},
		{"hung", func() error { return l.Stop(0) }, func() error { return l.Cont(0) }},
	} {
		if err := f.hurt(); err != nil {
			t.Fatal(err)
		}
		for !c.isAside(0) && ctx.Err() == nil {
			if _, err := c.Get(ctx, "k"); err != nil {
				t.Fatalf("%s: %v", f.name, err)
			}
		}
		if err := f.mend(); err != nil {
			t.Fatal(err)
		}
		for c.isAside(0) {
			if !sleep(ctx, 10*time.Millisecond) {
				t.Fatalf("%s: it is still set aside", f.name)
			}
		}
	}
}
