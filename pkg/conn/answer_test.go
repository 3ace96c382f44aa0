package conn_test

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// The member applies the write, but its answer is lost on the way.
func TestLostAnswers(t *testing.T) {
	l := start(t, lab.Config{})
	direct := client(t, l.Endpoint(1))
	lose := func(t *testing.T, mark string) *conn.Cluster {
		_, err := direct.Put(within(t, 5*time.Second), mark, "before")
		check(t, err)
		r := newRelay(t, l.Endpoint(0), mark+"\x12", true, func() {}) // the key in a PutRequest, before the value's tag
		return open(t, conn.Options{Endpoints: []string{r.addr, l.Endpoint(1)}, TLS: conn.TLS{Insecure: true}})
	}
	t.Run("a put is found to be applied, and not written again", func(t *testing.T) {
		c := lose(t, "put-key")
		begun := time.Now()
		resp, err := c.Put(within(t, 5*time.Second), "put-key", "mine", clientv3.WithPrevKV())
		check(t, err)
		t.Logf("took %v", time.Since(begun))
		now, err := direct.Get(within(t, 5*time.Second), "put-key")
		check(t, err)
		k := now.Kvs[0]
		if string(k.Value) != "mine" || k.Version != 2 {
			t.Errorf("the key is %q, version %d; want %q, version 2", k.Value, k.Version, "mine")
		}
		if resp.Header.Revision != k.ModRevision || resp.PrevKv == nil || string(resp.PrevKv.Value) != "before" || resp.Header.ClusterId == 0 {
			t.Errorf("the answer is %v, the key %v", resp, k)
		}
	})
	t.Run("a put of a new key is found to be applied", func(t *testing.T) {
		c := lose(t, "new-key")
		_, err := direct.Delete(within(t, 5*time.Second), "new-key")
		check(t, err)
		_, err = c.Put(within(t, 5*time.Second), "new-key", "mine")
		check(t, err)
		now, err := direct.Get(within(t, 5*time.Second), "new-key")
		check(t, err)
		if len(now.Kvs) != 1 || string(now.Kvs[0].Value) != "mine" || now.Kvs[0].Version != 1 {
			t.Errorf("the key is %v", now.Kvs)
		}
	})
	t.Run("a put that keeps the value", func(t *testing.T) {
		_, err := direct.Put(within(t, 5*time.Second), "keep-key", "kept")
		check(t, err)
		lease, err := direct.Grant(within(t, 5*time.Second), 60)
		check(t, err)
		r := newRelay(t, l.Endpoint(0), "keep-key\x18", true, func() {}) // the lease's tag
		c := open(t, conn.Options{Endpoints: []string{r.addr, l.Endpoint(1)}, TLS: conn.TLS{Insecure: true}})
		_, err = c.Put(within(t, 5*time.Second), "keep-key", "", clientv3.WithIgnoreValue(), clientv3.WithLease(lease.ID))
		check(t, err)
		now, err := direct.Get(within(t, 5*time.Second), "keep-key")
		check(t, err)
		if k := now.Kvs[0]; string(k.Value) != "kept" || k.Version != 2 || clientv3.LeaseID(k.Lease) != lease.ID {
			t.Errorf("the key is %v", k)
		}
		select {
		case <-r.trapped:
		default:
			t.Error("no answer was lost")
		}
	})
	t.Run("a transaction's outcome is unknown", func(t *testing.T) {
		c := lose(t, "txn-key")
		_, err := c.Commit(within(t, time.Second), nil, []clientv3.Op{clientv3.OpPut("txn-key", "mine")}, nil)
		if !conn.MaybeApplied(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a delete's outcome is unknown", func(t *testing.T) {
		_, err := direct.Put(within(t, 5*time.Second), "del-key", "before")
		check(t, err)
		r := newRelay(t, l.Endpoint(0), "\x1a\x09\x0a\x07del-key", true, func() {}) // a DeleteRangeRequest with that key
		c := open(t, conn.Options{Endpoints: []string{r.addr, l.Endpoint(1)}, TLS: conn.TLS{Insecure: true}})
		_, err = c.Delete(within(t, 5*time.Second), "del-key")
		if !conn.MaybeApplied(err) {
			t.Errorf("got %v", err)
		}
		select {
		case <-r.trapped:
		default:
			t.Error("no answer was lost")
		}
	})
	t.Run("nothing was sent", func(t *testing.T) {
		c := open(t, conn.Options{Endpoints: []string{"127.0.0.1:1", "127.0.0.1:2"}, TLS: conn.TLS{Insecure: true}})
		_, err := c.Put(within(t, 300*time.Millisecond), "k", "v")
		e, ok := errors.AsType[*conn.UnavailableError](err)
		if !ok || conn.MaybeApplied(err) || e.Attempts[0].Reason != conn.Refused {
			t.Errorf("got %v", err)
		}
	})
}
