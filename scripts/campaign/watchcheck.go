//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// WatchRun is one process of a watch: from its start to its end or death.
type WatchRun struct {
	Row, Prefix string
	From, To    time.Duration
	// Before and After are the positions that the checkpoint had when the run began and had ended; 0: there was none.
	Before, After int64
	Entries       []Entry
	// Each is set when every event went to a handler by itself: nothing told it where a resync began and ended.
	Each bool
	Code int
	Hurt []Class
	// Asked is set for a run that was asked to end when it had sent everything.
	Asked bool
	Said  string
}

func (r WatchRun) String() string {
	return fmt.Sprintf("%s on %q, %.3fs-%.3fs, from position %d to %d, exit code %d %s", r.Row, r.Prefix, r.From.Seconds(), r.To.Seconds(), r.Before, r.After, r.Code, r.Said)
}

// CheckWatch judges the runs of one watch, in order, against the history, which is complete up to through.
func CheckWatch(runs []WatchRun, h History, through int64) []Violation {
	var found []Violation
	state := map[string]string{}
	for _, r := range runs {
		c := &watchCheck{run: r, history: h, through: through, state: state, pos: r.Before, sent: map[int64]bool{}}
		c.entries()
		c.position()
		found = append(found, c.found...)
	}
	if len(runs) == 0 {
		return found
	}
	last := runs[len(runs)-1]
	if want := h.State(through, last.Prefix); !maps.Equal(state, want) {
		found = append(found, Violation{
			Workload: "watch", Rule: "state", From: last.From, To: last.To,
			Text: "the state that the events make is not the cluster's: " + difference(state, want) + ": " + last.String(),
		})
	}
	return found
}

// difference names keys that differ, at most a few.
func difference(got, want map[string]string) string {
	keys := map[string]bool{}
	for k := range got {
		keys[k] = got[k] != want[k]
	}
	for k, v := range want {
		if have, ok := got[k]; !ok || have != v {
			keys[k] = true
		}
	}
	text := ""
	shown := 0
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		_, has := got[k]
		_, should := want[k]
		if !keys[k] && has == should {
			continue
		}
		if shown++; shown <= 5 {
			text += fmt.Sprintf(" %s is %q, not %q;", k, got[k], want[k])
		}
	}
	return fmt.Sprintf("%d keys:%s", shown, text)
}

// watchCheck judges one run.
type watchCheck struct {
	run     WatchRun
	history History
	through int64
	state   map[string]string // what a handler would have made of all events so far
	pos     int64             // every event up to it was sent, in this run or before it began
	sent    map[int64]bool    // revisions sent in this run
	found   []Violation
}

func (c *watchCheck) broken(rule, format string, args ...any) {
	c.found = append(c.found, Violation{Workload: "watch", Rule: rule, From: c.run.From, To: c.run.To, Text: fmt.Sprintf(format, args...) + ": " + c.run.String()})
}

// entries goes through what the run printed.
func (c *watchCheck) entries() {
	left := c.run.Entries
	for len(left) > 0 {
		switch {
		case c.run.Each && left[0].Sync:
			apply(c.state, []Change{left[0].Change})
			left = left[1:]
		case left[0].Type == "sync_begin":
			left = c.resync(left)
		case left[0].Sync || left[0].Type == "sync_end":
			c.broken("ordered", "%s of key %q outside of a resync", left[0].Type, left[0].Key)
			left = left[1:]
		default:
			n := 1
			for n < len(left) && left[n].Rev == left[0].Rev && left[n].Type != "sync_begin" && !left[n].Sync {
				n++
			}
			c.revision(left[:n], n == len(left))
			left = left[n:]
		}
	}
}

