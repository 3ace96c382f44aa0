package lab

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func TestMutualTLSWantsTheClientsCertificate(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Members: 1, TLS: MutualTLS})
	good, err := c.pki.clientTLS()
	if err != nil {
		t.Fatal(err)
	}
	without := good.Clone()
	without.Certificates = nil
	stranger := good.Clone()
	stranger.RootCAs = nil
	for name, tc := range map[string]struct {
		tls  *tls.Config
		want bool
	}{"with": {good, true}, "without": {without, false}, "trusting nobody": {stranger, false}} {
		cl, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), TLS: tc.tls, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		err = within(t, time.Second, put(cl))
		_ = cl.Close()
		if (err == nil) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokensExpireAfterTheirTTL(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]Auth{
		"simple": {Password: "secret", TokenTTL: 2 * time.Second},
		"jwt":    {Password: "secret", TokenTTL: 2 * time.Second, JWT: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, Config{Members: 1, Auth: auth})
			plain := client(t, c, 0)
			if err := within(t, time.Second, put(plain)); err == nil {
				t.Error("a put without a user succeeded")
			}
			var token string
			err := within(t, 5*time.Second, func(ctx context.Context) error {
				resp, err := plain.Authenticate(ctx, "root", "secret")
				if err == nil {
					token = resp.Token
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if jwt := strings.Count(token, ".") == 2; jwt != auth.JWT {
				t.Errorf("token %q", token)
			}
			use := func() error {
				return within(t, 5*time.Second, func(ctx context.Context) error {
					cl, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Token: token, Logger: zap.NewNop()})
					if err != nil {
						return err
					}
					defer cl.Close()
					_, err = cl.Put(ctx, "k", "v")
					return err
				})
			}
			if err := use(); err != nil {
				t.Fatalf("a fresh token: %v", err)
			}
			// Each use of a simple token begins its time anew, so they lie apart.
			for tries := 0; use() == nil; time.Sleep(2 * auth.TokenTTL) {
				if tries++; tries > 2 {
					t.Fatal("the token stays good")
				}
			}
		})
	}
}

func TestStartTellsWhyAMemberEnds(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Start(ctx, Config{Members: 1, Dir: dir, Args: []string{"--no-such-flag"}})
	if err == nil {
		_ = c.Close()
		t.Fatal("it started")
	}
	if !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("the error does not say why: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
}

func TestStartLeavesADirectoryAloneThatExists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Start(t.Context(), Config{Members: 1, Dir: dir}); err == nil {
		t.Fatal("it started")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsProcessesAndRemovesFiles(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	pids := map[int]bool{}
	for _, s := range c.Status(t.Context()) {
		pids[s.Pid] = true
	}
	began := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// Members that end in order take longer, one after the other; killed ones don't, on a busy machine either.
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if alive(pids) {
		t.Error("members are alive")
	}
	if _, err := os.Stat(c.Dir()); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", c.Dir(), err)
	}
	if err := c.Kill(0); err == nil {
		t.Error("a closed cluster can be used")
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing it again: %v", err)
	}
}
