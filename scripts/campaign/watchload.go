//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
)

// The prefixes that are watched: one that always changes, one that does now and then, as a process for each event can follow, and one that
// rarely does, whose watch must keep up with compactions without events.
const (
	busyPrefix = "watch/busy/"
	somePrefix = "watch/some/"
	idlePrefix = "watch/idle/"
)

// watchLoad changes keys and watches them with the tool, which it starts again whenever it ends.
type watchLoad struct {
	*campaign
	writers int

	mu   sync.Mutex
	runs map[string][]WatchRun // by row
}

func (l *watchLoad) name() string { return "watch" }

func (l *watchLoad) rows() []string {
	var all []string
	for i := range l.handled() {
		all = append(all, fmt.Sprintf("watch%d", i+1))
	}
	return all
}

func (l *watchLoad) run(ctx context.Context) error {
	l.runs = map[string][]WatchRun{}
	cluster, err := conn.Open(l.options())
	if err != nil {
		return err
	}
	defer cluster.Close()
	var work sync.WaitGroup
	for i := range l.writers {
		work.Go(func() { l.write(ctx, cluster, rand.New(rand.NewPCG(l.cfg.seed, 300+uint64(i)))) })
	}
	rows := l.rows()
	errs := make([]error, len(rows))
	for i, h := range l.handled() {
		w := &watcher{load: l, row: rows[i], handled: h, dir: filepath.Join(l.dir, rows[i]), rng: rand.New(rand.NewPCG(l.cfg.seed, 400+uint64(i)))}
		work.Go(func() { errs[i] = w.run(ctx) })
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// write makes changes of all sizes. Whether they succeed does not matter: the history tells what happened.
func (l *watchLoad) write(ctx context.Context, cluster *conn.Cluster, rng *rand.Rand) {
	for n := 0; sleep(ctx, time.Duration(rng.Int64N(int64(150*time.Millisecond)))); n++ {
		prefix := busyPrefix
		switch rng.IntN(60) {
		case 0:
			prefix = idlePrefix
		case 1, 2, 3, 4:
			prefix = somePrefix
		}
		value := strconv.Itoa(n)
		if rng.IntN(20) == 0 {
			value += strings.Repeat("x", rng.IntN(20_000))
		}
		key := func() string { return fmt.Sprintf("%s%02d", prefix, rng.IntN(30)) }
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.tool.timeout)
		switch rng.IntN(10) {
		case 0, 1:
			_, _ = cluster.Delete(ctx, key())
		case 2:
			first := key()
			_, _ = cluster.Delete(ctx, first, clientv3.WithRange(first+"~"))
		case 3, 4:
			_, _ = cluster.Commit(ctx, nil, transaction(rng, key, value), nil)
		default:
			_, _ = cluster.Put(ctx, key(), value)
		}
		cancel()
	}
}

// transaction returns puts and deletes of different keys: etcd takes no key twice.
func transaction(rng *rand.Rand, key func() string, value string) []clientv3.Op {
	keys := map[string]bool{}
	for range 2 + rng.IntN(12) {
		keys[key()] = true
	}
	var ops []clientv3.Op
	for k := range keys {
		if rng.IntN(4) == 0 {
			ops = append(ops, clientv3.OpDelete(k))
		} else {
			ops = append(ops, clientv3.OpPut(k, value))
		}
	}
	return ops
}

// watcher keeps one watch going.
type watcher struct {
	handled
	load      *watchLoad
	row       string
	dir       string
	rng       *rand.Rand
	n         int
	position  int64 // etcdctl's: the last revision that it printed
	forgotten bool  // etcdctl's position was compacted: it starts from now
}

// run starts the tool again and again until ctx ends and everything was sent, and then ends it.
func (w *watcher) run(ctx context.Context) error {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	for {
		r, err := w.once(ctx)
		if err != nil {
			return err
		}
		w.load.mu.Lock()
		w.load.runs[w.row] = append(w.load.runs[w.row], r)
		w.load.mu.Unlock()
		if r.Asked {
			return nil
		}
		if ctx.Err() != nil && len(r.Hurt) == 0 {
			return nil // it ended by itself: it will not send the rest
		}
		// Not bound to ctx: after its end the watch still has to send the rest.
		sleep(context.WithoutCancel(ctx), between(w.rng, 10*time.Millisecond, 800*time.Millisecond))
	}
}

// once runs the tool once.
func (w *watcher) once(ctx context.Context) (WatchRun, error) {
	w.n++
	j := w.load.journal
	r := WatchRun{Row: w.row, Prefix: w.prefix, Each: w.by == eachEvent, From: j.now()}
	var err error
	if r.Before, err = w.checkpoint(); err != nil {
		return r, err
	}
	log := filepath.Join(w.dir, strconv.Itoa(w.n)+".jsonl")
	stdout, err := os.Create(log)
	if err != nil {
		return r, err
	}
	defer stdout.Close()
	args, err := w.arguments(log)
	if err != nil {
		return r, err
	}
	stderr, err := os.Create(filepath.Join(w.dir, strconv.Itoa(w.n)+".err"))
	if err != nil {
		return r, err
	}
	defer stderr.Close()
	cmd := w.load.tool.command(args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = append(slices.Clone(cmd.Env), logVar+"="+log)
	if err := cmd.Start(); err != nil {
		return r, err
	}
	end := j.begin(w.row, 'w', "")
	p := &run{row: w.row, cmd: cmd}
	w.load.procs.add("watch", p)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r.Code, r.Asked = w.await(ctx, ended, log, cmd.Process)
	end()
	r.Hurt, r.To = w.load.procs.remove("watch", p), j.now()
	if r.Code != 0 && len(r.Hurt) > 0 {
		r.Asked = false // a fault came between: the next run is asked again
	}
	said, _ := os.ReadFile(stderr.Name())
	r.Said = lastLine(string(said))
	return w.finish(r, log)
}

// finish reads what the run printed, and where its checkpoint is.
func (w *watcher) finish(r WatchRun, log string) (WatchRun, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return r, err
	}
	if r.Entries, err = parseLog(text, w.load.tool.ctl); err != nil {
		return r, fmt.Errorf("%s: %w", log, err)
	}
	for _, e := range r.Entries {
		w.position = max(w.position, e.Rev)
	}
	w.forgotten = w.load.tool.ctl && strings.Contains(string(text), "required revision has been compacted")
	if r.After, err = w.checkpoint(); err != nil {
		return r, err
	}
	w.load.journal.add(Span{
		Row: w.row, Mark: '!', From: r.To, To: r.To,
		Label: fmt.Sprintf("run %d ended with %d at position %d after %d lines %s", w.n, r.Code, r.After, len(r.Entries), r.Said),
	})
	return r, nil
}

func (w *watcher) file() string { return filepath.Join(w.dir, "position.checkpoint") }

// checkpoint returns the position that the next run starts from. For etcdctl, a script would remember what was printed last.
func (w *watcher) checkpoint() (int64, error) {
	if w.load.tool.ctl {
		return w.position, nil
	}
	if _, err := os.Stat(w.file()); os.IsNotExist(err) {
		return 0, nil
	}
	out, code, said := w.load.tool.output("checkpoint", "show", w.file(), "-w", "json")
	var shown struct{ Revision int64 }
	if code != 0 {
		return 0, fmt.Errorf("checkpoint show %s: exit code %d: %s", w.file(), code, said)
	}
	if err := json.Unmarshal(out, &shown); err != nil {
		return 0, fmt.Errorf("checkpoint show %s: %q: %w", w.file(), out, err)
	}
	return shown.Revision, nil
}

// await waits until the run has ended; after the end of ctx it asks it to, as soon as the last event was sent or can't be
// expected any more.
func (w *watcher) await(ctx context.Context, ended <-chan error, log string, process *os.Process) (code int, asked bool) {
	select {
	case err := <-ended:
		return exitCode(err), false
	case <-ctx.Done():
	}
	deadline := time.After(startTime + catchUp)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case err := <-ended:
			return exitCode(err), false
		case <-deadline:
			waiting = false
		case <-tick.C:
			waiting = !w.complete(log)
		}
	}
	_ = process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return exitCode(err), true
	case <-time.After(hangAfter):
		_ = process.Kill()
		return exitCode(<-ended), true
	}
}