// revision judges the events of one revision. At the end of a run that was killed they may be incomplete: nobody took
// them for handled.
func (c *watchCheck) revision(events []Entry, atEnd bool) {
	rev := events[0].Rev
	switch {
	case c.sent[rev]:
		c.broken("unique", "revision %d was sent twice", rev)
	case rev <= c.run.Before:
		c.broken("unique", "revision %d was sent again, though the checkpoint was past it", rev)
	case rev < c.pos:
		c.broken("ordered", "revision %d came after %d", rev, c.pos)
	}
	c.sent[rev] = true
	rule := "reliable"
	if len(c.sent) == 1 && c.pos == c.run.Before {
		rule = "resumable"
	}
	c.skipped(rule, c.pos+1, rev-1)
	var got []Change
	for _, e := range events {
		got = append(got, e.Change)
	}
	want := c.history.Within(rev, c.run.Prefix)
	apply(c.state, got)
	if !sameChanges(got, want) {
		torn := atEnd && c.run.Code != 0 && len(got) < len(want) && sameChanges(got, want[:len(got)])
		if torn {
			return
		}
		c.broken("atomic", "revision %d has the events %v, sent were %v", rev, want, got)
	}
	c.pos = max(c.pos, rev)
}

// sameChanges compares events, whose values do not matter for deletes.
func sameChanges(a, b []Change) bool {
	return slices.EqualFunc(a, b, func(x, y Change) bool {
		return x.Key == y.Key && x.Delete == y.Delete && (x.Delete || x.Value == y.Value)
	})
}

// skipped reports revisions between from and to that have events which were not sent. Where nobody says what a resync covered, the state in
// the end has to do, but for what was sent.
func (c *watchCheck) skipped(rule string, from, to int64) {
	if c.run.Each && rule != "saved" {
		return
	}
	lost := 0
	first := int64(0)
	for rev := from; rev <= to; rev++ {
		if n := len(c.history.Within(rev, c.run.Prefix)); n > 0 {
			if lost == 0 {
				first = rev
			}
			lost += n
		}
	}
	if lost > 0 {
		c.broken(rule, "%d events between revisions %d and %d were not sent, the first at %d", lost, from, to, first)
	}
}

// resync judges a resync and returns what comes after it. One that does not end is not handled.
func (c *watchCheck) resync(left []Entry) []Entry {
	begin := left[0]
	for i, e := range left[1:] {
		switch {
		case e.Type == "sync_end":
			if e.To != begin.To {
				c.broken("ordered", "a resync to revision %d ended at %d", begin.To, e.To)
			}
			if want := c.history.State(e.To, c.run.Prefix); !maps.Equal(c.state, want) {
				c.broken("resync", "after a resync from revision %d to %d the state is not the cluster's at %d: %s", begin.From, e.To, e.To, difference(c.state, want))
			}
			if e.To < c.pos {
				c.broken("ordered", "a resync went back from revision %d to %d", c.pos, e.To)
			}
			c.pos = max(c.pos, e.To)
			return left[i+2:]
		case e.Type == "sync_begin":
			return left[i+1:] // begun again, at a newer revision
		case !e.Sync:
			c.broken("ordered", "revision %d came in the middle of a resync", e.Rev)
		default:
			apply(c.state, []Change{e.Change})
		}
	}
	return nil
}

// position judges where the checkpoint stood after the run: never past what was sent, and at the end of it all if the run
// was asked to end.
func (c *watchCheck) position() {
	switch {
	case c.run.After > c.through:
		c.broken("bookmarkable", "the checkpoint is at revision %d, the cluster at %d", c.run.After, c.through)
	case c.run.After < c.run.Before:
		c.broken("bookmarkable", "the checkpoint went back from %d to %d", c.run.Before, c.run.After)
	default:
		c.skipped("bookmarkable", c.pos+1, c.run.After)
	}
	if !c.run.Asked {
		return
	}
	if c.run.Code != 0 {
		c.broken("endures", "a watch that was asked to end failed")
	}
	c.skipped("delivered", c.pos+1, c.through)
	c.skipped("saved", c.run.After+1, min(c.pos, c.through))
}

// CheckEndurance says which runs ended although nobody hurt them and a majority served.
func CheckEndurance(runs []WatchRun, outages []Window) []Violation {
	var found []Violation
	for _, r := range runs {
		excused := slices.ContainsFunc(outages, func(w Window) bool { return r.From <= w.To && w.From <= r.To })
		if !r.Asked && len(r.Hurt) == 0 && !excused {
			found = append(found, Violation{Workload: "watch", Rule: "endures", From: r.To, To: r.To, Text: "a watch ended by itself: " + r.String()})
		}
	}
	return found
}
