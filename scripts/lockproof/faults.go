package main

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lab"
	"github.com/etcdx/etcdx/pkg/lock"
)

// fault is a class of faults: do breaks something, waits, and leaves the mending to its caller.
type fault struct {
	name   string
	keeper bool // breaks etcdx' second process, which etcdctl does not have
	// rest is the time between two faults, so that somebody gets the lock: it depends on what is left of the last one.
	rest  time.Duration
	alone bool // breaks the machine, so no other class runs meanwhile
	long  int  // one command in so many works for some seconds, unless the command line says otherwise; 0: in 25
	do    func(context.Context, *class)
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
		{name: "clients-cut-off", rest: 3 * time.Second, do: func(ctx context.Context, c *class) { c.cutAll(lab.Clients); pause(ctx, 2*ttl(c)) }},
		{name: "quorum-lost", long: 10, do: func(ctx context.Context, c *class) {
			c.amid(ctx)
			c.cutAll(lab.Peers)
			pause(ctx, ttl(c)+time.Second+rand.N(ttl(c)))
		}},
		{name: "host-cut-off", long: 10, do: func(ctx context.Context, c *class) { c.isolate(ctx) }},
		{name: "all-stopped", rest: 3 * time.Second, do: func(ctx context.Context, c *class) { c.stopAll(); pause(ctx, ttl(c)+time.Second) }},
		{name: "slow-300ms", do: func(ctx context.Context, c *class) {
			_ = c.cluster.Slow(one(c), 300*time.Millisecond)
			pause(ctx, ttl(c))
		}},
		{name: "resets", do: func(ctx context.Context, c *class) { _ = c.cluster.Reset(one(c)); pause(ctx, 200*time.Millisecond) }},
		{name: "lease-revoked", do: func(ctx context.Context, c *class) { c.attack(ctx, c.revoke) }},
		{name: "key-deleted", do: func(ctx context.Context, c *class) { c.attack(ctx, c.remove) }},
		{name: "key-reput", do: func(ctx context.Context, c *class) { c.attack(ctx, c.reput) }},
		{name: "command-sigkill", rest: time.Second, do: func(ctx context.Context, c *class) { c.signal(ctx, c.victim(ctx), syscall.SIGKILL) }},
		{name: "command-sigstop", do: func(ctx context.Context, c *class) { c.freeze(ctx, c.victim(ctx)) }},
		{name: "command-sigterm", rest: time.Second, do: func(ctx context.Context, c *class) { c.signal(ctx, c.victim(ctx), syscall.SIGTERM) }},
		{name: "keeper-sigkill", keeper: true, rest: time.Second, do: func(ctx context.Context, c *class) { c.signal(ctx, c.keeper(ctx), syscall.SIGKILL) }},
		{name: "keeper-sigstop", keeper: true, do: func(ctx context.Context, c *class) { c.freeze(ctx, c.keeper(ctx)) }},
		{name: "cpu-starved", alone: true, do: func(ctx context.Context, c *class) { burn(ctx, 12, ttl(c)) }},
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

// amid waits until somebody has begun work that takes some seconds. After an outage that is not at once: a new leader gives every
// lease its whole time again, also those whose holders have ended.
func (c *class) amid(ctx context.Context) {
	before := c.noted("LONG")
	for until := time.Now().Add(time.Minute); c.noted("LONG") == before && time.Now().Before(until) && ctx.Err() == nil; {
		pause(ctx, 10*time.Millisecond)
	}
	pause(ctx, time.Duration(rand.IntN(1000))*time.Millisecond)
}

// isolate cuts a lock command that has just begun work of some seconds off from all members, with all below it, for longer than the lease lives,
// as on a host whose network is gone. The others are served.
func (c *class) isolate(ctx context.Context) {
	c.amid(ctx)
	front := c.frontOf(c.last("LONG"))
	defer c.cluster.Rejoin()
	if front == 0 || c.cluster.Isolate(front) != nil {
		c.faults.Add(-1)
		return
	}
	ttl := time.Duration(c.o.ttl) * time.Second
	pause(ctx, ttl+time.Second+rand.N(ttl))
}

// attack does something to the first contender's key, mostly while it is at work, else while it is about to be.
func (c *class) attack(ctx context.Context, do func(context.Context, string, int64)) {
	if rand.IntN(4) > 0 {
		before := c.acquisitions()
		for until := time.Now().Add(3 * time.Second); c.acquisitions() == before && time.Now().Before(until) && ctx.Err() == nil; {
			pause(ctx, 2*time.Millisecond)
		}
		pause(ctx, time.Duration(rand.IntN(25))*time.Millisecond)
	} else {
		pause(ctx, time.Duration(rand.IntN(400))*time.Millisecond)
	}
	actx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := c.client.Get(actx, "proof/", clientv3.WithFirstCreate()...)
	if err != nil || len(resp.Kvs) == 0 {
		c.faults.Add(-1) // nobody was there
		return
	}
	do(actx, string(resp.Kvs[0].Key), resp.Kvs[0].Lease)
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
	}
	if pid == 0 || syscall.Kill(pid, sig) != nil {
		c.faults.Add(-1)
	}
}

// freeze stops a process for longer than the lease lives.
func (c *class) freeze(ctx context.Context, pid int) {
	if pid == 0 || syscall.Kill(pid, syscall.SIGSTOP) != nil {
		c.faults.Add(-1)
		return
	}
	pause(ctx, time.Duration(c.o.ttl)*time.Second+1500*time.Millisecond)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

// victim returns one of the lock commands: as often as not the one whose turn it is, if its key says so (etcdctl's does not).
func (c *class) victim(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if rand.IntN(2) == 0 {
		resp, err := c.client.Get(ctx, "proof/", clientv3.WithFirstCreate()...)
		if err == nil && len(resp.Kvs) > 0 {
			if h, ok := lock.ParseHolder(resp.Kvs[0].Value); ok && c.runs(h.PID) {
				return h.PID
			}
		}
	}
	return c.some()
}

// keeper returns the second process of one of the lock commands.
func (c *class) keeper(ctx context.Context) int {
	if kids := children(c.victim(ctx)); len(kids) > 0 {
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
