package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lab"
)

// writer keeps the range busy and remembers what was written for certain.
type writer struct {
	cluster *lab.Cluster
	rand    *rand.Rand
	n       int
	truth   map[int64]int // by revision: how many events it has in the range
}

func (w *writer) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.session(ctx)
	}
}

// session writes over one client until something fails; addresses change when members restart.
func (w *writer) session(ctx context.Context) {
	cl, err := client(w.cluster)
	if err != nil {
		return
	}
	defer cl.Close()
	for ctx.Err() == nil {
		tctx, cancel := context.WithTimeout(ctx, time.Second)
		err := w.write(tctx, cl)
		cancel()
		if err != nil {
			return
		}
		time.Sleep(time.Duration(w.rand.ExpFloat64() * float64(4*time.Millisecond)))
	}
}

// write does one transaction: a key, many keys, deletes, or something outside the range.
func (w *writer) write(ctx context.Context, cl *clientv3.Client) error {
	w.n++
	key := func() string { return fmt.Sprintf("%s%03d", prefix, w.rand.IntN(400)) }
	var ops []clientv3.Op
	switch kind := w.rand.IntN(20); {
	case kind < 3:
		ops = append(ops, clientv3.OpPut("other", fmt.Sprint(w.n)))
	case kind < 6:
		ops = append(ops, clientv3.OpDelete(key()))
	case kind == 6: // ten neighbours at once
		from := w.rand.IntN(390)
		ops = append(ops, clientv3.OpDelete(fmt.Sprintf("%s%03d", prefix, from), clientv3.WithRange(fmt.Sprintf("%s%03d", prefix, from+10))))
	case kind < 10:
		n := 2 + w.rand.IntN(20)
		if w.rand.IntN(20) == 0 {
			n = 128
		}
		for _, k := range w.rand.Perm(400)[:n] {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%03d", prefix, k), fmt.Sprint(w.n)))
		}
	default:
		ops = append(ops, clientv3.OpPut(key(), fmt.Sprint(w.n)))
	}
	resp, err := cl.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return err
	}
	events := 0
	for _, r := range resp.Responses {
		switch {
		case r.GetResponsePut() != nil && ops[0].KeyBytes()[0] != 'o':
			events++
		case r.GetResponseDeleteRange() != nil:
			events += int(r.GetResponseDeleteRange().GetDeleted())
		}
	}
	if events > 0 {
		w.truth[resp.Header.GetRevision()] = events
	}
	return nil
}

// state is what is in the range now.
func (w *writer) state(ctx context.Context) (map[string]string, int64, error) {
	cl, err := client(w.cluster)
	if err != nil {
		return nil, 0, err
	}
	defer cl.Close()
	// The last revision is one of the range: old servers tell an idle watch nothing of the others.
	if _, err := cl.Put(ctx, prefix+"000", "the end"); err != nil {
		return nil, 0, err
	}
	resp, err := cl.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	state := map[string]string{}
	for _, kv := range resp.Kvs {
		state[string(kv.GetKey())] = string(kv.GetValue())
	}
	return state, resp.Header.GetRevision(), nil
}

// faults break one thing after another and mend it again.
type faults struct {
	cluster *lab.Cluster
	rand    *rand.Rand
	counts  map[string]int
	calm    bool
}

func (f *faults) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := time.Duration(200+f.rand.IntN(1500)) * time.Millisecond
		kind := f.rand.IntN(9)
		if f.calm {
			kind = 8
		}
		name := f.one(ctx, kind, pause)
		if name != "" {
			f.counts[name]++
		}
		select {
		case <-time.After(time.Duration(300+f.rand.IntN(1200)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// one does a fault of a kind, lasting pause, and returns its name, or "" if it could not be done.
func (f *faults) one(ctx context.Context, kind int, pause time.Duration) string {
	i := f.rand.IntN(f.cluster.Len())
	if kind%2 == 0 {
		if leader, err := f.cluster.Leader(ctx); err == nil {
			i = leader
		}
	}
	mend := func() error { return f.cluster.Heal() }
	var name string
	var err error
	switch kind {
	case 0, 1:
		name, err = "kill", f.cluster.Kill(i)
		mend = func() error { return f.cluster.Restart(context.WithoutCancel(ctx), i) }
	case 2, 3:
		name, err = "stop", f.cluster.Stop(i)
	case 4:
		name, err = "cut from peers", f.cluster.Cut(i, lab.Peers)
	case 5:
		name, err = "cut from clients", f.cluster.Cut(i, lab.Clients)
	case 6:
		name, err = "reset", f.cluster.Reset(i)
		pause = 0
	default:
		return f.compact(ctx)
	}
	if err != nil {
		return ""
	}
	time.Sleep(pause)
	if mend() != nil || f.cluster.Ready(context.WithoutCancel(ctx)) != nil {
		return ""
	}
	return name
}

// compact compacts at, or shortly before, the present.
func (f *faults) compact(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cl, err := client(f.cluster)
	if err != nil {
		return ""
	}
	defer cl.Close()
	resp, err := cl.Get(ctx, "other")
	if err != nil {
		return ""
	}
	back := int64(f.rand.IntN(60))
	if f.rand.IntN(2) == 0 {
		back = 0
	}
	if _, err := cl.Compact(ctx, max(resp.Header.GetRevision()-back, 1)); err != nil {
		return ""
	}
	return "compact"
}
