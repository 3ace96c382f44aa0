//go:build linux

package main

import (
	"slices"
	"testing"
	"time"
)

func TestCheckLocks(t *testing.T) {
	const s = time.Second
	hold := func(run string, code int, hurt ...Class) Hold {
		return Hold{Run: run, Name: "n", From: 20 * s, To: 25 * s, Limit: 10 * s, Code: code, Hurt: hurt}
	}
	mark := func(run, what string, token int64) Mark { return Mark{Run: run, Name: "n", What: what, Token: token} }
	whole := func(run string, token int64) []Mark {
		return []Mark{mark(run, "start", token), mark(run, "end", token)}
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
		{name: "token falls", holds: []Hold{hold("a", 0), hold("b", 0)}, marks: slices.Concat(whole("a", 5), whole("b", 4)), want: []string{"rising"}},
		{name: "same token twice", holds: []Hold{hold("a", 0), hold("b", 0)}, marks: slices.Concat(whole("a", 5), whole("b", 5)), want: []string{"rising"}},
		{name: "success without running", holds: []Hold{hold("a", 0)}, want: []string{"told"}},
		{name: "success after being stopped", holds: []Hold{hold("a", 0)}, marks: []Mark{mark("a", "start", 3)}, want: []string{"told"}},
		{name: "success after being hurt and stopped", holds: []Hold{hold("a", 0, ProcStop)}, marks: []Mark{mark("a", "start", 3)}, want: []string{"told"}},
		{name: "busy", holds: []Hold{hold("a", 75)}},
		{name: "busy, but it ran", holds: []Hold{hold("a", 75)}, marks: whole("a", 3), want: []string{"told"}},
		{name: "hangs", holds: []Hold{hold("a", -1)}, want: []string{"served"}},
		{name: "unavailable while a majority serves", holds: []Hold{hold("a", 69)}, want: []string{"available"}},
		{name: "unavailable in an outage", holds: []Hold{hold("a", 69)}, ex: inOutage},
		{name: "lost while a majority serves", holds: []Hold{hold("a", 79)}, marks: []Mark{mark("a", "start", 3)}, want: []string{"kept"}},
		{name: "lost in an outage", holds: []Hold{hold("a", 79)}, marks: []Mark{mark("a", "start", 3)}, ex: inOutage},
		{name: "lost when a member paused", holds: []Hold{hold("a", 79)}, marks: []Mark{mark("a", "start", 3)}, ex: inPause},
		{name: "killed", holds: []Hold{hold("a", 137, ProcKill)}, marks: []Mark{mark("a", "start", 3)}},
		{name: "ended by itself with a code that tells nothing", holds: []Hold{hold("a", 1)}, want: []string{"told"}},
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
