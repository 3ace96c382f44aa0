package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sort"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// model is what a lock relies on of etcd: leases that live at least their time, transactions in one order, watches.
type model struct {
	mu     sync.Mutex
	rev    int64
	kvs    map[string]*mvccpb.KeyValue
	leases map[int64]*modelLease
	nextID int64
	events []*clientv3.Event
	news   chan struct{} // closed and replaced at every change
	// expired is told of each lease that ended by itself.
	expired func(lease int64)
	faults  modelFaults
}

type modelLease struct {
	ttl time.Duration
	end time.Time
}

func newModel() *model {
	return &model{kvs: map[string]*mvccpb.KeyValue{}, leases: map[int64]*modelLease{}, news: make(chan struct{}), nextID: 0x1000, rev: 1}
}

// tick ends leases, as the server's scan does.
func (m *model) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.faults.leaderless(time.Now()) {
		return // nobody can end a lease
	}
	for id, l := range m.leases {
		if !time.Now().Before(l.end.Add(-m.faults.early)) {
			if m.expired != nil {
				m.expired(id)
			}
			m.revoke(id)
		}
	}
}

func (m *model) revoke(id int64) {
	if m.leases[id] == nil {
		return
	}
	delete(m.leases, id)
	m.rev++
	for key, kv := range m.kvs {
		if kv.Lease == id {
			m.remove(key)
		}
	}
	m.publish()
}

func (m *model) remove(key string) {
	if m.kvs[key] == nil {
		return
	}
	delete(m.kvs, key)
	m.events = append(m.events, &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: m.rev}})
}

func (m *model) publish() {
	close(m.news)
	m.news = make(chan struct{})
}

// field reads an unexported field of a clientv3.Op: there is no other way to learn it.
func field(op clientv3.Op, name string) reflect.Value { return reflect.ValueOf(op).FieldByName(name) }

func (m *model) rangeOf(op clientv3.Op) *pb.RangeResponse {
	key, end := string(op.KeyBytes()), string(op.RangeBytes())
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: m.rev}}
	for k, kv := range m.kvs {
		if (k == key || end != "" && k >= key && k < end) && (op.MaxCreateRev() == 0 || kv.CreateRevision <= op.MaxCreateRev()) {
			c := &mvccpb.KeyValue{Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease}
			if op.IsKeysOnly() { // 3.7 leaves the lease out, too
				c.Value, c.Lease = nil, 0
			}
			resp.Kvs = append(resp.Kvs, c)
		}
	}
	descend := false
	if s := field(op, "sort"); !s.IsNil() {
		descend = s.Elem().FieldByName("Order").Int() == int64(clientv3.SortDescend)
	}
	sort.Slice(resp.Kvs, func(i, j int) bool {
		return (resp.Kvs[i].CreateRevision < resp.Kvs[j].CreateRevision) != descend
	})
	resp.Count = int64(len(resp.Kvs))
	if limit := field(op, "limit").Int(); limit > 0 && len(resp.Kvs) > int(limit) {
		resp.Kvs, resp.More = resp.Kvs[:limit], true
	}
	return resp
}

func (m *model) holds(cmp clientv3.Cmp) bool {
	c := cmp.GetCompare()
	var have int64
	pick := func(kv *mvccpb.KeyValue) int64 {
		switch c.Target {
		case pb.Compare_LEASE:
			return kv.Lease
		case pb.Compare_MOD:
			return kv.ModRevision
		}
		return kv.CreateRevision
	}
	var want int64
	switch u := c.TargetUnion.(type) {
	case *pb.Compare_CreateRevision:
		want = u.CreateRevision
	case *pb.Compare_ModRevision:
		want = u.ModRevision
	case *pb.Compare_Lease:
		want = u.Lease
	}
	ok := func(have int64) bool {
		return c.Result == pb.Compare_EQUAL && have == want || c.Result == pb.Compare_GREATER && have > want
	}
	if len(c.RangeEnd) > 0 {
		for k, kv := range m.kvs {
			if k >= string(c.Key) && k < string(c.RangeEnd) && !ok(pick(kv)) {
				return false
			}
		}
		return true
	}
	if kv := m.kvs[string(c.Key)]; kv != nil {
		have = pick(kv)
	}
	return ok(have)
}

func (m *model) commit(cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	resp := &clientv3.TxnResponse{Succeeded: true}
	for _, c := range cmps {
		resp.Succeeded = resp.Succeeded && m.holds(c)
	}
	ops := then
	if !resp.Succeeded {
		ops = orElse
	}
	for _, op := range ops {
		if lease := field(op, "leaseID").Int(); op.IsPut() && lease != 0 && m.leases[lease] == nil {
			return nil, ErrLeaseGone
		}
	}
	writes := false
	for _, op := range ops {
		writes = writes || op.IsPut() || op.IsDelete() && m.kvs[string(op.KeyBytes())] != nil
	}
	if writes {
		m.rev++
	}
	for _, op := range ops {
		switch {
		case op.IsPut():
			m.put(op)
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}})
		case op.IsDelete():
			m.remove(string(op.KeyBytes()))
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{}}})
		default:
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: m.rangeOf(op)}})
		}
	}
	if writes {
		m.publish()
	}
	resp.Header = &pb.ResponseHeader{Revision: m.rev}
	return resp, nil
}

func (m *model) put(op clientv3.Op) {
	key := string(op.KeyBytes())
	kv := &mvccpb.KeyValue{Key: op.KeyBytes(), Value: op.ValueBytes(), CreateRevision: m.rev, ModRevision: m.rev, Version: 1, Lease: field(op, "leaseID").Int()}
	if old := m.kvs[key]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		if field(op, "ignoreLease").Bool() {
			kv.Lease = old.Lease
		}
	}
	m.kvs[key] = kv
	m.events = append(m.events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv})
}

