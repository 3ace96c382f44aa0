package conn

import (
	"context"
	"time"
)

const (
	// firstRevival and slowestRevival bound the time between two looks at the endpoints that are set aside. A command
	// that is done within a second never takes one.
	firstRevival, slowestRevival = time.Second, 10 * time.Second
	// revivalLimit bounds one look: an endpoint that needs longer is no better than those in use.
	revivalLimit = 500 * time.Millisecond
)

// revive starts looking at the endpoints that are set aside, with c.mu held, unless that goes on already.
func (c *Cluster) revive() {
	if c.reviving || c.opts.Pin || c.ctx.Err() != nil {
		return
	}
	c.reviving = true
	c.tasks.Go(func() {
		pause := firstRevival
		for c.wait(pause) && c.lookAside() {
			pause = min(2*pause, slowestRevival)
		}
	})
}

// wait returns false when the cluster is closed before d has passed.
func (c *Cluster) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// lookAside probes the endpoints that are set aside, one after the other, and says whether any is left.
func (c *Cluster) lookAside() (left bool) {
	for i, m := range c.members {
		if !c.isAside(i) {
			continue
		}
		m.redial()
		ctx, cancel := context.WithTimeout(c.ctx, revivalLimit)
		begun := time.Now()
		_, err := attempt(ctx, m, probe)
		cancel()
		if err == nil {
			c.answered(i, time.Since(begun))
		} else {
			left = true
		}
	}
	if !left {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reviving = false
	}
	return left
}

func (c *Cluster) isAside(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster.aside(i, time.Now())
}