// complete says whether the log holds the last event of the history.
func (w *watcher) complete(log string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	rev, err := w.load.cluster.Revision(ctx)
	if err != nil || w.load.truth.known() < rev {
		return false
	}
	h, through := w.load.truth.all()
	last := through
	for last > 1 && len(h.Within(last, w.prefix)) == 0 {
		last--
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return false
	}
	entries, err := parseLog(text, w.load.tool.ctl)
	return err == nil && (last == 1 || slices.ContainsFunc(entries, func(e Entry) bool { return e.reaches(last) }))
}

func (l *watchLoad) check(context.Context) []Violation {
	h, through := l.truth.all()
	var found []Violation
	for _, row := range l.rows() {
		runs := l.runs[row]
		found = append(found, CheckWatch(runs, h, through)...)
		found = append(found, CheckEndurance(runs, l.journal.outages)...)
	}
	return found
}

func (l *watchLoad) summary() string {
	runs, lines, syncs, again := 0, 0, 0, 0
	for _, row := range l.rows() {
		seen := map[int64]int{}
		for n, r := range l.runs[row] {
			runs++
			lines += len(r.Entries)
			for _, e := range r.Entries {
				if e.Type == "sync_end" {
					syncs++
				}
				if before, ok := seen[e.Rev]; ok && before != n && !e.Sync && e.Rev > 0 {
					again++
				}
				seen[e.Rev] = n
			}
		}
	}
	_, through := l.truth.all()
	return fmt.Sprintf("watch: %d revisions, %d processes, %d lines, %d resyncs, %d events sent again by a later process", through, runs, lines, syncs, again)
}
