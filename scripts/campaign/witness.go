//go:build linux

package main

import (
	"context"
	"time"
)

// A cluster on a machine that is too busy loses its leader without any fault of the plan. The witness looks past the proxies
// whether a majority serves, so that the tool is not blamed when nobody could.
const (
	witnessEvery = 500 * time.Millisecond
	// witnessPatience is how long an answer may take. A look at a member that hangs takes a second of it.
	witnessPatience = 2500 * time.Millisecond
)

// witness notes until ctx ends when no member answered.
func (c *campaign) witness(ctx context.Context) {
	for sleep(ctx, witnessEvery) {
		from := c.journal.now()
		look, cancel := context.WithTimeout(ctx, witnessPatience)
		_, err := c.cluster.Revision(look)
		cancel()
		if err == nil || ctx.Err() != nil {
			continue
		}
		to := c.journal.now()
		c.journal.outage(from-witnessEvery, to)
		c.journal.silence(to - from + witnessEvery)
		c.journal.add(Span{Row: "faults", Mark: '0', From: from, To: to, Label: "no member serves: " + err.Error()})
	}
}
