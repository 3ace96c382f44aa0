//go:build linux

package main

import (
	"slices"
	"testing"
	"time"
)

func put(key, value string) Change { return Change{Key: key, Value: value} }
func del(key string) Change        { return Change{Key: key, Delete: true} }

// sample is a history with a neighbour's revision (4), a transaction (5) and a delete (6).
func sample() History {
	return History{
		2: {put("w/a", "1")}, 3: {put("w/b", "1")}, 4: {put("x", "1")}, 5: {put("w/a", "2"), put("w/c", "1")}, 6: {del("w/b")}, 7: {put("w/a", "3")},
	}
}

func send(rev int64, changes ...Change) []Entry {
	var entries []Entry
	for _, c := range changes {
		kind := "put"
		if c.Delete {
			kind = "delete"
		}
		entries = append(entries, Entry{Type: kind, Change: c, Rev: rev})
	}
	return entries
}

// from sends what the sample has from one revision to another.
func from(first, last int64) []Entry {
	var entries []Entry
	for rev := first; rev <= last; rev++ {
		entries = append(entries, send(rev, sample().Within(rev, "w/")...)...)
	}
	return entries
}

func resync(from, to int64, changes ...Change) []Entry {
	all := []Entry{{Type: "sync_begin", From: from, To: to}}
	for _, e := range send(0, changes...) {
		e.Sync = true
		all = append(all, e)
	}
	return append(all, Entry{Type: "sync_end", From: from, To: to})
}

func killed(before, after int64, parts ...[]Entry) WatchRun {
	return WatchRun{Row: "watch1", Prefix: "w/", Before: before, After: after, Entries: slices.Concat(parts...), Code: 137, Hurt: []Class{ProcKill}}
}

func asked(before, after int64, parts ...[]Entry) WatchRun {
	r := killed(before, after, parts...)
	r.Asked, r.Code, r.Hurt = true, 0, nil
	return r
}

func each(r WatchRun) WatchRun {
	r.Each = true
	return r
}

func TestCheckWatch(t *testing.T) {
	swap := []Entry{{Type: "put", Change: put("w/c", "1"), Rev: 5}, {Type: "put", Change: put("w/a", "2"), Rev: 5}}
	for _, tc := range []struct {
		name string
		runs []WatchRun
		want []string
	}{
		{name: "everything once", runs: []WatchRun{asked(1, 7, from(2, 7))}},
		{name: "killed and resumed", runs: []WatchRun{killed(1, 3, from(2, 3)), asked(3, 7, from(5, 7))}},
		{name: "position moved by progress", runs: []WatchRun{killed(1, 4, from(2, 3)), asked(4, 7, from(5, 7))}},
		{name: "sent again what was not saved", runs: []WatchRun{killed(1, 3, from(2, 6)), asked(3, 7, from(5, 7))}},
		{name: "sent again what was saved", runs: []WatchRun{killed(1, 3, from(2, 3)), asked(3, 7, from(3, 7))}, want: []string{"unique"}},
		{name: "sent twice by one process", runs: []WatchRun{asked(1, 7, from(2, 3), from(3, 7))}, want: []string{"atomic"}},
		{name: "sent twice by one process, later", runs: []WatchRun{asked(1, 7, from(2, 6), from(2, 2), from(7, 7))}, want: []string{"unique"}},
		{name: "out of order", runs: []WatchRun{asked(1, 7, from(3, 3), from(2, 2), from(5, 7))}, want: []string{"resumable", "ordered"}},
		{name: "gap while running", runs: []WatchRun{asked(1, 7, from(2, 2), from(5, 7))}, want: []string{"reliable"}},
		{name: "gap after a restart", runs: []WatchRun{killed(1, 2, from(2, 2)), asked(2, 7, from(5, 7))}, want: []string{"resumable"}},
		{name: "checkpoint ahead of the events", runs: []WatchRun{killed(1, 5, from(2, 3)), asked(5, 7, from(6, 7))}, want: []string{"bookmarkable", "state"}},
		{name: "checkpoint ahead of the cluster", runs: []WatchRun{asked(1, 9, from(2, 7))}, want: []string{"bookmarkable"}},
		{name: "checkpoint goes back", runs: []WatchRun{killed(1, 6, from(2, 6)), killed(6, 5), asked(5, 7, from(6, 7))}, want: []string{"bookmarkable"}},
		{name: "transaction torn by a kill", runs: []WatchRun{killed(1, 3, from(2, 3), send(5, put("w/a", "2"))), asked(3, 7, from(5, 7))}},
		{
			name: "checkpoint counts a torn transaction", runs: []WatchRun{killed(1, 5, from(2, 3), send(5, put("w/a", "2"))), asked(5, 7, from(6, 7))},
			want: []string{"bookmarkable", "state"},
		},
		{name: "transaction cut short", runs: []WatchRun{asked(1, 7, from(2, 3), send(5, put("w/a", "2")), from(6, 7))}, want: []string{"atomic", "state"}},
		{name: "transaction in another order", runs: []WatchRun{asked(1, 7, from(2, 3), swap, from(6, 7))}, want: []string{"atomic"}},
		{name: "wrong value", runs: []WatchRun{asked(1, 7, from(2, 6), send(7, put("w/a", "x")))}, want: []string{"atomic", "state"}},
		{name: "neighbour's event", runs: []WatchRun{asked(1, 7, from(2, 3), send(4, put("x", "1")), from(5, 7))}, want: []string{"atomic", "state"}},
		{name: "resync at the start", runs: []WatchRun{asked(0, 7, resync(0, 3, put("w/a", "1"), put("w/b", "1")), from(5, 7))}},
		{name: "resync after a compaction", runs: []WatchRun{
			killed(1, 3, from(2, 3)), asked(3, 7, resync(3, 6, del("w/b"), put("w/a", "2"), put("w/c", "1")), from(7, 7)),
		}},
		{name: "resync forgets a delete", runs: []WatchRun{
			killed(1, 3, from(2, 3)), asked(3, 7, resync(3, 6, put("w/a", "2"), put("w/c", "1")), from(7, 7)),
		}, want: []string{"resync", "state"}},
		{name: "resync killed, then done", runs: []WatchRun{
			killed(0, 0, resync(0, 3, put("w/a", "1"))[:2]), asked(0, 7, resync(0, 6, put("w/a", "2"), put("w/c", "1")), from(7, 7)),
		}},
		{name: "checkpoint counts a resync that was killed", runs: []WatchRun{
			killed(0, 3, resync(0, 3, put("w/a", "1"), put("w/b", "1"))[:2]), asked(3, 7, from(5, 7)),
		}, want: []string{"bookmarkable"}},
		{name: "event in the middle of a resync", runs: []WatchRun{
			asked(0, 7, append(resync(0, 3, put("w/a", "1"), put("w/b", "1"))[:3], append(from(5, 5)[:1], resync(0, 3)[1])...), from(5, 7)),
		}, want: []string{"ordered"}},
		{name: "event by event, with a resync", runs: []WatchRun{each(killed(1, 3, from(2, 3))), each(asked(3, 7, resync(3, 6, del("w/b"), put("w/a", "2"), put("w/c", "1"))[1:4], from(7, 7)))}},
		{name: "event by event, and one was lost", runs: []WatchRun{each(asked(1, 7, from(2, 5), from(7, 7)))}, want: []string{"state"}},
		{name: "event by event, last position not saved", runs: []WatchRun{each(asked(1, 6, from(2, 7)))}, want: []string{"saved"}},
		{name: "event by event, what was saved comes again", runs: []WatchRun{each(killed(1, 3, from(2, 3))), each(asked(3, 7, from(3, 7)))}, want: []string{"unique"}},
		{name: "last event not sent", runs: []WatchRun{asked(1, 6, from(2, 6))}, want: []string{"delivered", "state"}},
		{name: "last position not saved", runs: []WatchRun{asked(1, 6, from(2, 7))}, want: []string{"saved"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, v := range CheckWatch(tc.runs, sample(), 7) {
				got = append(got, v.Rule)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("rules %v, want %v: %v", got, tc.want, CheckWatch(tc.runs, sample(), 7))
			}
		})
	}
}

