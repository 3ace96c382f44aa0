package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/lab"
	"github.com/etcdx/etcdx/pkg/lock"
)

// handOvers is how many are measured for each number of waiters.
const handOvers = 40

// waiters measures what one hand-over costs with 10, 100, ... up to most waiters for one lock, all in this process through pkg/lock.
func waiters(ctx context.Context, most int) error {
	cluster, err := lab.Start(ctx, lab.Config{Members: 1, Heartbeat: 100 * time.Millisecond, Election: time.Second})
	if err != nil {
		return err
	}
	defer func() { _ = cluster.Close() }()
	fmt.Print("| waiters | requests per hand-over, without renewals | of them transactions, reads, lease ends | watch events | KB sent | median ms | most ms | idle requests/s for each waiter | client KB for each waiter |\n" +
		"|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for n := 10; n <= most; n *= 10 {
		if err := measureQueue(ctx, cluster, n); err != nil {
			return fmt.Errorf("%d waiters: %w", n, err)
		}
	}
	return nil
}

// queue is a lock with its waiters.
type queue struct {
	store lock.Store
	name  string
	end   chan struct{}      // each value ends the holder's work
	begun chan time.Time     // when the next holder's work began
	ended chan time.Time     // when a holder's work was told to end
	stop  context.CancelFunc // ends them all
	wg    sync.WaitGroup

	mu     sync.Mutex
	queued int
	err    error
}

func (q *queue) wait(ctx context.Context) {
	r := lock.Request{Name: q.name, TTL: time.Minute, Delay: lock.AutoDelay, Notice: func(n lock.Notice) {
		if n.Event == "waiting" {
			q.mu.Lock()
			q.queued++
			q.mu.Unlock()
		}
	}}
	h, err := lock.Acquire(ctx, q.store, lock.Now, r)
	if err == nil {
		err = h.Run(ctx, func(soft, _ context.Context) error {
			q.begun <- time.Now()
			select {
			case <-q.end:
				q.ended <- time.Now()
				return nil
			case <-soft.Done():
				return context.Cause(soft)
			}
		})
		_ = h.Release(ctx, err)
	}
	if err != nil && ctx.Err() == nil {
		q.mu.Lock()
		q.err = err
		q.mu.Unlock()
	}
}

func (q *queue) state() (queued int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued, q.err
}

func measureQueue(ctx context.Context, cluster *lab.Cluster, n int) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: cluster.Direct(), Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctx, stop := context.WithCancel(ctx)
	q := &queue{
		store: oneClient{client}, name: fmt.Sprintf("queue%d", n), stop: stop,
		end: make(chan struct{}), begun: make(chan time.Time, 1), ended: make(chan time.Time, 1),
	}
	defer func() { stop(); q.wg.Wait() }()
	before := memory()
	q.wg.Go(func() { q.wait(ctx) })
	<-q.begun
	for range n + handOvers {
		q.wg.Go(func() { q.wait(ctx) })
	}
	for queued := 0; queued < n+handOvers; pause(ctx, 50*time.Millisecond) {
		if queued, err = q.state(); err != nil || ctx.Err() != nil {
			return fmt.Errorf("%d of %d in the queue: %w", queued, n, err)
		}
	}
	pause(ctx, 3*time.Second)
	each := (memory() - before) / float64(n+handOvers) / 1024
	idle, err := q.over(ctx, cluster, func() error { pause(ctx, 15*time.Second); return nil })
	if err != nil {
		return err
	}
	var took []float64
	busy, err := q.over(ctx, cluster, func() error {
		for range handOvers {
			d, err := q.handOver(ctx)
			if err != nil {
				return err
			}
			took = append(took, 1000*d.Seconds())
			pause(ctx, 250*time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(took)
	per := func(metric string) float64 {
		return (busy.sum[metric] - idle.sum[metric]/idle.seconds*busy.seconds) / handOvers
	}
	fmt.Printf("| %d | %.1f | %.1f, %.1f, %.1f | %.1f | %.1f | %.1f | %.1f | %.2f | %.0f |\n", n, per("requests"), per("Txn"), per("Range"), per("LeaseRevoke"), per("events"),
		per("sent")/1024, took[len(took)/2], took[len(took)-1], idle.sum["all"]/idle.seconds/float64(n+handOvers), each)
	return nil
}

// handOver ends the holder's work and returns the time until the next one's began.
func (q *queue) handOver(ctx context.Context) (time.Duration, error) {
	limit := time.After(30 * time.Second)
	select {
	case q.end <- struct{}{}:
	case <-limit:
		return 0, fmt.Errorf("nobody holds the lock")
	}
	ended := <-q.ended
	select {
	case begun := <-q.begun:
		return begun.Sub(ended), nil
	case <-limit:
		_, err := q.state()
		return 0, fmt.Errorf("no hand-over: %w", err)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// load is what a member has done in some time.
type load struct {
	sum     map[string]float64
	seconds float64
}

// over measures what a member does while do runs.
func (q *queue) over(ctx context.Context, cluster *lab.Cluster, do func() error) (load, error) {
	before, err := counters(ctx, cluster.Direct()[0])
	if err != nil {
		return load{}, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return load{}, err
	}
	l := load{seconds: time.Since(began).Seconds()}
	if l.sum, err = counters(ctx, cluster.Direct()[0]); err != nil {
		return load{}, err
	}
	for metric := range l.sum {
		l.sum[metric] -= before[metric]
	}
	return l, nil
}

// counters reads a member's metrics: requests of each kind but renewals, all of them, events and bytes that were sent.
func counters(ctx context.Context, endpoint string) (map[string]float64, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return sums(resp.Body)
}

func sums(text io.Reader) (map[string]float64, error) {
	sum := map[string]float64{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(name, "grpc_server_started_total{"):
			_, method, _ := strings.Cut(name, `grpc_method="`)
			method, _, _ = strings.Cut(method, `"`)
			sum[method] += n
			if sum["all"] += n; method != "LeaseKeepAlive" {
				sum["requests"] += n
			}
		case name == "etcd_debugging_mvcc_events_total":
			sum["events"] = n
		case name == "etcd_network_client_grpc_sent_bytes_total":
			sum["sent"] = n
		}
	}
	return sum, lines.Err()
}

// memory returns the bytes that this process needs for its data and its goroutines.
func memory() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}
