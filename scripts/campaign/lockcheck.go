//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// Hold is one command that was to run under a lock.
type Hold struct {
	Run, Row, Name string
	Kind           Kind
	From, To       time.Duration
	// Limit is how long it may take in all when nothing hurts it.
	Limit time.Duration
	// Code is the exit code, -1 for one that was killed for hanging.
	Code int
	// Hurt are the faults that hit its processes.
	Hurt []Class
	Said string
}

// within says whether some of it was in one of these times.
func (h Hold) within(windows []Window) bool {
	return slices.ContainsFunc(windows, func(w Window) bool { return h.From <= w.To && w.From <= h.To })
}

// skipped says whether it was told that the run is not due.
func (h Hold) skipped() bool { return h.Kind == Period && h.Code == skipCode }

func (h Hold) String() string {
	s := fmt.Sprintf("%s %s of %s, %.3fs-%.3fs, exit code %d", h.Row, h.Run, h.Name, h.From.Seconds(), h.To.Seconds(), h.Code)
	if len(h.Hurt) > 0 {
		s += fmt.Sprintf(", hurt by %v", h.Hurt)
	}
	if h.Said != "" {
		s += ", said " + h.Said
	}
	return s
}

// Excuses are the times in which a lock may be lost, or not be had.
type Excuses struct {
	// Outages are when the whole cluster was out of reach.
	Outages []Window
	// Pauses are when a member hung: a leader that comes back revokes leases that were renewed elsewhere meanwhile.
	Pauses []Window
	// Pace is how late the machine was.
	Pace Pace
}

// CheckLocks judges what the commands wrote, in the order in which they wrote it, and how the tool ended.
func CheckLocks(holds []Hold, marks []Mark, ex Excuses) []Violation {
	found := checkMarks(holds, marks, ex)
	started, ended := map[string]bool{}, map[string]bool{}
	for _, m := range marks {
		switch m.What {
		case "start":
			started[m.Run] = true
		case "end":
			ended[m.Run] = true
		}
	}
	for _, h := range holds {
		rule, why := judgeHold(h, started[h.Run], ended[h.Run], ex)
		if rule != "" {
			found = append(found, Violation{Workload: "lock", Rule: rule, From: h.From, To: h.To, Text: why + ": " + h.String()})
		}
	}
	return found
}

// checkMarks checks that no two commands ran at once, and that each had a greater token than the one before. etcdx's token is
// the place in the queue, so this is also first come, first served.
func checkMarks(holds []Hold, marks []Mark, ex Excuses) []Violation {
	byRun := map[string]Hold{}
	for _, h := range holds {
		byRun[h.Run] = h
	}
	last, lastExclusive := map[string]Mark{}, map[string]Mark{}
	started := map[string]string{} // by name and ID of Once
	var found []Violation
	for _, m := range marks {
		h := byRun[m.Run]
		v := Violation{Workload: "lock", From: h.From, To: h.To}
		before := last[m.Name]
		if m.Kind == Shared {
			before = lastExclusive[m.Name] // those that share a lock may begin in any order
		}
		other, again := started[m.Name+" "+m.ID]
		switch {
		case m.What == "overlap" && frozen(holds, h):
			// Nobody was left to end that one. What it may still do is for its fencing token to prevent: see CheckCounters.
		case m.What == "overlap" && !patient(m.Name) && unheard(holds, h, ex):
			// Nobody could tell that one.
		case m.What == "overlap":
			v.Rule = "exclusive"
			v.Text = fmt.Sprintf("a command started while another ran: %s; the other: %s", h, byRun[before.Run])
		case m.Kind == Once && m.What == "start" && again:
			v.Rule = "once"
			v.Text = fmt.Sprintf("a run with ID %s started again: %s; before: %s", m.ID, h, byRun[other])
		case m.What == "start" && m.Kind != Slots && m.Token <= before.Token:
			v.Rule = "rising"
			v.Text = fmt.Sprintf("token %d came after %d: %s; before: %s", m.Token, before.Token, h, byRun[before.Run])
		}
		if v.Rule != "" {
			found = append(found, v)
		}
		if m.What == "start" {
			if m.Token > last[m.Name].Token {
				last[m.Name] = m
			}
			if m.Kind != Shared {
				lastExclusive[m.Name] = m
			}
			if m.Kind == Once {
				started[m.Name+" "+m.ID] = m.Run
			}
		}
	}
	return found
}

