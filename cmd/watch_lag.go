package cmd

import (
	"fmt"
	"strings"
	"time"

	"github.com/etcdx/etcdx/pkg/watch"
)

// snapshot is what a watch has done up to a time.
type snapshot struct {
	at          time.Time
	events, rev int64
	moved       time.Time // when rev last rose
	head        int64     // the cluster's revision as far as it was seen; 0: not yet
	live        bool      // the watch has begun: its history was verified, and a resync, if there was to be one, is over
	horizon     int64     // of the last compaction; negative: not known
	cadence     watch.Cadence
	points      []watch.Point // when which revision was current
}

// reading is how far a watch is, and how fast.
type reading struct {
	snapshot
	behind int64         // revisions
	age    time.Duration // how long ago the cluster was where the watch is; negative: unknown
	rate   float64       // events per second
	left   time.Duration // until it has caught up at this rate; negative: unknown, or never
}

// gauge makes readings of snapshots.
type gauge struct{ past []snapshot }

// smooth is over how many snapshots rates are taken.
const smooth = 10

// read adds a snapshot, a later one than those before.
func (g *gauge) read(s snapshot) reading {
	g.past = append(g.past, s)
	g.past = g.past[max(0, len(g.past)-smooth):]
	r := reading{snapshot: s, behind: max(s.head-s.rev, 0), age: -1, left: -1}
	if s.head == 0 {
		r.behind = 0
	}
	switch at, ok := watch.TimeOf(s.points, s.rev); {
	case s.head > 0 && r.behind == 0:
		r.age = 0
	case ok:
		r.age = max(s.at.Sub(at), 0)
	}
	first := g.past[0]
	seconds := s.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return r
	}
	r.rate = float64(s.events-first.events) / seconds
	gain := float64((s.rev-first.rev)-(s.head-first.head)) / seconds // revisions per second
	if first.head > 0 && first.rev > 0 && r.behind > 0 && gain > 0 {
		if left := float64(r.behind) / gain; left < 1e6 {
			r.left = time.Duration(left * float64(time.Second))
		}
	}
	return r
}

func (r reading) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d", r.rev)
	if r.behind > 0 {
		fmt.Fprintf(&b, ", %d behind", r.behind)
		if r.age >= 0 {
			fmt.Fprintf(&b, " (%v)", r.age.Round(time.Second))
		}
	}
	fmt.Fprintf(&b, ", %d events, %.0f/s", r.events, r.rate)
	if r.left >= 0 {
		fmt.Fprintf(&b, ", %v left", r.left.Round(time.Second))
	}
	return b.String()
}
