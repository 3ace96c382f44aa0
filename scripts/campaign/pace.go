//go:build linux

package main

import (
	"context"
	"time"
)

// A machine that has too much to do is late with everything. How late is measured, so that the tool is not blamed for it: by a run of the
// tool that needs no cluster, once in a while.
const paceEvery = time.Second

// Pace is how long such runs took, and when.
type Pace []Window

// pace measures until ctx ends.
func (c *campaign) pace(ctx context.Context) {
	for sleep(ctx, paceEvery) {
		from := c.journal.now()
		c.tool.output("version")
		to := c.journal.now()
		c.journal.paced(Window{from, to})
		if to-from > slack {
			c.journal.outage(from, to) // no member and no client gets anything done in its time
		}
	}
}

// starts is how many times as long a call may be late: it is one process and its child, and what it waits for are others.
const starts = 2

// late returns by how much what happened from one time to another may have been late.
func (p Pace) late(from, to time.Duration) time.Duration {
	longest := time.Duration(0)
	for _, w := range p {
		if w.From <= to && from <= w.To {
			longest = max(longest, w.To-w.From)
		}
	}
	return starts * longest
}
