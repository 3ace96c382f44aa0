//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
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

// leaks waits until what must go by itself has gone, for as long as leases of killed processes last at most.
func (c *campaign) leaks(ctx context.Context) []Violation {
	// A leader change gives every lease its whole TTL again, and an election timeout more.
	deadline := time.Now().Add(c.cfg.ttl + 10*time.Second)
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
	_ = filepath.WalkDir(filepath.Join(c.dir, "tmp"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			r.Files = append(r.Files, path)
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
		r.Leases = len(leases.Leases)
	}
	// Keys that prove a holder of the lock, and its marker, live only as long as it does.
	for _, prefix := range []string{lockPrefix, "_etcdx/held/"} {
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
