//go:build linux

package main

import (
	"slices"
	"sync"
	"time"
)

// journal is what happened during a campaign. Its methods may be called from several goroutines.
type journal struct {
	began time.Time

	mu      sync.Mutex
	spans   []Span
	counts  map[Class]int
	outages []Window
	pauses  []Window // when a member hung
	silent  time.Duration
	pace    Pace
}

func newJournal() *journal { return &journal{began: time.Now(), counts: map[Class]int{}} }

// now returns the time since the workloads began.
func (j *journal) now() time.Duration { return time.Since(j.began) }

// begin opens a span and returns the function that ends it.
func (j *journal) begin(row string, mark byte, label string) (end func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := len(j.spans)
	j.spans = append(j.spans, Span{Row: row, Mark: mark, From: j.now(), Label: label})
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.spans[i].To = j.now()
	}
}

// add notes a span that is over.
func (j *journal) add(s Span) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spans = append(j.spans, s)
}

// count notes that a fault was applied.
func (j *journal) count(c Class) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts[c]++
}

// recovery is how long after a fault of the whole cluster calls are still excused: members elect a leader, clients find it.
const recovery = 5 * time.Second

// outage notes when the whole cluster was out of reach.
func (j *journal) outage(from, to time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outages = append(j.outages, Window{from, to + recovery})
}

// pause notes when a member hung. What it does when it goes on may take effect a little later.
func (j *journal) pause(from, to time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pauses = append(j.pauses, Window{from, to + recovery})
}

// paced notes how long a run took that needs no cluster.
func (j *journal) paced(w Window) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pace = append(j.pace, w)
}

// silence adds to the time in which the witness got no answer from any member.
func (j *journal) silence(d time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.silent += d
}

func (j *journal) allSpans() []Span {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.spans)
}
