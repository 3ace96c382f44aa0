package conn_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// Certificate files that are renewed are used at the next connection: by a long-lived watch or lock without a restart.
func TestRenewedFilesAreRead(t *testing.T) {
	l := start(t, lab.Config{Members: 1, TLS: lab.MutualTLS})
	other := start(t, lab.Config{Members: 1, TLS: lab.MutualTLS})
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem")
	install := func(from *lab.Cluster) {
		t.Helper()
		for to, file := range map[string]string{cert: from.ClientCert(), key: from.ClientKey()} {
			b, err := os.ReadFile(file)
			check(t, err)
			check(t, os.WriteFile(to, b, 0o600))
		}
	}
	install(other)
	c := open(t, conn.Options{Endpoints: l.Endpoints(), TLS: conn.TLS{CACert: l.CACert(), Cert: cert, Key: key}})
	_, err := c.Get(within(t, 5*time.Second), "k")
	if e, ok := errors.AsType[*conn.UnavailableError](err); !ok || e.Attempts[0].Reason != conn.NeedCert {
		t.Fatalf("a certificate of another CA: %v", err)
	}
	served := func() {
		t.Helper()
		ctx := within(t, 5*time.Second) // the next connection is made within a second
		for _, err = c.Get(ctx, "k"); err != nil && ctx.Err() == nil; _, err = c.Get(ctx, "k") {
			time.Sleep(20 * time.Millisecond)
		}
		check(t, err)
	}
	install(l)
	served()

	// A connection that stands is not hurt by a bad file; the next one is.
	check(t, os.WriteFile(cert, []byte("half wri"), 0o600))
	_, err = c.Get(within(t, 5*time.Second), "k")
	check(t, err)
	check(t, l.Reset(0))
	if _, err = c.Get(within(t, 2*time.Second), "k"); err == nil {
		t.Error("a broken file was used")
	}
	install(l)
	served()
}

// Pinned to its first endpoint, a client asks no other, and says what is wrong with that one.
func TestPinStaysWhereItIs(t *testing.T) {
	l := start(t, lab.Config{Members: 3})
	o := plain(l)
	o.Pin = true
	for _, f := range []struct {
		name string
		hurt func() error
		want conn.Reason
	}{
		{"hung", func() error { return l.Stop(0) }, conn.Silent},
		{"killed", func() error { return l.Kill(0) }, conn.Refused},
	} {
		t.Run(f.name, func(t *testing.T) {
			check(t, f.hurt())
			c := open(t, o)
			_, err := c.Get(within(t, time.Second), "k")
			if e, ok := errors.AsType[*conn.UnavailableError](err); !ok || len(e.Attempts) != 1 || e.Attempts[0].Reason != f.want {
				t.Errorf("a get: %v, want %v", err, f.want)
			}
			if _, err = c.Put(within(t, time.Second), "k", "v"); err == nil {
				t.Error("a put went somewhere")
			}
			for i, s := range l.Status(t.Context())[1:] {
				if s.Clients > 0 {
					t.Errorf("%d connections to member %d", s.Clients, i+2)
				}
			}
			check(t, l.Heal())
			check(t, l.Restart(within(t, 10*time.Second), 0))
			_, err = c.Get(within(t, 5*time.Second), "k")
			check(t, err)
		})
	}
}
