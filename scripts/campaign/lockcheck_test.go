//go:build linux

package main

import (
	"slices"
	"testing"
	"time"
)

func called(name string, holds ...Hold) []Hold {
	for i := range holds {
		holds[i].Name = name
	}
	return holds
}

func TestCheckLocks(t *testing.T) {
	const s = time.Second
	hold := func(run string, code int, hurt ...Class) Hold {
		return Hold{Run: run, Name: "n", From: 20 * s, To: 25 * s, Limit: 10 * s, Code: code, Hurt: hurt}
	}
	mark := func(run, what string, token int64) Mark { return Mark{Run: run, Name: "n", What: what, Token: token} }
	whole := func(run string, token int64) []Mark {
		return []Mark{mark(run, "start", token), mark(run, "end", token)}
	}
	of := func(k Kind, id string, marks []Mark) []Mark {
		for i := range marks {
			marks[i].Kind, marks[i].ID = k, id
		}
		return marks
	}
	inOutage := Excuses{Outages: []Window{{24 * s, 30 * s}}}
	inPause := Excuses{Pauses: []Window{{10 * s, 21 * s}}}
	for _, tc := range []struct {
		name  string
		holds []Hold
		marks []Mark
		ex    Excuses
		want  []string
	}{
		{name: "one after the other", holds: []Hold{hold("a", 0), hold("b", 0)}, marks: slices.Concat(whole("a", 3), whole("b", 5))},
		{
			name: "two at once", holds: []Hold{hold("a", 0), hold("b", 3)},
			marks: []Mark{mark("a", "start", 3), mark("b", "overlap", 5), mark("a", "end", 3)}, want: []string{"exclusive"},
		},
		{
			name: "two at once, as all processes of the first one were paused", holds: []Hold{hold("a", 79, Freeze), hold("b", 3)},
			marks: []Mark{mark("a", "start", 3), mark("b", "overlap", 5)},
		},
		{
			name: "two at once, as nobody could tell the first one that a member that had hung took its lease away", holds: []Hold{hold("a", 79, ProcCut), hold("b", 3)},
			marks: []Mark{mark("a", "start", 3), mark("b", "overlap", 5)}, ex: inPause,
		},
		{
			name: "the same, and no member hung", holds: []Hold{hold("a", 79, ProcCut), hold("b", 3)},
			marks: []Mark{mark("a", "start", 3), mark("b", "overlap", 5)}, want: []string{"exclusive"},
		},
		{
			name: "the same, and the other waited for a whole lease", holds: called(lockPrefix+"b", hold("a", 79, ProcCut), hold("b", 3)),
			marks: []Mark{{Run: "a", Name: lockPrefix + "b", What: "start", Token: 3}, {Run: "b", Name: lockPrefix + "b", What: "overlap", Token: 5}}, ex: inPause, want: []string{"exclusive"},
		},
		{name: "token falls", holds: []Hold{hold("a", 0), hold("b", 0)}, marks: slices.Concat(whole("a", 5), whole("b", 4)), want: []string{"rising"}},
		{name: "same token twice", holds: []Hold{hold("a", 0), hold("b", 0)}, marks: slices.Concat(whole("a", 5), whole("b", 5)), want: []string{"rising"}},
		{name: "success without running", holds: []Hold{hold("a", 0)}, want: []string{"told"}},
		{name: "success after being stopped", holds: []Hold{hold("a", 0)}, marks: []Mark{mark("a", "start", 3)}, want: []string{"told"}},
		{name: "success after being hurt and stopped", holds: []Hold{hold("a", 0, ProcStop)}, marks: []Mark{mark("a", "start", 3)}, want: []string{"told"}},
		{name: "busy", holds: []Hold{hold("a", 75)}},
		{name: "not due", holds: []Hold{{Run: "a", Name: "n", Kind: Period, To: s, Limit: 10 * s, Code: skipCode}}},
		{
			name: "not due, but it ran", holds: []Hold{{Run: "a", Name: "n", Kind: Period, To: s, Limit: 10 * s, Code: skipCode}},
			marks: of(Period, "", whole("a", 3)), want: []string{"told"},
		},
		{name: "not due, of a lock that always is", holds: []Hold{hold("a", skipCode)}, want: []string{"told"}},
		{name: "busy, but it ran", holds: []Hold{hold("a", 75)}, marks: whole("a", 3), want: []string{"told"}},
		{name: "hangs", holds: []Hold{hold("a", -1)}, want: []string{"served"}},
		{name: "unavailable while a majority serves", holds: []Hold{hold("a", 69)}, want: []string{"available"}},
		{name: "unavailable in an outage", holds: []Hold{hold("a", 69)}, ex: inOutage},
		{name: "lost while a majority serves", holds: []Hold{hold("a", 79)}, marks: []Mark{mark("a", "start", 3)}, want: []string{"kept"}},
		{name: "lost in an outage", holds: []Hold{hold("a", 79)}, marks: []Mark{mark("a", "start", 3)}, ex: inOutage},
		{name: "lost when a member paused", holds: []Hold{hold("a", 79)}, marks: []Mark{mark("a", "start", 3)}, ex: inPause},
		{name: "killed", holds: []Hold{hold("a", 137, ProcKill)}, marks: []Mark{mark("a", "start", 3)}},
		{name: "ended by itself with a code that tells nothing", holds: []Hold{hold("a", 1)}, want: []string{"told"}},
		{
			name: "two share it, the older one comes later", holds: []Hold{hold("a", 0), hold("b", 0), hold("c", 0)},
			marks: slices.Concat(whole("a", 3), of(Shared, "", whole("b", 6)), of(Shared, "", whole("c", 5))),
		},
		{
			name: "shared, and older than who held it alone", holds: []Hold{hold("a", 0), hold("b", 0)},
			marks: slices.Concat(whole("a", 6), of(Shared, "", whole("b", 5))), want: []string{"rising"},
		},
		{
			name: "alone, and older than one of those who shared it", holds: []Hold{hold("a", 0), hold("b", 0), hold("c", 0)},
			marks: slices.Concat(of(Shared, "", whole("a", 8)), of(Shared, "", whole("b", 5)), whole("c", 7)), want: []string{"rising"},
		},
		{name: "slots are taken in any order", holds: []Hold{hold("a", 0), hold("b", 0)}, marks: slices.Concat(of(Slots, "", whole("a", 6)), of(Slots, "", whole("b", 5)))},
		{
			name: "a run for each ID", holds: []Hold{hold("a", 0), hold("b", 0), {Run: "c", Name: "n", Kind: Once, To: s, Limit: 10 * s}},
			marks: slices.Concat(of(Once, "1", whole("a", 3)), of(Once, "2", whole("b", 5))),
		},
		{
			name: "two runs for one ID", holds: []Hold{hold("a", 0), hold("b", 0)},
			marks: slices.Concat(of(Once, "1", whole("a", 3)), of(Once, "1", whole("b", 5))), want: []string{"once"},
		},
		{
			name: "as late as the machine", holds: []Hold{{Run: "a", Name: "n", To: 11 * s, Limit: 10 * s}}, marks: whole("a", 3),
			ex: Excuses{Pace: Pace{{s, s + s/2}}},
		},
		{name: "too late", holds: []Hold{{Run: "a", Name: "n", To: 11 * s, Limit: 10 * s}}, marks: whole("a", 3), want: []string{"bounded"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, v := range CheckLocks(tc.holds, tc.marks, tc.ex) {
				got = append(got, v.Rule)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("rules %v, want %v", got, tc.want)
			}
		})
	}
}

