//go:build linux

package main

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestCheckFences(t *testing.T) {
	// Two hold the lock, one after the other: the first from revision 2 to 4, the second from 5 on.
	before := History{2: {put("lock/a/1f", "")}, 3: {put("lock/a/1f", "again")}, 4: {del("lock/a/1f")}, 5: {put("lock/a/2f", "")}}
	for _, tc := range []struct {
		name, value string
		want        int
	}{
		{"by who holds the lock", "7 lock/a/2f@5", 0},
		{"by who held it before", "7 lock/a/1f@2", 1},
		{"with the same key, of another life", "7 lock/a/2f@2", 1},
		{"with no token", "7", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := History{6: {put("counter/lock/a", tc.value)}}
			for rev, changes := range before {
				h[rev] = changes
			}
			if got := CheckFences(nil, h, 6, time.Now()); len(got) != tc.want {
				t.Errorf("violations %v, want %d", got, tc.want)
			}
		})
	}
}

func TestCheckPeriods(t *testing.T) {
	began := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	run := func(at time.Duration, token int64) []Change {
		return []Change{put("_etcdx/state/lock/p", fmt.Sprintf(`{"last_start":%q,"token":%d}`, began.Add(at).Format(time.RFC3339Nano), token))}
	}
	start := func(at time.Duration, token int64) Mark {
		return Mark{Kind: Period, What: "start", Token: token, At: began.Add(at)}
	}
	skip := func(from, to time.Duration) Hold { return Hold{Kind: Period, Code: skipCode, From: from, To: to} }
	const s = time.Second
	for _, tc := range []struct {
		name  string
		h     History
		marks []Mark
		holds []Hold
		want  []string
	}{
		{name: "far enough apart", h: History{2: run(s, 2), 3: run(s, 2), 5: run(s+period, 5)}, marks: []Mark{start(s, 2), start(2*s+period, 5)}},
		{name: "too soon", h: History{2: run(s, 2), 5: run(s+period-1, 5)}, want: []string{"period"}},
		{name: "not remembered", h: History{2: run(s, 2)}, marks: []Mark{start(9*s, 7)}, want: []string{"period"}},
		{name: "remembered when it ran already", h: History{2: run(s, 2)}, marks: []Mark{start(s/2, 2)}, want: []string{"period"}},
		{name: "sent away", h: History{2: run(s, 2)}, holds: []Hold{skip(period, period+s)}},
		{name: "sent away by one that started meanwhile", h: History{2: run(3*s, 2)}, holds: []Hold{skip(2*s, 4*s)}},
		{name: "sent away by one that had the lock later than it asked", h: History{2: run(s, 2), 3: run(2*s, 2)}, holds: []Hold{skip(s+period, 2*s+period)}},
		{name: "sent away by one that asked before and had the lock after that", h: History{2: run(3*s, 2), 3: run(5*s, 2)}, holds: []Hold{skip(2*s, 4*s)}},
		{name: "sent away though due", h: History{2: run(s, 2)}, holds: []Hold{skip(2*s+period, 3*s+period)}, want: []string{"due"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := rules(CheckPeriods(tc.holds, tc.marks, tc.h, 9, began)); !slices.Equal(got, tc.want) {
				t.Errorf("rules %v, want %v", got, tc.want)
			}
		})
	}
}
