package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/watch"
)

// herd lets a hundred watches lose their position to the same compaction, with the pause that each makes before its resync
// and without, and measures what the server sees.
func (b *bench) herd(ctx context.Context) error {
	const keys, clients = 10_000, 100
	if err := b.fill(ctx, history{n: keys, size: 256, keys: keys, perRevision: 100}); err != nil {
		return err
	}
	known, from, err := b.known(ctx)
	if err != nil {
		return err
	}
	// 1 % changes, ten keys vanish.
	if err := b.fill(ctx, history{n: keys / 100, size: 256, keys: keys, perRevision: 100}); err != nil {
		return err
	}
	gone, err := b.client.Delete(ctx, "b/0005000", clientv3.WithRange("b/0005010"))
	if err != nil {
		return err
	}
	if _, err := b.client.Compact(ctx, gone.Header.GetRevision()); err != nil {
		return err
	}
	for _, spread := range []bool{true, false} {
		if err := b.stampede(ctx, stampede{clients, known, from, spread}); err != nil {
			return err
		}
	}
	return nil
}

// known reads what all clients know.
func (b *bench) known(ctx context.Context) (sorted, int64, error) {
	resp, err := b.client.Get(ctx, "b/", clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	var all sorted
	for _, kv := range resp.Kvs {
		all = append(all, watch.Entry{Key: kv.GetKey(), Known: watch.KnownOf(kv)})
	}
	return all, resp.Header.GetRevision(), nil
}

type stampede struct {
	clients int
	known   sorted
	from    int64
	spread  bool
}

func (b *bench) stampede(ctx context.Context, s stampede) error {
	var m meterOfReads
	begun := time.Now()
	ends := make([]time.Duration, s.clients)
	errs := make([]error, s.clients)
	var running sync.WaitGroup
	for i := range s.clients {
		running.Go(func() {
			errs[i] = b.one(ctx, s, &m)
			ends[i] = time.Since(begun)
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	slices.Sort(ends)
	m.report(begun, s, ends)
	return nil
}

// one resynchronizes one client over connections of its own.
func (b *bench) one(ctx context.Context, s stampede, m *meterOfReads) error {
	c, err := conn.Open(conn.Options{Endpoints: []string{"http://" + b.cluster.Endpoint(0)}})
	if err != nil {
		return err
	}
	defer c.Close()
	var puts, deletes int
	r := watch.Resync{
		Watcher: &watch.Watcher{Config: watch.Config{Range: watch.Range{Key: []byte("b/"), End: []byte("b0")}}, KV: &meteredKV{Cluster: c, m: m}},
		Index:   s.known, From: s.from, Reason: watch.ReasonCompacted,
		Deliver: func(_ context.Context, it watch.Item) error {
			switch it.Kind {
			case watch.SyncPuts:
				puts += len(it.Events)
			case watch.SyncDeletes:
				deletes += len(it.Events)
			}
			return nil
		},
	}
	if s.spread {
		if err := r.Spread(ctx); err != nil {
			return err
		}
	}
	if _, err := r.Run(ctx); err != nil {
		return err
	}
	if puts != len(s.known)/100 || deletes != 10 {
		return fmt.Errorf("%d puts and %d deletes", puts, deletes)
	}
	return nil
}

// meterOfReads counts what all clients read.
type meterOfReads struct {
	mu              sync.Mutex
	first           []time.Time // of each client
	inFlight, most  int
	reads           int
	keys, bytes     int64
	mostKeys, mostB int64
}

func (m *meterOfReads) report(begun time.Time, s stampede, ends []time.Duration) {
	slices.SortFunc(m.first, time.Time.Compare)
	at := func(i int) float64 { return m.first[i].Sub(begun).Seconds() }
	n := len(m.first)
	fmt.Printf("%d clients resynchronize %d keys, spread=%v: first reads from %.2f to %.2f s (median %.2f), done after %.2f s (median %.2f); "+
		"%d reads, at most %d at once; the biggest answer had %d keys and %.2f MB, all together %.0f MB\n",
		s.clients, len(s.known), s.spread, at(0), at(n-1), at(n/2), ends[len(ends)-1].Seconds(), ends[len(ends)/2].Seconds(),
		m.reads, m.most, m.mostKeys, float64(m.mostB)/1e6, float64(m.bytes)/1e6)
}

// meteredKV is one client's reads.
type meteredKV struct {
	*conn.Cluster
	m   *meterOfReads
	any bool
}

func (k *meteredKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	k.m.mu.Lock()
	if !k.any {
		k.any = true
		k.m.first = append(k.m.first, time.Now())
	}
	k.m.reads++
	k.m.inFlight++
	k.m.most = max(k.m.most, k.m.inFlight)
	k.m.mu.Unlock()
	resp, err := k.Cluster.Get(ctx, key, opts...)
	k.m.mu.Lock()
	defer k.m.mu.Unlock()
	k.m.inFlight--
	if err != nil {
		return nil, err
	}
	var size int64
	for _, kv := range resp.Kvs {
		size += int64(len(kv.GetKey()) + len(kv.GetValue()))
	}
	k.m.keys, k.m.bytes = k.m.keys+int64(len(resp.Kvs)), k.m.bytes+size
	k.m.mostKeys, k.m.mostB = max(k.m.mostKeys, int64(len(resp.Kvs))), max(k.m.mostB, size)
	return resp, nil
}

// sorted is an index in memory, in the order of its keys.
type sorted []watch.Entry

func (s sorted) Len() int64       { return int64(len(s)) }
func (s sorted) Announced() int64 { return 0 }

func (s sorted) at(key []byte) int {
	return sort.Search(len(s), func(i int) bool { return bytes.Compare(s[i].Key, key) >= 0 })
}

func (s sorted) Get(key []byte) (watch.Known, bool, error) {
	if i := s.at(key); i < len(s) && bytes.Equal(s[i].Key, key) {
		return s[i].Known, true, nil
	}
	return watch.Known{}, false, nil
}

func (s sorted) Page(from []byte, n int) ([]watch.Entry, error) {
	rest := s[s.at(from):]
	return slices.Clone(rest[:min(n, len(rest))]), nil
}
