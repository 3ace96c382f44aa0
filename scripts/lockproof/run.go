package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/lab"
)

// class is one class of faults at work.
type class struct {
	o       options
	dir     string
	said    *os.File // what the lock commands said
	cluster *lab.Cluster
	client  *clientv3.Client
	lost    atomic.Int64
	faults  atomic.Int64

	mu     sync.Mutex
	fronts map[int]bool // process IDs of the lock commands
}

// runClass lets contenders acquire a lock again and again while a fault comes and goes.
func runClass(ctx context.Context, o options, f fault) (r result, err error) {
	dir, err := os.MkdirTemp("", "lockproof-")
	if err != nil {
		return result{}, err
	}
	defer func() {
		if o.tool == "etcdx" && r.bad() > 0 {
			fmt.Fprintf(os.Stderr, "lockproof: %s: see %s\n", f.name, dir)
			return
		}
		_ = os.RemoveAll(dir)
	}()
	cluster, err := lab.Start(ctx, lab.Config{Heartbeat: 50 * time.Millisecond, Election: 500 * time.Millisecond})
	if err != nil {
		return result{}, err
	}
	defer func() { _ = cluster.Close() }()
	client, err := clientv3.New(clientv3.Config{Endpoints: cluster.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		return result{}, err
	}
	defer func() { _ = client.Close() }()
	said, err := os.OpenFile(dir+"/stderr", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return result{}, err
	}
	defer func() { _ = said.Close() }()
	c := &class{o: o, dir: dir, said: said, cluster: cluster, client: client, fronts: map[int]bool{}}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.longest.get(f.name))
	defer cancel()
	var wg sync.WaitGroup
	for range o.workers {
		wg.Go(func() { c.contend(ctx, f) })
	}
	wg.Go(func() {
		for ctx.Err() == nil && c.acquisitions() < o.each {
			f.do(ctx, c)
			c.faults.Add(1)
			_ = cluster.Heal()
			pause(ctx, max(f.rest, 300*time.Millisecond))
		}
		cancel()
		_ = cluster.Heal()
	})
	wg.Wait()
	return c.judge(time.Since(began))
}

// contend runs one lock command after the other.
func (c *class) contend(ctx context.Context, f fault) {
	self, err := os.Executable()
	if err != nil {
		return
	}
	for ctx.Err() == nil {
		args := []string{"lock", "--ttl=" + strconv.Itoa(c.o.ttl), "proof"}
		if c.o.tool == "etcdx" {
			args = append(args[:2:2], "-v", "proof")
		}
		cmd := exec.Command(c.o.bin, append(args, "--", self, "job", c.dir)...)
		cmd.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+strings.Join(c.cluster.Endpoints(), ","), "XDG_STATE_HOME="+c.dir, longVariable+"="+strconv.Itoa(cmp.Or(c.o.long, f.long, 25)))
		cmd.Stderr = c.said
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
		if cmd.Start() != nil {
			return
		}
		pid := cmd.Process.Pid
		c.mu.Lock()
		c.fronts[pid] = true
		c.mu.Unlock()
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-ctx.Done():
			c.end(pid, ended)
		}
		c.mu.Lock()
		delete(c.fronts, pid)
		c.mu.Unlock()
		if cmd.ProcessState.ExitCode() == 79 {
			c.lost.Add(1)
		}
	}
}

// end ends a lock command at the end of a class: etcdctl has to be killed, and its command with it.
func (c *class) end(pid int, ended <-chan struct{}) {
	_ = syscall.Kill(pid, syscall.SIGCONT)
	for _, k := range children(pid) {
		_ = syscall.Kill(k, syscall.SIGCONT)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-ended
	}
}

// runs says whether pid is a lock command of this class.
func (c *class) runs(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fronts[pid]
}

// some returns one of the running lock commands, by chance.
func (c *class) some() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for pid := range c.fronts { // in random order
		return pid
	}
	return 0
}

// children returns the processes that pid has started.
func children(pid int) (found []int) {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, f := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				found = append(found, n)
			}
		}
	}
	return found
}

// frontOf returns the lock command that a process is below; 0 if that has ended.
func (c *class) frontOf(pid int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for front := range c.fronts {
		if slices.Contains(lab.Family(front), pid) {
			return front
		}
	}
	return 0
}

func (c *class) lines() []string {
	text, _ := os.ReadFile(c.dir + "/log")
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func (c *class) acquisitions() int { return c.noted("HELD") + c.noted("OVERLAP") }

// noted returns how many lines of the log begin with what.
func (c *class) noted(what string) (n int) {
	for _, line := range c.lines() {
		if strings.HasPrefix(line, what) {
			n++
		}
	}
	return n
}

// last returns which process noted what last; 0: none did.
func (c *class) last(what string) (pid int) {
	for _, line := range c.lines() {
		if strings.HasPrefix(line, what) {
			_, who, _ := strings.Cut(line, "# pid ")
			_, _ = fmt.Sscan(who, &pid)
		}
	}
	return pid
}

// judge reads the log.
func (c *class) judge(took time.Duration) (result, error) {
	r := result{took: took, faults: int(c.faults.Load()), lost: int(c.lost.Load()), acquisitions: c.acquisitions()}
	last := 0
	for _, line := range c.lines() {
		line, _, _ = strings.Cut(line, " # ")
		what, arg, _ := strings.Cut(line, " ")
		switch what {
		case "OVERLAP":
			r.overlaps++
		case "HELD":
			token, _ := strconv.Atoi(arg)
			if token <= last {
				r.unordered++
			}
			last = token
		case "COUNTED":
			r.counter++
		case "FENCED":
			r.fenced++
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.cluster.Ready(ctx); err != nil {
		return r, err
	}
	got, err := c.client.Get(ctx, "counter")
	if err != nil {
		return r, err
	}
	n := 0
	if len(got.Kvs) > 0 {
		n, _ = strconv.Atoi(string(got.Kvs[0].Value))
	}
	// A job that was killed between its transaction and its note has counted without saying so: only too few is a lost update.
	if n < r.counter {
		r.miscounted = r.counter - n
	}
	return r, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
