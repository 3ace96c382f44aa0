package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// checker compares what a handler was given with etcd's guarantees of a watch, by their names.
type checker struct {
	seen    map[int64]map[int]bool // by revision: which of its events were handled
	windows [][2]int64             // (from, to] of the resyncs that were handled to their end
	state   map[string]string      // as the handler has it
	saved   int64                  // the checkpoint's revision after the last kill
	faults  map[string]int
	first   map[string]string // the first of each fault
	repeats int
	syncs   int
}

func newChecker() *checker {
	return &checker{seen: map[int64]map[int]bool{}, state: map[string]string{}, faults: map[string]int{}, first: map[string]string{}}
}

func (c *checker) fault(guarantee, format string, args ...any) {
	c.faults[guarantee]++
	if c.first[guarantee] == "" {
		c.first[guarantee] = fmt.Sprintf(format, args...)
	}
}

// line is one line of etcdx's output.
type line struct {
	Type     string `json:"type"`
	Key      string `json:"key"`
	Value    string `json:"value"`
	ID       string `json:"id"`
	Revision int64  `json:"revision"`
	I        int    `json:"i"`
	N        int    `json:"n"`
	Source   string `json:"source"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
}

// take checks the output of one run, after which the checkpoint was at saved.
func (c *checker) take(run int, data []byte, saved int64) error {
	last, ids := line{}, map[string]bool{}
	for len(data) > 0 {
		text, rest, whole := bytes.Cut(data, []byte{'\n'})
		data = rest
		if !whole {
			break // torn by the kill, so never acknowledged
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("run %d printed %q: %w", run, text, err)
		}
		switch {
		case l.Type == "sync_begin":
			c.syncs++
		case l.Type == "sync_end":
			c.windows = append(c.windows, [2]int64{l.From, l.To})
			last = line{Revision: l.To}
		case l.Source == "sync":
			c.apply(l)
		default:
			c.event(run, last, l, ids)
			last = l
		}
	}
	if saved < c.saved {
		c.fault("Resumable", "run %d: the checkpoint went back from %d to %d", run, c.saved, saved)
	}
	c.saved = saved
	return nil
}

// event checks an event of the watch against the one before it in the same run.
func (c *checker) event(run int, last, l line, ids map[string]bool) {
	if l.Revision < last.Revision {
		c.fault("Ordered", "run %d: revision %d after %d", run, l.Revision, last.Revision)
	}
	if ids[l.ID] {
		c.fault("Unique", "run %d: %s twice", run, l.ID)
	}
	ids[l.ID] = true
	if l.Revision <= c.saved {
		c.fault("Resumable", "run %d: revision %d was sent again, but %d was saved", run, l.Revision, c.saved)
	}
	inside := l.Revision == last.Revision && last.N > 0
	if inside && l.I != last.I+1 || !inside && (l.I != 0 || last.N > 0 && last.I != last.N-1) {
		c.fault("Atomic", "run %d: event %d of %d of revision %d after event %d of %d of %d", run, l.I, l.N, l.Revision, last.I, last.N, last.Revision)
	}
	if c.seen[l.Revision] == nil {
		c.seen[l.Revision] = map[int]bool{}
	}
	if c.seen[l.Revision][l.I] {
		c.repeats++
	}
	c.seen[l.Revision][l.I] = true
	c.apply(l)
}

func (c *checker) apply(l line) {
	if l.Type == "delete" {
		delete(c.state, l.Key)
	} else {
		c.state[l.Key] = l.Value
	}
}

// synced says whether a resync stands in for revision rev.
func (c *checker) synced(rev int64) bool {
	for _, w := range c.windows {
		if w[0] < rev && rev <= w[1] {
			return true
		}
	}
	return false
}

// verdict compares with what was written.
func (c *checker) verdict(truth map[int64]int, state map[string]string) error {
	missed := 0
	for rev, n := range truth {
		if got := len(c.seen[rev]); got != n && !c.synced(rev) {
			missed++
			c.fault("Reliable", "revision %d has %d events, of which %d were handled", rev, n, got)
		}
	}
	for key, want := range state {
		if got, ok := c.state[key]; !ok || got != want {
			c.fault("State", "%s is %q, the handler has %q", key, want, got)
		}
	}
	for key := range c.state {
		if _, ok := state[key]; !ok {
			c.fault("State", "%s is gone, and the handler was never told", key)
		}
	}
	fmt.Printf("revisions handled: %d, resyncs begun: %d, ended: %d, events repeated (never acknowledged): %d, revisions missed: %d, keys compared: %d\n",
		len(c.seen), c.syncs, len(c.windows), c.repeats, missed, len(state))
	if len(c.faults) == 0 {
		fmt.Println("Ordered, Unique, Reliable, Atomic, Resumable: held; the handler's state is the cluster's")
		return nil
	}
	var errs []error
	for name := range maps.Keys(c.faults) {
		errs = append(errs, fmt.Errorf("%s broken %d times, first: %s", name, c.faults[name], c.first[name]))
	}
	return errors.Join(errs...)
}

// takeEtcdctl feeds the checker with etcdctl's JSON, and returns the revision to start the next run from: the one after the
// last event, or, if that is compacted, the oldest that is left, since there is nothing better to do.
func (c *checker) takeEtcdctl(run int, data []byte, next int64) int64 {
	ids := map[string]bool{}
	last := line{}
	for len(data) > 0 {
		text, rest, whole := bytes.Cut(data, []byte{'\n'})
		data = rest
		var resp struct {
			CompactRevision int64
			Events          []struct {
				Type int `json:"type"`
				Kv   struct {
					Key, Value []byte
					Mod        int64 `json:"mod_revision"`
				} `json:"kv"`
			}
		}
		if !whole || json.Unmarshal(text, &resp) != nil {
			break
		}
		if resp.CompactRevision > 0 {
			next = resp.CompactRevision
		}
		for i, e := range resp.Events {
			l := line{Type: "put", Key: string(e.Kv.Key), Value: string(e.Kv.Value), Revision: e.Kv.Mod}
			if e.Type == 1 {
				l.Type = "delete"
			}
			for j := i; j >= 0 && resp.Events[j].Kv.Mod == l.Revision; j-- {
				l.I = i - j
			}
			for _, o := range resp.Events {
				if o.Kv.Mod == l.Revision {
					l.N++
				}
			}
			l.ID = fmt.Sprintf("%d/%d", l.Revision, l.I)
			c.event(run, last, l, ids)
			last, next = l, l.Revision+1
		}
	}
	return next
}