// frozen says whether h met a command of the same lock that was frozen meanwhile.
func frozen(holds []Hold, h Hold) bool {
	return met(holds, h, func(o Hold) bool { return slices.Contains(o.Hurt, Freeze) })
}

// unheard says whether h met a command whose host was cut off in a time in which a member that had hung may have taken its living lease away.
func unheard(holds []Hold, h Hold, ex Excuses) bool {
	return met(holds, h, func(o Hold) bool { return slices.Contains(o.Hurt, ProcCut) && o.within(ex.Pauses) })
}

// met says whether h met such a command of the same lock.
func met(holds []Hold, h Hold, such func(Hold) bool) bool {
	return slices.ContainsFunc(holds, func(o Hold) bool { return o.Name == h.Name && o.To >= h.From && o.From <= h.To && such(o) })
}

// CheckCounters checks that no fenced write was lost, given what the counters are in the end, by lock: nobody wrote what somebody else
// had written, and the last value tells how many writes there were.
func CheckCounters(final map[string]int64, marks []Mark) []Violation {
	wrote := map[string]map[int64]string{}
	maybe := map[string]int64{}
	var found []Violation
	add := func(format string, args ...any) {
		found = append(found, Violation{Workload: "lock", Rule: "fenced", Text: fmt.Sprintf(format, args...)})
	}
	for _, m := range marks {
		switch m.What {
		case "writes":
			maybe[m.Name]++
		case "refused", "lost":
			maybe[m.Name]--
		case "wrote":
			maybe[m.Name]--
			if wrote[m.Name] == nil {
				wrote[m.Name] = map[int64]string{}
			}
			if other, twice := wrote[m.Name][m.Value]; twice {
				add("%s: %d was written by %s and by %s: one of the two was lost", m.Name, m.Value, other, m.Run)
			}
			wrote[m.Name][m.Value] = m.Run
		}
	}
	for name, values := range wrote {
		sure := int64(len(values))
		if n := final[name]; n < sure || n > sure+maybe[name] {
			add("%s: the counter is %d after %d writes, and %d of unknown outcome", name, n, sure, maybe[name])
		}
	}
	return found
}

// The exit codes of etcdx that a command under a lock, or a write in it, can end with.
const (
	codeUnavailable = 69
	codeBusy        = 75
	codeLost        = 79
)

// judgeHold says which promise was broken to one caller, if any.
func judgeHold(h Hold, started, ended bool, ex Excuses) (rule, why string) {
	hurt := len(h.Hurt) > 0
	switch {
	case h.Code == 0 && !ended && (h.Kind != Once || started):
		return "told", "success was reported, but the command did not run to its end"
	case (h.Code == codeBusy || h.Code == codeUnavailable || h.skipped()) && started && !hurt:
		return "told", "it was said that nothing ran, but the command started"
	case h.Code == -1 && !hurt:
		return "served", "it neither ran nor gave up"
	case hurt, h.Code == 0, h.Code == codeBusy, h.Code == overlapCode, h.skipped():
	case h.Code == codeUnavailable && !h.within(ex.Outages):
		return "available", "no lock to be had while a majority served"
	case h.Code == codeLost && !h.within(ex.Outages) && !h.within(ex.Pauses):
		return "kept", "the lock was lost while a majority served"
	case h.Code != codeUnavailable && h.Code != codeLost:
		return "told", "an exit code that tells nothing"
	}
	if !hurt && h.To-h.From > h.Limit+ex.Pace.late(h.From, h.To) {
		return "bounded", fmt.Sprintf("it took longer than %v", h.Limit)
	}
	return "", ""
}
