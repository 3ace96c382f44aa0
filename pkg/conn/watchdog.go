package conn

import (
	"context"
	"time"
)

// watchdog finds out when a stream's member is sick: it gives no sign of life while another one does.
type watchdog struct {
	probe  func(ctx context.Context, i int) error
	others func() []int     // the other members, the best one first
	heard  func() time.Time // when the stream's member last gave a sign of life by itself
	failed func(i int, why Reason)
}

// run watches member i and returns the one to move to, or i itself when ctx ends.
func (w watchdog) run(ctx context.Context, i int) int {
	for {
		if next := w.check(ctx, i); next != i {
			return next
		}
		for probed := time.Now(); ; {
			due := later(probed, w.heard()).Add(pulse)
			if forced := probed.Add(steady); forced.Before(due) {
				due = forced
			}
			left := time.Until(due)
			if left <= 0 {
				break
			}
			if !sleep(ctx, left) {
				return i
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// check probes member i, and when it does not answer at once the others too. It returns the first of them that answered
// while i could not until its time was up; else i.
func (w watchdog) check(ctx context.Context, i int) int {
	ctx, cancel := context.WithTimeout(ctx, pulseLimit)
	defer cancel()
	type sign struct {
		k   int
		err error
	}
	rest := w.others()
	signs := make(chan sign, 1+len(rest))
	outs := 0
	ask := func(k int) {
		outs++
		go func() { signs <- sign{k, w.probe(ctx, k)} }()
	}
	defer func() {
		cancel()
		for ; outs > 0; outs-- {
			<-signs
		}
	}()
	askRest := func() {
		for _, k := range rest {
			ask(k)
		}
		rest = nil
	}
	doubt := time.NewTimer(pulseLimit / 4)
	defer doubt.Stop()
	ask(i)
	next, down := i, false
	for outs > 0 {
		select {
		case s := <-signs:
			outs--
			switch {
			case s.k == i && s.err == nil:
				return i
			case s.k == i:
				down = true
				askRest()
			case s.err == nil && next == i:
				next = s.k
			}
		case <-doubt.C:
			askRest()
		}
		if down && next != i {
			w.failed(i, Silent)
			return next
		}
	}
	return i
}
