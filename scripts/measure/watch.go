package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/lab"
)

// watcher is a running watch command, and when which value reached it.
type watcher struct {
	name string
	cmd  *exec.Cmd
	stop context.CancelFunc

	mu       sync.Mutex
	arrivals []arrival
	ended    time.Time
}

type arrival struct {
	at  time.Time
	seq int
}

// watch starts p as a watcher of w/*. Values are numbers, so lines that are none are keys and event types.
func (b *bench) watch(ctx context.Context, p program, args ...string) (*watcher, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &watcher{name: p.name, stop: stop, cmd: exec.CommandContext(ctx, p.path, append([]string{"watch", "--prefix", "w/"}, args...)...)}
	w.cmd.Env = p.env
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		stop()
		return nil, err
	}
	go w.read(out)
	return w, nil
}

func (w *watcher) read(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if seq, err := strconv.Atoi(lines.Text()); err == nil {
			w.mu.Lock()
			w.arrivals = append(w.arrivals, arrival{at: time.Now(), seq: seq})
			w.mu.Unlock()
		}
	}
	_ = w.cmd.Wait()
	w.mu.Lock()
	w.ended = time.Now()
	w.mu.Unlock()
}

// seen returns what has arrived, and when the watcher ended by itself, if it has.
func (w *watcher) seen() ([]arrival, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.arrivals[:len(w.arrivals):len(w.arrivals)], w.ended
}

// latest returns how long after its put was acknowledged the latest event came, of the puts between from and to. An event
// that had not come by then counts as coming at that moment. Pauses of the writer itself, as in an election, do not count.
func (w *watcher) latest(acked []arrival, from, to time.Time) (delay time.Duration) {
	seen, _ := w.seen()
	came := map[int]time.Time{}
	for _, a := range seen {
		came[a.seq] = a.at
	}
	for _, put := range acked {
		if put.at.Before(from) || put.at.After(to) {
			continue
		}
		at, ok := came[put.seq]
		if !ok {
			at = to
		}
		delay = max(delay, at.Sub(put.at))
	}
	return delay
}

// lost returns how many of the values up to the last one seen did not arrive, and how many arrived more than once.
func (w *watcher) lost() (missing, twice int) {
	seen, _ := w.seen()
	if len(seen) == 0 {
		return 0, 0
	}
	times, first, last := map[int]int{}, seen[0].seq, seen[0].seq
	for _, a := range seen {
		times[a.seq]++
		first, last = min(first, a.seq), max(last, a.seq)
	}
	for _, n := range times {
		twice += n - 1
	}
	return last - first + 1 - len(times), twice
}

// writer puts rising numbers through members that stay healthy, until its context ends.
type writer struct {
	mu    sync.Mutex
	acked []arrival
}

func (wr *writer) run(ctx context.Context, endpoints []string, every time.Duration) error {
	cl, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer cl.Close()
	for seq := 1; ctx.Err() == nil; seq++ {
		attempt, stop := context.WithTimeout(ctx, time.Second)
		_, err := cl.Put(attempt, "w/"+strconv.Itoa(seq%10), strconv.Itoa(seq))
		stop()
		if err == nil {
			wr.mu.Lock()
			wr.acked = append(wr.acked, arrival{time.Now(), seq})
			wr.mu.Unlock()
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
		}
	}
	return nil
}

// all returns what was acknowledged so far.
func (wr *writer) all() []arrival {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	return wr.acked[:len(wr.acked):len(wr.acked)]
}

// fleet starts n watchers of etcdx and half as many of etcdctl, and waits until each has seen something.
func (b *bench) fleet(ctx context.Context, n int, args func(i int) []string) (fleet []*watcher, stop func(), err error) {
	stop = func() {
		for _, w := range fleet {
			w.stop()
		}
	}
	for i := range n + n/2 {
		p := b.etcdx
		if i >= n {
			p = b.etcdctl
		}
		w, err := b.watch(ctx, p, args(i)...)
		if err != nil {
			return fleet, stop, err
		}
		fleet = append(fleet, w)
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, w := range fleet {
		for {
			seen, ended := w.seen()
			if len(seen) > 0 {
				break
			}
			if !ended.IsZero() || time.Now().After(deadline) {
				return fleet, stop, fmt.Errorf("%s watches, but sees nothing", w.name)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return fleet, stop, nil
}

// gapWindow is how long the watchers are observed after a fault: longer than the 16 s that etcdctl takes.
const gapWindow = 20 * time.Second

// gap: how late the latest event of a watch is when a member breaks. Every watcher has that member first in its list.
func gap(ctx context.Context, b *bench) error {
	const watchers = 10
	header("a follower is", "etcdx: n", "latest event, s", "ended", "lost / doubled", "etcdctl: n", "latest event, s", "ended")
	for _, fault := range []string{"killed", "stopped", "blackholed", "cut from clients", "without leader"} {
		x, ctl := &gapRow{}, &gapRow{}
		for range (b.n + watchers - 1) / watchers {
			if err := b.gapRound(ctx, fault, watchers, map[string]*gapRow{"etcdx": x, "etcdctl": ctl}); err != nil {
				return err
			}
		}
		row(fault, strconv.Itoa(x.n), spread(x.delays), strconv.Itoa(x.ended), fmt.Sprintf("%d / %d", x.missing, x.twice),
			strconv.Itoa(ctl.n), spread(ctl.delays), strconv.Itoa(ctl.ended))
	}
	return nil
}

type gapRow struct {
	n, ended, missing, twice int
	delays                   []time.Duration // of those that did not end
}

func (b *bench) gapRound(ctx context.Context, fault string, n int, rows map[string]*gapRow) error {
	c, err := b.cluster(ctx, lab.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	victim, err := follower(ctx, c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var wr writer
	wrote := make(chan error, 1)
	leader, err := c.Leader(ctx)
	if err != nil {
		stop()
		return err
	}
	go func() { wrote <- wr.run(ctx, []string{c.Direct()[leader]}, 20*time.Millisecond) }()
	defer func() { stop(); <-wrote }()
	fleet, end, err := b.fleet(ctx, n, func(int) []string { return endpoints(c, victim, 0) })
	defer end()
	if err != nil {
		return err
	}
	if err := breakMember(c, victim, fault); err != nil {
		return err
	}
	from := time.Now()
	select {
	case <-time.After(gapWindow):
	case <-ctx.Done():
		return ctx.Err()
	}
	to := time.Now()
	acked := wr.all()
	for _, w := range fleet {
		r := rows[w.name]
		r.n++
		if _, ended := w.seen(); !ended.IsZero() {
			r.ended++
			continue
		}
		r.delays = append(r.delays, w.latest(acked, from, to))
		missing, twice := w.lost()
		r.missing, r.twice = r.missing+missing, r.twice+twice
	}
	b.logf("%s: etcdx %s, etcdctl %s", fault, spread(rows["etcdx"].delays), spread(rows["etcdctl"].delays))
	return nil
}

func breakMember(c *lab.Cluster, i int, fault string) error {
	switch fault {
	case "killed":
		return c.Kill(i)
	case "stopped":
		return c.Stop(i)
	case "blackholed":
		return c.Cut(i, lab.Peers|lab.Clients)
	case "cut from clients":
		return c.Cut(i, lab.Clients)
	default:
		return c.Cut(i, lab.Peers)
	}
}
