//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

// at sets when a call began and ended, in milliseconds.
func at(c Call, from, to int) Call {
	c.Key = "k"
	c.From, c.To = time.Duration(from)*time.Millisecond, time.Duration(to)*time.Millisecond
	if c.Ending == "" {
		c.Ending = Done
	}
	return c
}

func TestCheckLinearizable(t *testing.T) {
	put := func(v string) Call { return Call{Verb: Put, Value: v} }
	read := func(v string) Call { return Call{Verb: Get, Got: v} }
	lost := func(v string) Call { return Call{Verb: Put, Value: v, Ending: Unknown} }
	none := func(v string) Call { return Call{Verb: Put, Value: v, Ending: NotApplied} }
	del := func(n int64) Call { return Call{Verb: Del, Deleted: n} }
	swap := func(old, v string) Call { return Call{Verb: CAS, Old: old, Value: v, Swapped: true} }
	noSwap := func(old, v, got string) Call { return Call{Verb: CAS, Old: old, Value: v, Got: got} }
	for _, tc := range []struct {
		name  string
		calls []Call
		bad   bool
	}{
		{name: "reads what was put", calls: []Call{at(put("a"), 0, 1), at(read("a"), 2, 3)}},
		{name: "stale read", calls: []Call{at(put("a"), 0, 1), at(put("b"), 2, 3), at(read("a"), 4, 5)}, bad: true},
		{name: "overlapping read may be old", calls: []Call{at(put("a"), 0, 1), at(put("b"), 2, 5), at(read("a"), 3, 4)}},
		{name: "read goes back", calls: []Call{at(put("a"), 0, 1), at(put("b"), 2, 9), at(read("b"), 3, 4), at(read("a"), 5, 6)}, bad: true},
		{name: "lost update", calls: []Call{at(put("a"), 0, 1), at(read(""), 2, 3)}, bad: true},
		{name: "unknown put may be seen", calls: []Call{at(lost("a"), 0, 1), at(read("a"), 8, 9)}},
		{name: "unknown put may never be", calls: []Call{at(lost("a"), 0, 1), at(read(""), 8, 9)}},
		{name: "unknown put acts late", calls: []Call{at(lost("a"), 0, 1), at(put("b"), 2, 3), at(read("b"), 4, 5), at(read("a"), 6, 7)}},
		{
			name: "unknown put acts twice", bad: true,
			calls: []Call{at(lost("a"), 0, 1), at(read("a"), 2, 3), at(put("b"), 4, 5), at(read("a"), 6, 7)},
		},
		{name: "put that was said not to be applied is seen", calls: []Call{at(none("a"), 0, 1), at(read("a"), 2, 3)}, bad: true},
		{name: "value from nowhere", calls: []Call{at(read("x"), 0, 1)}, bad: true},
		{name: "deletes what exists", calls: []Call{at(put("a"), 0, 1), at(del(1), 2, 3), at(read(""), 4, 5)}},
		{name: "retried delete counts 0", calls: []Call{at(put("a"), 0, 1), at(del(0), 2, 3), at(read(""), 4, 5)}, bad: true},
		{name: "deletes twice", calls: []Call{at(put("a"), 0, 1), at(del(1), 2, 3), at(del(1), 4, 5)}, bad: true},
		{name: "swaps", calls: []Call{at(swap("", "a"), 0, 1), at(swap("a", "b"), 2, 3), at(read("b"), 4, 5)}},
		{name: "swaps on an old value", calls: []Call{at(put("a"), 0, 1), at(put("b"), 2, 3), at(swap("a", "c"), 4, 5)}, bad: true},
		{
			name: "retried swap says no", bad: true,
			calls: []Call{at(put("a"), 0, 1), at(noSwap("a", "b", "b"), 2, 3), at(read("b"), 4, 5)},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found := CheckLinearizable(tc.calls)
			if got := len(found) > 0; got != tc.bad {
				t.Errorf("violations %v, want some: %v", found, tc.bad)
			}
		})
	}
}

