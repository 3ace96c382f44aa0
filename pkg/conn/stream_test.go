package conn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// follower watches keys through Stream, each time from the revision behind the last event, and notes when events came.
type follower struct {
	mu     sync.Mutex
	next   int64
	at     []time.Time
	member string
	moves  int
}

func (f *follower) work(ctx context.Context, m conn.Member) error {
	f.mu.Lock()
	f.member = m.Endpoint
	f.moves++
	next := f.next
	f.mu.Unlock()
	for resp := range m.Client.Watch(ctx, "w", clientv3.WithPrefix(), clientv3.WithRev(next)) {
		if err := resp.Err(); err != nil {
			return err
		}
		f.mu.Lock()
		for _, e := range resp.Events {
			f.next = e.Kv.ModRevision + 1
			f.at = append(f.at, time.Now())
		}
		f.mu.Unlock()
	}
	return context.Cause(ctx)
}

func (f *follower) now() (member string, events, moves int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.member, len(f.at), f.moves
}

// gap returns the longest time without an event since then.
func (f *follower) gap(since time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	longest, last := time.Duration(0), since
	for _, at := range f.at {
		if at.After(since) {
			longest = max(longest, at.Sub(last))
			last = at
		}
	}
	return max(longest, time.Since(last))
}

// waitFor waits until total events have come since the beginning: one may come before the put that makes it returns.
func (f *follower) waitFor(t *testing.T, total int) {
	t.Helper()
	for ctx := within(t, 20*time.Second); ; {
		_, n, _ := f.now()
		if n >= total {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d events came within 20 s, want %d", n, total)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// With etcd's own election timeouts; the writer uses the members that stay well. On a busy machine one gap may be longer than
// promised for other reasons: a broken promise shows in every try.
func TestStreamLeavesASickMember(t *testing.T) {
	l := start(t, lab.Config{Heartbeat: 100 * time.Millisecond, Election: time.Second})
	faults := []fault{
		{"stopped", l.Stop, time.Second},
		{"killed", l.Kill, time.Second},
		{"cut off from clients", func(i int) error { return l.Cut(i, lab.Clients) }, time.Second},
		{"without leader", func(i int) error { return l.Cut(i, lab.Peers) }, 1500 * time.Millisecond},
		{"cut off from all", func(i int) error { return l.Cut(i, lab.All) }, time.Second},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			for range 3 {
				gap := gapAt(t, l, fault)
				t.Logf("gap %v", gap)
				if gap <= fault.most {
					return
				}
			}
			t.Errorf("no event for more than %v each time", fault.most)
		})
	}
}

type fault struct {
	name  string
	begin func(int) error
	most  time.Duration
}

// gapAt lets a follower be sick and well again, and returns the longest time without an event that a stream through it saw.
func gapAt(t *testing.T, l *lab.Cluster, fault fault) time.Duration {
	t.Helper()
	leader, err := l.Leader(within(t, 10*time.Second))
	check(t, err)
	sick := (leader + 1) % 3
	o := plain(l)
	o.Endpoints = []string{l.Endpoint(sick), l.Endpoint(leader), l.Endpoint((leader + 2) % 3)}
	c := open(t, o)
	resp, err := c.Get(within(t, 5*time.Second), "w")
	check(t, err)
	f := &follower{next: resp.Header.Revision + 1}
	ctx, cancel := context.WithCancelCause(t.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ended := errors.New("test over")
	defer cancel(ended)
	tasks.Go(func() {
		if err := c.Stream(ctx, f.work); !errors.Is(err, ended) {
			t.Errorf("the stream ended: %v", err)
		}
	})
	writer := client(t, l.Endpoint(leader))
	tasks.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			_, _ = writer.Put(ctx, fmt.Sprint("w", n%10), "v")
			time.Sleep(20 * time.Millisecond)
		}
	})
	f.waitFor(t, 20)
	begun := time.Now()
	check(t, fault.begin(sick))
	time.Sleep(2500 * time.Millisecond) // long enough for a gap of twice what is promised to be seen
	gap := f.gap(begun)
	if member, _, _ := f.now(); member == o.Endpoints[0] && slices.Contains(o.Endpoints, member) {
		t.Log("the stream is still at the sick member")
		gap = max(gap, 2*fault.most)
	}
	_ = l.Cont(sick)
	check(t, l.Heal())
	if fault.name == "killed" {
		check(t, l.Restart(within(t, 10*time.Second), sick))
	}
	check(t, l.Ready(within(t, 10*time.Second)))
	return gap
}

// An idle stream of a well member stays where it is.
func TestStreamStaysDuringAnElection(t *testing.T) {
	l := start(t, lab.Config{Heartbeat: 100 * time.Millisecond, Election: time.Second})
	leader, err := l.Leader(within(t, 10*time.Second))
	check(t, err)
	o := plain(l)
	o.Endpoints = []string{l.Endpoint((leader + 1) % 3), l.Endpoint((leader + 2) % 3)}
	c := open(t, o)
	f := &follower{next: 1}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() { _ = c.Stream(ctx, f.work) })
	writer := client(t, l.Endpoint((leader+2)%3))
	_, err = writer.Put(within(t, 5*time.Second), "w", "1")
	check(t, err)
	f.waitFor(t, 1)
	check(t, l.Kill(leader))
	time.Sleep(3 * time.Second) // the stream stays idle over the election
	_, err = writer.Put(within(t, 5*time.Second), "w", "2")
	check(t, err)
	for ctx := within(t, 5*time.Second); ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if _, n, _ := f.now(); n == 2 {
			break
		}
	}
	if _, n, moves := f.now(); n != 2 || moves > 2 {
		t.Errorf("%d events after %d moves; want 2 events, and no wandering about", n, moves-1)
	} else {
		t.Logf("%d moves", moves-1)
	}
}

// The whole cluster hangs for a while.
func TestStreamGoesOnWhenTheClusterComesBack(t *testing.T) {
	l := start(t, lab.Config{})
	c := open(t, plain(l))
	f := &follower{next: 1}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() { _ = c.Stream(ctx, f.work) })
	direct := client(t, l.Direct()[0])
	_, err := direct.Put(within(t, 5*time.Second), "w", "1")
	check(t, err)
	f.waitFor(t, 1)
	for _, how := range []struct {
		name       string
		begin, end func(i int) error
	}{
		{"cut off", func(i int) error { return l.Cut(i, lab.Clients) }, func(int) error { return l.Heal() }},
		{"killed", l.Kill, func(i int) error { return l.Restart(within(t, 10*time.Second), i) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			for i := range l.Len() {
				check(t, how.begin(i))
			}
			time.Sleep(6 * time.Second) // the outage
			for i := range l.Len() {
				check(t, how.end(i))
			}
			check(t, l.Ready(within(t, 10*time.Second)))
			_, before, _ := f.now()
			_, err := client(t, l.Direct()[0]).Put(within(t, 5*time.Second), "w", how.name)
			check(t, err)
			begun := time.Now()
			f.waitFor(t, before+1)
			t.Logf("first event after %v", time.Since(begun))
			if took := time.Since(begun); took > time.Second {
				t.Errorf("first event after %v", took)
			}
		})
	}
}
