// Command watchbench measures a watch with a checkpoint beside etcdctl's: the replay of a long history, a backlog in front
// of a handler that does not read, and the bytes that a resync after a compaction takes from the network:
//
//	go run ./scripts/watchbench -etcdx PROGRAM -etcdctl PROGRAM [-before PROGRAM]
//
// -before is another build of etcdx, measured in the same rounds. -keys 500000, with -random or without, and -per-revision 1 -events 50000
// make histories that are harder than the default: every key a new one, and a revision for every event. The latter takes a server
// the square of their number.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lab"
)

type bench struct {
	etcdx, etcdctl, before, dir string
	events, backlogMB           int
	runs, perRevision, keys     int
	random                      bool
	only                        string
	sleep                       time.Duration
	cluster                     *lab.Cluster
	client                      *clientv3.Client
}

func main() {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	var b bench
	flag.StringVar(&b.etcdx, "etcdx", "etcdx", "the etcdx to measure")
	flag.StringVar(&b.etcdctl, "etcdctl", "etcdctl", "the etcdctl to measure it against")
	flag.StringVar(&b.before, "before", "", "another etcdx to measure beside them")
	flag.IntVar(&b.perRevision, "per-revision", 100, "events in each revision of the history to replay")
	flag.IntVar(&b.keys, "keys", 1000, "keys in the history to replay")
	flag.BoolVar(&b.random, "random", false, "keys in the history to replay do not come in order")
	flag.IntVar(&b.events, "events", 500_000, "events to replay")
	flag.IntVar(&b.backlogMB, "backlog", 1000, "megabytes in front of the handler that does not read")
	flag.IntVar(&b.runs, "runs", 3, "runs of each replay")
	flag.DurationVar(&b.sleep, "sleep", 30*time.Second, "how long the handler does not read")
	flag.StringVar(&b.only, "only", "", "replay, resync, herd or backlog (default: all)")
	flag.Parse()
	if err := b.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "watchbench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "watchbench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	for _, step := range b.steps() {
		if b.cluster, err = lab.Start(ctx, lab.Config{Members: 1, Args: []string{"--quota-backend-bytes=8000000000"}}); err != nil {
			return err
		}
		if b.client, err = clientv3.New(clientv3.Config{Endpoints: b.cluster.Direct()}); err == nil {
			err = step(ctx)
			_ = b.client.Close()
		}
		_ = b.cluster.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// steps are the measurements that were asked for.
func (b *bench) steps() (steps []func(context.Context) error) {
	for _, s := range []struct {
		name string
		run  func(context.Context) error
	}{{"replay", b.replay}, {"resync", b.resync}, {"herd", b.herd}, {"backlog", b.backlogEtcdx}, {"backlog", b.backlogEtcdctl}} {
		if b.only == "" || b.only == s.name {
			steps = append(steps, s.run)
		}
	}
	return steps
}

// history is n puts of size bytes to a number of keys in turn, some to a revision.
type history struct {
	n, size, keys, perRevision int
	random                     bool // the keys are not named in the order of their turns
}

func (h history) key(i int) string {
	if h.random {
		return fmt.Sprintf("b/%016x", uint64(i%h.keys+1)*0x9e3779b97f4a7c15) // no two are the same: the factor is odd
	}
	return fmt.Sprintf("b/%07d", i%h.keys)
}

// fill makes h true. Writers that wait for each other's fsync share it.
func (b *bench) fill(ctx context.Context, h history) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	value := strings.Repeat("x", h.size)
	next := make(chan int)
	var writers sync.WaitGroup
	for range 32 {
		writers.Go(func() {
			for at := range next {
				var ops []clientv3.Op
				for i := at; i < min(at+h.perRevision, h.n); i++ {
					ops = append(ops, clientv3.OpPut(h.key(i), value))
				}
				if _, err := b.client.Txn(ctx).Then(ops...).Commit(); err != nil {
					cancel(err)
				}
			}
		})
	}
	for at := 0; at < h.n && ctx.Err() == nil; at += h.perRevision {
		select {
		case next <- at:
		case <-ctx.Done():
		}
	}
	close(next)
	writers.Wait()
	return context.Cause(ctx)
}

// start runs a program against addr, with its standard output in a pipe.
func (b *bench) start(program, addr string, args ...string) (*exec.Cmd, io.Reader, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+addr, "XDG_STATE_HOME="+b.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, out, cmd.Start()
}

// peakKiB is the most memory that a running process ever had resident, shared files included. What wait4(2) reports would
// not be its own: it begins with the memory of whoever started it.
func peakKiB(cmd *exec.Cmd) int64 { return statusKiB(cmd.Process.Pid, "VmHWM:") }

// statusKiB reads a number from what Linux tells of a process.
func statusKiB(pid int, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), name)
	var n int64
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// meter is a relay that counts what comes from the server.
type meter struct {
	net.Listener
	bytes atomic.Int64
}