func TestExplainNamesTheFirstInstant(t *testing.T) {
	calls := []Call{
		at(Call{Verb: Put, Value: "a"}, 0, 1), at(Call{Verb: Put, Value: "b"}, 2, 3),
		at(Call{Verb: Get, Got: "a"}, 4, 5), at(Call{Verb: Get, Got: "nowhere"}, 100, 101),
	}
	found := CheckLinearizable(calls)
	if len(found) != 1 || found[0].To != 5*time.Millisecond || strings.Contains(found[0].Text, "nowhere") {
		t.Errorf("got %v, want the stale read that ended at 5 ms", found)
	}
}

func TestCheckEndings(t *testing.T) {
	b := Bounds{Longest: 50 * time.Millisecond, Outages: []Window{{100 * time.Millisecond, 200 * time.Millisecond}}, Pace: Pace{{300 * time.Millisecond, 305 * time.Millisecond}}}
	for _, tc := range []struct {
		name string
		call Call
		rule string
	}{
		{"fine", at(Call{Verb: Put}, 0, 10), ""},
		{"fails while a majority serves", at(Call{Verb: Put, Ending: NotApplied}, 0, 10), "/available"},
		{"read fails while a majority serves", at(Call{Verb: Get, Ending: Untold}, 0, 10), "/available"},
		{"does not know whether a transaction was applied", at(Call{Verb: CAS, Ending: Unknown}, 0, 10), ""},
		{"does not know whether a put was applied", at(Call{Verb: Put, Ending: Unknown}, 0, 10), "/available"},
		{"does not know whether a put made a key", at(Call{Verb: Put, Ending: Unknown, Err: "exit code 76: etcdx: put \"k\": outcome unknown: the key did not exist, and a write that makes one is not sent twice: context"}, 0, 10), ""},
		{"does not know who deleted a key", at(Call{Verb: Del, Ending: Unknown, Err: "outcome unknown: the key was changed meanwhile, by this command or by somebody else"}, 0, 10), ""},
		{"does not know who put a key", at(Call{Verb: Put, Ending: Unknown, Err: "outcome unknown: the key was changed meanwhile, by this command or by somebody else"}, 0, 10), "/available"},
		{"does not know what was compacted", at(Call{Verb: Del, Ending: Unknown, Err: "outcome unknown: etcdserver: mvcc: required revision has been compacted"}, 0, 10), ""},
		{"fails in an outage", at(Call{Verb: Put, Ending: NotApplied}, 90, 110), ""},
		{"unknown in an outage", at(Call{Verb: Put, Ending: Unknown}, 190, 210), ""},
		{"says nothing about the outcome", at(Call{Verb: Put, Ending: Untold}, 110, 120), "/told"},
		{"takes too long", at(Call{Verb: Put}, 0, 60), "/bounded"},
		{"takes as long as the machine does", at(Call{Verb: Put}, 290, 350), ""},
		{"takes longer than the machine does", at(Call{Verb: Put}, 290, 351), "/bounded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			for _, v := range CheckEndings([]Call{tc.call}, b) {
				got += "/" + v.Rule
			}
			if got != tc.rule {
				t.Errorf("rule %q, want %q", got, tc.rule)
			}
		})
	}
}

func TestCheckEndingsExcusesContention(t *testing.T) {
	lost := at(Call{Client: "a", Verb: Put, Ending: Unknown}, 0, 10)
	for _, tc := range []struct {
		name  string
		other Call
		want  int
	}{
		{"another client's write meanwhile", at(Call{Client: "b", Verb: Del}, 5, 20), 0},
		{"another client's write before", at(Call{Client: "b", Verb: Del}, -5, -1), 1},
		{"another client's write of unknown outcome before", at(Call{Client: "b", Verb: CAS, Ending: Unknown}, -5, -1), 0},
		{"another client's read", at(Call{Client: "b", Verb: Get}, 5, 20), 1},
		{"its own write", at(Call{Client: "a", Verb: Put}, 5, 20), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if found := CheckEndings([]Call{lost, tc.other}, Bounds{Longest: time.Second}); len(found) != tc.want {
				t.Errorf("found %v, want %d", found, tc.want)
			}
		})
	}
}