func TestCheckEndurance(t *testing.T) {
	outage := []Window{{10 * time.Second, 20 * time.Second}}
	run := func(from, to time.Duration) WatchRun {
		return WatchRun{From: from * time.Second, To: to * time.Second, Code: 5}
	}
	hurt := run(0, 5)
	hurt.Hurt = []Class{ProcKill}
	if found := CheckEndurance([]WatchRun{hurt, run(15, 16)}, outage); len(found) > 0 {
		t.Errorf("excused, but found %v", found)
	}
	if found := CheckEndurance([]WatchRun{run(0, 5)}, outage); len(found) != 1 {
		t.Errorf("a watch ended by itself, but found %v", found)
	}
}

func TestParseLog(t *testing.T) {
	x := `{"type":"sync_begin","from":0,"to":3}
{"key":"w/a","value":"1","mod_revision":2,"type":"put","revision":2,"i":0,"n":1,"source":"sync"}
{"type":"sync_end","from":0,"to":3}
{"key":"w/b","mod_revision":6,"type":"delete","revision":6,"i":0,"n":1,"source":"watch"}
{"key":"w/c","val`
	got, err := parseLog([]byte(x), false)
	if err != nil || len(got) != 4 || !got[1].Sync || got[1].Value != "1" || got[2].To != 3 || !got[3].Delete || got[3].Rev != 6 {
		t.Errorf("got %+v, %v", got, err)
	}
	ctl := `{"Header":{"revision":9},"Events":[{"kv":{"key":"dy9h","value":"MQ==","mod_revision":2}},{"type":1,"kv":{"key":"dy9i","mod_revision":3}}]}
watch was canceled (etcdserver: no leader)
`
	got, err = parseLog([]byte(ctl), true)
	if err != nil || len(got) != 2 || got[0].Key != "w/a" || got[0].Value != "1" || !got[1].Delete || got[1].Rev != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseLog([]byte("garbage\n"), false); err == nil {
		t.Error("garbage was read")
	}
}
