//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func killPid(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// remains is what a campaign left behind.
type remains struct {
	Leases     int
	Keys       []string // under the locks' names
	Processes  []string
	Files      []string // temporary ones
	Goroutines []string // of the connection layer, in this process
}

// violations says which of the remains are leaks: all of them.
func (r remains) violations() []Violation {
	var found []Violation
	add := func(rule string, n int, what string) {
		if n > 0 {
			found = append(found, Violation{Workload: "leaks", Rule: rule, Text: fmt.Sprintf("%d left: %s", n, what)})
		}
	}
	add("leases", r.Leases, "leases that nobody lets expire")
	add("keys", len(r.Keys), strings.Join(r.Keys, ", "))
	add("processes", len(r.Processes), strings.Join(r.Processes, "; "))
	add("files", len(r.Files), strings.Join(r.Files, ", "))
	add("goroutines", len(r.Goroutines), strings.Join(r.Goroutines, "\n"))
	return found
}

// The keys that say which holder may still be at work, which run was started already, and when the last one was. Those of runs have leases
// of their own, of a week and of their period.
const (
	heldPrefix   = "_etcdx/held/"
	oncePrefix   = "_etcdx/once/"
	statePrefix  = "_etcdx/state/"
	periodPrefix = "_etcdx/period/"
)

// nextHolders takes every lock once more whose last holder did not let go in order: its successor cleans up behind it.
func (c *campaign) nextHolders(ctx context.Context) error {
	cl, err := c.direct()
	if err != nil {
		return err
	}
	defer cl.Close()
	resp, err := cl.Get(ctx, heldPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	for _, kv := range resp.Kvs {
		name := path.Dir(strings.TrimPrefix(string(kv.Key), heldPrefix))
		if _, code, said := c.tool.output("lock", "-w", "20s", name, "--", "true"); code != 0 {
			return fmt.Errorf("lock %s after all: exit code %d: %s", name, code, said)
		}
	}
	return nil
}

// leaks waits until what must go by itself has gone, for as long as leases of killed processes last at most.
func (c *campaign) leaks(ctx context.Context) []Violation {
	// A leader change gives every lease its whole TTL again, and an election timeout more.
	deadline := time.Now().Add(c.cfg.ttl + 10*time.Second)
	if err := c.nextHolders(ctx); err != nil {
		return []Violation{{Workload: "leaks", Rule: "checked", Text: err.Error()}}
	}
	for {
		found := c.remains(ctx).violations()
		if len(found) == 0 || time.Now().After(deadline) || !sleep(ctx, 250*time.Millisecond) {
			return found
		}
	}
}

func (c *campaign) remains(ctx context.Context) remains {
	var r remains
	for pid, line := range marked(c.dir) {
		r.Processes = append(r.Processes, fmt.Sprintf("%d %s", pid, line))
	}
	_ = filepath.WalkDir(filepath.Join(c.dir, "tmp"), func(file string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			r.Files = append(r.Files, file)
		}
		return nil
	})
	r.Goroutines = goroutinesOf("etcdx/pkg/conn")
	cl, err := c.direct()
	if err != nil {
		r.Keys = append(r.Keys, "cannot look: "+err.Error())
		return r
	}
	defer cl.Close()
	if leases, err := cl.Leases(ctx); err == nil {
		for _, l := range leases.Leases {
			if !remembers(ctx, cl, l.ID) {
				r.Leases++
			}
		}
	}
	r.Leases = max(0, r.Leases-c.unfinishedRuns())
	// Keys that prove a holder of the lock, and its marker, live only as long as it does.
	for _, prefix := range []string{lockPrefix, heldPrefix} {
		resp, err := cl.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			r.Keys = append(r.Keys, "cannot look: "+err.Error())
			return r
		}
		for _, kv := range resp.Kvs {
			r.Keys = append(r.Keys, string(kv.Key))
		}
	}
	return r
}

// unfinishedRuns counts the runs with an ID that did not end well: each may have been killed when it had the lease for remembering it, and
// not yet the key.
func (c *campaign) unfinishedRuns() (n int) {
	for _, load := range c.load {
		if l, ok := load.(*lockLoad); ok {
			for _, h := range l.holds {
				if h.Kind == Once && h.Code != 0 {
					n++
				}
			}
		}
	}
	return n
}

// remembers says whether a lease is that of a run which must not start again.
func remembers(ctx context.Context, cl *clientv3.Client, lease clientv3.LeaseID) bool {
	resp, err := cl.TimeToLive(ctx, lease, clientv3.WithAttachedKeys())
	return err == nil && len(resp.Keys) > 0 && (bytes.HasPrefix(resp.Keys[0], []byte(oncePrefix)) || bytes.HasPrefix(resp.Keys[0], []byte(periodPrefix)))
}

// goroutinesOf returns the stacks of the goroutines that run code of a package.
func goroutinesOf(pkg string) []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(stack, pkg) {
			found = append(found, stack)
		}
	}
	return found
}