func newMeter(to string) (*meter, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &meter{Listener: l}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
			go func() {
				n, _ := io.Copy(near, io.TeeReader(far, counter{&m.bytes}))
				_ = n
				_ = near.Close()
			}()
		}
	}()
	return m, nil
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) { c.n.Add(int64(len(b))); return len(b), nil }

// resync counts the bytes of a first synchronization of 100,000 keys, and of one after a compaction with 10 changed.
func (b *bench) resync(ctx context.Context) error {
	const keys = 100_000
	if err := b.fill(ctx, history{n: keys, size: 1024, keys: keys, perRevision: 100}); err != nil {
		return err
	}
	m, err := newMeter(b.cluster.Endpoint(0))
	if err != nil {
		return err
	}
	defer m.Close()
	args := []string{"watch", "--prefix", "b/", "--checkpoint", filepath.Join(b.dir, "resync"), "-w", "jsonl"}
	var full int64
	for _, what := range []string{"first synchronization", "resync after 10 of them changed", "resync after 10 changed and 1 vanished"} {
		before, begun := m.bytes.Load(), time.Now()
		cmd, out, err := b.start(b.etcdx, m.Addr().String(), args...)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 4<<20)
		events := 0
		for lines.Scan() && !strings.Contains(lines.Text(), "sync_end") {
			events++
		}
		took, n := time.Since(begun), m.bytes.Load()-before
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if full == 0 {
			full = n
		}
		fmt.Printf("%s (%d keys of 1 KiB): %d events, %d bytes = %.2f %% of the first, %.1f s\n", what, keys, events-1, n, 100*float64(n)/float64(full), took.Seconds())
		if what != "first synchronization" {
			if _, err := b.client.Delete(ctx, "b/0000500"); err != nil {
				return err
			}
		}
		var rev int64
		for i := range 10 {
			resp, err := b.client.Put(ctx, fmt.Sprintf("b/%07d", i*1000+7), strings.Repeat("y", 1024))
			if err != nil {
				return err
			}
			rev = resp.Header.GetRevision()
		}
		if _, err := b.client.Compact(ctx, rev); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) backlogEtcdx(ctx context.Context) error {
	return b.backlog(ctx, "etcdx", b.etcdx, "watch", "--prefix", "b/", "--checkpoint", filepath.Join(b.dir, "backlog"), "--start", "2")
}

func (b *bench) backlogEtcdctl(ctx context.Context) error {
	return b.backlog(ctx, "etcdctl", b.etcdctl, "watch", "--prefix", "b/", "--rev", "1")
}

// backlog lets a watch run into a reader that does not read.
func (b *bench) backlog(ctx context.Context, name, program string, args ...string) error {
	if err := b.fill(ctx, history{n: b.backlogMB * 100, size: 10_000, keys: 100, perRevision: b.perRevision}); err != nil {
		return err
	}
	cmd, _, err := b.start(program, b.cluster.Endpoint(0), args...)
	if err != nil {
		return err
	}
	server := b.cluster.Status(ctx)[0].Pid
	before, begun := residentKiB(server), time.Now()
	var most [2]int64 // in the first and in the second half
	for since := time.Duration(0); since < b.sleep; since = time.Since(begun) {
		half := min(int(2*since/b.sleep), 1)
		most[half] = max(most[half], residentKiB(server))
		time.Sleep(200 * time.Millisecond)
	}
	after, peak := residentKiB(server), peakKiB(cmd)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	fmt.Printf("backlog of %d MB in front of a handler that does not read for %v, %s: peak memory %d MiB; the server: %d MiB before, at most %d in the first half, %d in the second, %d at the end\n",
		b.backlogMB, b.sleep, name, peak/1024, before/1024, most[0]/1024, most[1]/1024, after/1024)
	return nil
}

// residentKiB is the resident memory of a process that is not shared with files.
func residentKiB(pid int) int64 { return statusKiB(pid, "RssAnon:") }
