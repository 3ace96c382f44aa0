package lab

import (
	"context"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	if code, was := RunIfMember(); was {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// start starts a cluster that ends with the test.
func start(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	if bin := os.Getenv("ETCDX_TEST_ETCD"); bin != "" && cfg.Binary == "" {
		cfg.Binary = bin
	}
	c, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// client returns a client for member i, through its proxy.
func client(t *testing.T, c *Cluster, i int) *clientv3.Client {
	t.Helper()
	cl, err := clientv3.New(clientv3.Config{Endpoints: []string{c.Endpoint(i)}, DialTimeout: time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// within calls do with a context of d.
func within(t *testing.T, d time.Duration, do func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return do(ctx)
}

func put(cl *clientv3.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := cl.Put(ctx, "k", "v")
		return err
	}
}

func localGet(cl *clientv3.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := cl.Get(ctx, "k", clientv3.WithSerializable())
		return err
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func leader(t *testing.T, c *Cluster) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	i, err := c.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestStartServesOnEveryMember(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	for i := range c.Len() {
		if err := within(t, 5*time.Second, put(client(t, c, i))); err != nil {
			t.Errorf("put through %s: %v", c.Endpoint(i), err)
		}
	}
}

func TestCutLeaderFromPeersKeepsItsClients(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	old := leader(t, c)
	cl := client(t, c, old)
	if err := within(t, 5*time.Second, put(cl)); err != nil {
		t.Fatal(err)
	}
	if err := c.Cut(old, Peers); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cut-off member has no leader", func() bool {
		s := c.Status(t.Context())[old]
		return s.Answers && !s.HasLeader
	})
	if next := leader(t, c); next == old {
		t.Fatalf("%s is still the leader", name(old))
	}
	if err := within(t, time.Second, localGet(cl)); err != nil {
		t.Errorf("its clients can't reach it: %v", err)
	}
	if err := within(t, time.Second, put(cl)); err == nil {
		t.Error("a put succeeded on a member without leader")
	}
	if err := c.Heal(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has a leader again", func() bool { return c.Status(t.Context())[old].HasLeader })
}

func TestCutFollowerDoesNotDisturbTheLeader(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	lead := leader(t, c)
	cut := (lead + 1) % c.Len()
	if err := c.Cut(cut, Peers); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the follower has no leader", func() bool {
		s := c.Status(t.Context())[cut]
		return s.Answers && !s.HasLeader
	})
	if now := leader(t, c); now != lead {
		t.Errorf("leader is %s, was %s", name(now), name(lead))
	}
}