// chaos is how badly a network behaves. Chances are per mille.
type chaos struct {
	lose, loseReply, late int
	delay                 time.Duration // longest
	watch                 time.Duration // longest delay of an event
	dead                  int           // of a watch that never says anything
}

// link is one contender's connection to the model.
type link struct {
	m    *model
	host *host
	mu   sync.Mutex
	rng  *rand.Rand
	c    chaos
	// outage: until then nothing is answered.
	outage time.Time
	wg     *sync.WaitGroup
}

var errNetwork = errors.New("the network failed")

// always returns a source for links that behave the same every time.
func always() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

func (l *link) isCut() bool { return l.cutFor() > 0 }

// cutFor says how long the link will stay silent.
func (l *link) cutFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.outage)
}

func (l *link) roll(perMille int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if perMille == 0 {
		return false
	}
	return l.rng.IntN(1000) < perMille
}

func (l *link) upTo(d time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d <= 0 {
		return 0
	}
	return time.Duration(l.rng.Int64N(int64(d)))
}

// send does a call through the network: it may be lost, late, done twice, or its answer lost.
func send[T any](ctx context.Context, l *link, do func() (T, error)) (T, error) {
	var zero T
	if over := l.m.leaderUntil(); time.Now().Before(over) {
		if l.roll(500) { // a member keeps it until it has a leader again
			l.wg.Go(func() { time.Sleep(time.Until(over)); _, _ = do() })
		}
		<-ctx.Done()
		return zero, fmt.Errorf("%w: %w", errNetwork, ctx.Err())
	}
	if l.roll(l.c.lose) || l.isCut() {
		<-ctx.Done()
		return zero, fmt.Errorf("%w: %w", errNetwork, ctx.Err())
	}
	there, back := l.upTo(l.c.delay), l.upTo(l.c.delay)
	if l.roll(l.c.late) { // a copy that a stopped member kept
		after := l.upTo(10 * time.Second)
		l.wg.Go(func() { pause(context.Background(), after); _, _ = do() })
	}
	if !pause(ctx, there) {
		return zero, fmt.Errorf("%w: %w", errNetwork, ctx.Err())
	}
	l.host.awake()
	v, err := do()
	if l.roll(l.c.loseReply) {
		<-ctx.Done()
		return zero, fmt.Errorf("%w: %w", errNetwork, ctx.Err())
	}
	if !pause(ctx, back) {
		return zero, fmt.Errorf("%w: %w", errNetwork, ctx.Err())
	}
	l.host.awake()
	return v, err
}

func (l *link) NewLease() int64 {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.nextID++
	return l.m.nextID
}

func (l *link) Grant(ctx context.Context, id int64, ttl time.Duration) error {
	_, err := send(ctx, l, func() (int64, error) {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		if l.m.leases[id] == nil {
			l.m.leases[id] = &modelLease{ttl: ttl, end: time.Now().Add(ttl)}
		}
		return id, nil
	})
	return err
}

func (l *link) Renew(ctx context.Context, lease int64) (time.Duration, error) {
	return send(ctx, l, func() (time.Duration, error) {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		x := l.m.leases[lease]
		if x == nil {
			return 0, ErrLeaseGone
		}
		x.end = time.Now().Add(x.ttl)
		return x.ttl, nil
	})
}

func (l *link) Revoke(ctx context.Context, lease int64) error {
	_, err := send(ctx, l, func() (int, error) {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		l.m.revoke(lease)
		return 0, nil
	})
	return err
}

func (l *link) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return send(ctx, l, func() (*clientv3.GetResponse, error) {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		return (*clientv3.GetResponse)(l.m.rangeOf(clientv3.OpGet(key, opts...))), nil
	})
}

func (l *link) Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	return send(ctx, l, func() (*clientv3.TxnResponse, error) { return l.m.commit(cmps, then, orElse) })
}

func (l *link) Watch(ctx context.Context, keys []string, rev int64, handle func(*clientv3.Event)) error {
	if l.roll(l.c.dead) {
		<-ctx.Done()
		return ctx.Err()
	}
	l.m.mu.Lock()
	if rev > 0 && rev < l.m.faults.compacted {
		l.m.mu.Unlock()
		return rpctypes.ErrCompacted
	}
	next := 0
	for rev > 0 && next < len(l.m.events) && l.m.events[next].Kv.ModRevision < rev {
		next++
	}
	if rev == 0 {
		next = len(l.m.events)
	}
	l.m.mu.Unlock()
	for {
		l.m.mu.Lock()
		fresh, news, leaderless := l.m.events[next:], l.m.news, l.m.faults.leaderless(time.Now())
		next = len(l.m.events)
		l.m.mu.Unlock()
		if leaderless && l.roll(500) {
			return rpctypes.ErrNoLeader
		}
		if err := l.deliver(ctx, keys, fresh, handle); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
	}
}

// deliver hands on events, each after a delay. Those that are compacted meanwhile are lost.
func (l *link) deliver(ctx context.Context, keys []string, fresh []*clientv3.Event, handle func(*clientv3.Event)) error {
	for _, ev := range fresh {
		for _, key := range keys {
			if k := string(ev.Kv.Key); k != key && (!strings.HasSuffix(key, "/") || !strings.HasPrefix(k, key)) {
				continue
			}
			if !pause(ctx, l.upTo(l.c.watch)) {
				return ctx.Err()
			}
			for l.isCut() {
				if !pause(ctx, l.cutFor()) {
					return ctx.Err()
				}
			}
			l.host.awake()
			if l.m.hasCompacted(ev.Kv.ModRevision) {
				return rpctypes.ErrCompacted
			}
			handle(ev)
		}
	}
	return nil
}
