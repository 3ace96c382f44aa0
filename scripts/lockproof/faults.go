package main

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lab"
)

// fault is a class of faults: do breaks something, waits, and leaves the mending to its caller.
type fault struct {
	name   string
	keeper bool // breaks etcdx' second process, which etcdctl does not have
	do     func(context.Context, *class)
}

func faults() []fault {
	ttl := func(c *class) time.Duration { return time.Duration(c.o.ttl) * time.Second }
	one := func(*class) int { return rand.IntN(3) }
	leader := func(c *class) int {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		i, err := c.cluster.Leader(ctx)
		if err != nil {
			return 0
		}
		return i
	}
	return []fault{
		{name: "none", do: func(ctx context.Context, c *class) { pause(ctx, time.Second) }},
		{name: "member-stopped", do: func(ctx context.Context, c *class) { _ = c.cluster.Stop(one(c)); pause(ctx, 2*ttl(c)) }},
		{name: "leader-stopped-past-ttl", do: func(ctx context.Context, c *class) { _ = c.cluster.Stop(leader(c)); pause(ctx, ttl(c)+2*time.Second) }},
		{name: "member-killed", do: func(ctx context.Context, c *class) { c.restart(ctx, one(c)) }},
		{name: "leader-killed", do: func(ctx context.Context, c *class) { c.restart(ctx, leader(c)) }},
		{name: "member-blackholed", do: func(ctx context.Context, c *class) { _ = c.cluster.Cut(one(c), lab.Clients); pause(ctx, 2*ttl(c)) }},
		{name: "member-leaderless", do: func(ctx context.Context, c *class) { _ = c.cluster.Cut(one(c), lab.Peers); pause(ctx, 2*ttl(c)) }},
		{name: "clients-cut-off", do: func(ctx context.Context, c *class) { c.cutAll(lab.Clients); pause(ctx, 2*ttl(c)) }},
		{name: "quorum-lost", do: func(ctx context.Context, c *class) { c.cutAll(lab.Peers); pause(ctx, 2*ttl(c)) }},
		{name: "all-stopped", do: func(ctx context.Context, c *class) { c.stopAll(); pause(ctx, ttl(c)+time.Second) }},
		{name: "slow-300ms", do: func(ctx context.Context, c *class) {
			_ = c.cluster.Slow(one(c), 300*time.Millisecond)
			pause(ctx, ttl(c))
		}},
		{name: "resets", do: func(ctx context.Context, c *class) { _ = c.cluster.Reset(one(c)); pause(ctx, 200*time.Millisecond) }},
		{name: "lease-revoked", do: func(ctx context.Context, c *class) { c.attack(ctx, c.revoke) }},
		{name: "key-deleted", do: func(ctx context.Context, c *class) { c.attack(ctx, c.remove) }},
		{name: "key-reput", do: func(ctx context.Context, c *class) { c.attack(ctx, c.reput) }},
		{name: "command-sigkill", do: func(ctx context.Context, c *class) { c.signal(ctx, c.some(), syscall.SIGKILL) }},
		{name: "command-sigstop", do: func(ctx context.Context, c *class) { c.freeze(ctx, c.some()) }},
		{name: "command-sigterm", do: func(ctx context.Context, c *class) { c.signal(ctx, c.some(), syscall.SIGTERM) }},
		{name: "keeper-sigkill", keeper: true, do: func(ctx context.Context, c *class) { c.signal(ctx, c.keeper(), syscall.SIGKILL) }},
		{name: "keeper-sigstop", keeper: true, do: func(ctx context.Context, c *class) { c.freeze(ctx, c.keeper()) }},
		{name: "cpu-starved", do: func(ctx context.Context, c *class) { burn(ctx, 12, ttl(c)) }},
	}
}

func (c *class) restart(ctx context.Context, i int) {
	_ = c.cluster.Kill(i)
	pause(ctx, time.Duration(c.o.ttl)*time.Second)
	rctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = c.cluster.Restart(rctx, i)
}

func (c *class) cutAll(side lab.Side) {
	for i := range c.cluster.Len() {
		_ = c.cluster.Cut(i, side)
	}
}

func (c *class) stopAll() {
	for i := range c.cluster.Len() {
		_ = c.cluster.Stop(i)
	}
}

// attack does something to the first contender's key, who holds the lock or is about to.
func (c *class) attack(ctx context.Context, do func(context.Context, string, int64)) {
	pause(ctx, time.Duration(rand.IntN(400))*time.Millisecond)
	actx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := c.client.Get(actx, "proof/", clientv3.WithFirstCreate()...)
	if err == nil && len(resp.Kvs) > 0 {
		do(actx, string(resp.Kvs[0].Key), resp.Kvs[0].Lease)
	}
}

func (c *class) revoke(ctx context.Context, _ string, lease int64) {
	_, _ = c.client.Revoke(ctx, clientv3.LeaseID(lease))
}

func (c *class) remove(ctx context.Context, key string, _ int64) { _, _ = c.client.Delete(ctx, key) }

// reput puts the key without its lease; nobody would take it away again, so the attacker does, later.
func (c *class) reput(ctx context.Context, key string, _ int64) {
	if _, err := c.client.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), ">", 0)).Then(clientv3.OpPut(key, "stolen")).Commit(); err != nil {
		return
	}
	pause(ctx, 500*time.Millisecond)
	_, _ = c.client.Delete(context.WithoutCancel(ctx), key)
}

func (c *class) signal(ctx context.Context, pid int, sig syscall.Signal) {
	if pid > 0 {
		pause(ctx, time.Duration(rand.IntN(150))*time.Millisecond)
		_ = syscall.Kill(pid, sig)
	}
}

// freeze stops a process for longer than the lease lives.
func (c *class) freeze(ctx context.Context, pid int) {
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	pause(ctx, time.Duration(c.o.ttl)*time.Second+1500*time.Millisecond)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

// keeper returns the second process of one of the lock commands.
func (c *class) keeper() int {
	if kids := children(c.some()); len(kids) > 0 {
		return kids[0]
	}
	return 0
}

// burn keeps n processes busy.
func burn(ctx context.Context, n int, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var all []*exec.Cmd
	for range n {
		c := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		if c.Start() == nil {
			all = append(all, c)
		}
	}
	for _, c := range all {
		_ = c.Wait()
	}
}