func TestCheckCounters(t *testing.T) {
	marks := func(run, what string, value int64) []Mark {
		m := Mark{Run: run, Name: "n", What: "writes", Value: value}
		if what == "" {
			return []Mark{m}
		}
		ends := m
		ends.What = what
		return []Mark{m, ends}
	}
	for _, tc := range []struct {
		name  string
		final int64
		marks []Mark
		want  int
	}{
		{name: "each after the other", final: 2, marks: slices.Concat(marks("a", "wrote", 1), marks("b", "wrote", 2))},
		{name: "unknown, and applied", final: 2, marks: slices.Concat(marks("a", "", 1), marks("b", "wrote", 2))},
		{name: "unknown, and not applied", final: 1, marks: slices.Concat(marks("a", "", 1), marks("b", "wrote", 1))},
		{name: "refused", final: 1, marks: slices.Concat(marks("a", "refused", 1), marks("b", "wrote", 1))},
		{name: "refused as the lock was lost", final: 1, marks: slices.Concat(marks("a", "lost", 1), marks("b", "wrote", 1))},
		{name: "refused, and done all the same", final: 2, marks: slices.Concat(marks("a", "refused", 1), marks("b", "wrote", 2)), want: 1},
		{name: "one overwrote the other", final: 1, marks: slices.Concat(marks("a", "wrote", 1), marks("b", "wrote", 1)), want: 1},
		{name: "the last one is gone", final: 1, marks: slices.Concat(marks("a", "wrote", 1), marks("b", "wrote", 2)), want: 1},
		{name: "somebody wrote and said no", final: 3, marks: slices.Concat(marks("a", "wrote", 1), marks("b", "", 2)), want: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := CheckCounters(map[string]int64{"n": tc.final}, tc.marks); len(got) != tc.want {
				t.Errorf("violations %v, want %d", got, tc.want)
			}
		})
	}
}
