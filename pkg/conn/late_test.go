package conn_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// A put lies in a member that hangs. It is repeated, and succeeds, at another one; another client writes the key; then the
// first member wakes up and the first copy goes on its way. It must neither take effect again nor destroy the other client's value.
//
// The control does the same with a plain put that is sent again, as scripts around etcdctl do: there the late copy wins, which
// shows that it does arrive.
func TestLateCopyOfAPutTakesNoEffect(t *testing.T) {
	l := start(t, lab.Config{})
	t.Run("put", func(t *testing.T) {
		s := newLateCopy(t, l, "put-mine")
		c := open(t, conn.Options{Endpoints: []string{s.relay.addr, s.other}, TLS: conn.TLS{Insecure: true}})
		_, err := c.Get(within(t, 5*time.Second), "k")
		check(t, err)
		resp, err := c.Put(within(t, 5*time.Second), "k", "put-mine")
		check(t, err)
		before := s.read(t)
		if resp.Header.Revision != before.ModRevision || string(before.Value) != "put-mine" {
			t.Errorf("the put says revision %d, the key has %q at %d", resp.Header.Revision, before.Value, before.ModRevision)
		}
		if got := s.finish(t); string(got.Value) != "theirs" || got.Version != before.Version+1 {
			t.Errorf("after the late copy the key is %q, version %d; want the other client's value, version %d", got.Value, got.Version, before.Version+1)
		}
	})
	// Nothing could keep the late copy from making the key again, should somebody delete it meanwhile.
	t.Run("put of a new key is not sent twice", func(t *testing.T) {
		s := newLateCopy(t, l, "new-mine")
		_, err := s.client.Delete(within(t, 5*time.Second), "k")
		check(t, err)
		c := open(t, conn.Options{Endpoints: []string{s.relay.addr, s.other}, TLS: conn.TLS{Insecure: true}})
		_, err = c.Get(within(t, 5*time.Second), "k")
		check(t, err)
		if _, err := c.Put(within(t, 2*time.Second), "k", "new-mine"); !conn.MaybeApplied(err) {
			t.Errorf("the put says %v; want that its outcome is unknown", err)
		}
		if got := s.finish(t); string(got.Value) != "theirs" || got.Version != 1 {
			t.Errorf("the key is %q, version %d; want the other client's value, version 1", got.Value, got.Version)
		}
	})
	t.Run("control: a plain put, sent again", func(t *testing.T) {
		s := newLateCopy(t, l, "control-mine")
		first, second := client(t, s.relay.addr), client(t, s.other)
		_, err := first.Get(within(t, 5*time.Second), "k")
		check(t, err)
		if _, err := first.Put(within(t, 300*time.Millisecond), "k", "control-mine"); err == nil {
			t.Fatal("a member that hangs has answered")
		}
		_, err = second.Put(within(t, 5*time.Second), "k", "control-mine")
		check(t, err)
		got := s.finish(t)
		for ctx := within(t, 10*time.Second); string(got.Value) != "control-mine" && ctx.Err() == nil; got = s.read(t) {
			time.Sleep(20 * time.Millisecond)
		}
		if string(got.Value) != "control-mine" {
			t.Errorf("the late copy did not arrive: the key is %q", got.Value)
		}
	})
}

// lateCopy is the scenario: a follower behind a relay that stops it when the marked request arrives.
type lateCopy struct {
	l      *lab.Cluster
	sick   int
	relay  *relay
	other  string // the endpoint of a healthy member
	client *clientv3.Client
}

func newLateCopy(t *testing.T, l *lab.Cluster, mark string) *lateCopy {
	t.Helper()
	check(t, l.Ready(within(t, 20*time.Second)))
	leader, err := l.Leader(within(t, 10*time.Second))
	check(t, err)
	s := &lateCopy{l: l, sick: (leader + 1) % 3, other: l.Endpoint((leader + 2) % 3)}
	s.client = client(t, s.other)
	_, err = s.client.Put(within(t, 5*time.Second), "k", "before")
	check(t, err)
	s.relay = newRelay(t, l.Endpoint(s.sick), mark, false, func() {
		if err := l.Stop(s.sick); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = l.Cont(s.sick) })
	return s
}

// finish lets the other client write, wakes the member up, and returns the key after the member has dealt with the late copy.
func (s *lateCopy) finish(t *testing.T) kv {
	t.Helper()
	select {
	case <-s.relay.trapped:
	default:
		t.Fatal("the first copy did not go to the member that hangs")
	}
	s.relay.forget() // what it sent before it was stopped
	_, err := s.client.Put(within(t, 5*time.Second), "k", "theirs")
	check(t, err)
	check(t, s.l.Cont(s.sick))
	for ctx := within(t, 10*time.Second); !s.relay.answered(); {
		if ctx.Err() != nil {
			t.Fatal("the member did not answer the late copy")
		}
		time.Sleep(5 * time.Millisecond)
	}
	// The member's first bytes may be its acknowledgement of the connection's settings: a while more for the answer proper.
	time.Sleep(300 * time.Millisecond)
	return s.read(t)
}

type kv struct {
	Value                []byte
	ModRevision, Version int64
}

func (s *lateCopy) read(t *testing.T) kv {
	t.Helper()
	resp, err := s.client.Get(within(t, 5*time.Second), "k")
	check(t, err)
	k := resp.Kvs[0]
	return kv{k.Value, k.ModRevision, k.Version}
}

// client returns a plain clientv3 client of one endpoint.
func client(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	cl, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop(), Context: context.WithoutCancel(t.Context())})
	check(t, err)
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}
