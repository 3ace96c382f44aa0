package watch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ev is a put of key at revision rev.
func ev(rev int64, key string) *clientv3.Event {
	return &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev, CreateRevision: rev, Version: 1}}
}

func header(rev int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: rev} }

func created() *pb.WatchResponse { return &pb.WatchResponse{Created: true, Header: header(1)} }

func events(head int64, fragment bool, evs ...*clientv3.Event) *pb.WatchResponse {
	return &pb.WatchResponse{Header: header(head), Fragment: fragment, Events: evs}
}

func progress(rev int64) *pb.WatchResponse {
	return &pb.WatchResponse{WatchId: -1, Header: header(rev)}
}

// names renders events as "rev:key".
func names(evs []*clientv3.Event) []string {
	var s []string
	for _, e := range evs {
		s = append(s, fmt.Sprintf("%d:%s", e.GetKv().GetModRevision(), e.GetKv().GetKey()))
	}
	return s
}

func apply(t *testing.T, c *Cursor, resp *pb.WatchResponse) Step {
	t.Helper()
	step, err := c.Apply(resp)
	if err != nil {
		t.Fatal(err)
	}
	return step
}

// The header of a response with events is the store's present revision, which may be thousands ahead of the events.
func TestCursorIgnoresHeadersOfEvents(t *testing.T) {
	c := After(1)
	apply(t, c, created())
	apply(t, c, events(3501, false, ev(2, "a"), ev(3, "b")))
	if c.Position() != 3 {
		t.Errorf("position %d after events up to 3 under header 3501", c.Position())
	}
}

func TestCursorAtomic(t *testing.T) {
	c := After(1)
	apply(t, c, created())
	if s := apply(t, c, events(9, true, ev(2, "a"), ev(3, "b"))); !slices.Equal(names(s.Events), []string{"2:a"}) {
		t.Errorf("a fragment released %v, of which revision 3 is not whole", names(s.Events))
	}
	if c.Position() != 2 {
		t.Errorf("position %d inside revision 3", c.Position())
	}
	if s := apply(t, c, events(9, true, ev(3, "c"))); s.Events != nil {
		t.Errorf("released %v inside revision 3", names(s.Events))
	}
	if s := apply(t, c, events(9, false, ev(3, "d"))); !slices.Equal(names(s.Events), []string{"3:b", "3:c", "3:d"}) {
		t.Errorf("released %v", names(s.Events))
	}
}

func TestCursorReopensInsideARevision(t *testing.T) {
	c := After(1)
	apply(t, c, created())
	apply(t, c, events(9, true, ev(2, "a"), ev(3, "b")))
	c.Reopen()
	if c.Start() != 2 {
		t.Errorf("the next stream begins at %d", c.Start())
	}
	apply(t, c, created())
	s := apply(t, c, events(9, false, ev(2, "a"), ev(3, "b"), ev(3, "c")))
	if !slices.Equal(names(s.Events), []string{"3:b", "3:c"}) {
		t.Errorf("released %v", names(s.Events))
	}
}

func TestCursorBookmarkable(t *testing.T) {
	c := After(5)
	if s := apply(t, c, progress(9)); s.Progress != 0 {
		t.Error("a mark from before the watch was created was believed")
	}
	apply(t, c, created())
	if s := apply(t, c, progress(4)); s.Progress != 0 || c.Position() != 5 {
		t.Error("a mark from before the position moved it")
	}
	if s := apply(t, c, progress(9)); s.Progress != 9 || c.Position() != 9 {
		t.Errorf("progress %d, position %d", s.Progress, c.Position())
	}
	// A server with etcd #15220 sends events that its mark should have followed. They are late, but they are not lost.
	if s := apply(t, c, events(9, false, ev(7, "a"))); !slices.Equal(names(s.Events), []string{"7:a"}) || c.Late() != 1 {
		t.Errorf("released %v, late %d", names(s.Events), c.Late())
	}
	if c.Position() != 9 {
		t.Errorf("position went back to %d", c.Position())
	}
}

func TestCursorProgressDoesNotOvertakeAPartialRevision(t *testing.T) {
	c := After(1)
	apply(t, c, created())
	apply(t, c, events(9, true, ev(2, "a")))
	if s := apply(t, c, progress(9)); s.Progress != 0 || c.Position() != 1 {
		t.Errorf("position %d, but revision 2 is not whole", c.Position())
	}
}

func TestCursorUnique(t *testing.T) {
	c := After(4)
	apply(t, c, created())
	s := apply(t, c, events(9, false, ev(4, "a"), ev(5, "b")))
	s2 := apply(t, c, events(9, false, ev(3, "z"), ev(5, "b"), ev(6, "c"))) // a member that went back in time
	if got := append(names(s.Events), names(s2.Events)...); !slices.Equal(got, []string{"5:b", "6:c"}) {
		t.Errorf("released %v", got)
	}
}

func TestCursorOrdered(t *testing.T) {
	c := After(4)
	apply(t, c, created())
	_, err := c.Apply(events(9, false, ev(7, "a"), ev(6, "b")))
	if _, ok := errors.AsType[*DisorderError](err); !ok {
		t.Errorf("revision 6 after 7: %v", err)
	}
}

func TestCursorStartsOneEarly(t *testing.T) {
	if got := After(7).Start(); got != 7 {
		t.Errorf("after revision 7 the stream begins at %d: a compaction at 8 would hide a delete at 8 (etcd #18089)", got)
	}
	if got := Since(7).Start(); got != 7 {
		t.Errorf("--rev 7 begins at %d", got)
	}
	if got := After(0).Start(); got != 1 {
		t.Errorf("after revision 0 the stream begins at %d: 0 would mean the present", got)
	}
}

func TestCursorCompacted(t *testing.T) {
	c := After(4)
	_, err := c.Apply(&pb.WatchResponse{Canceled: true, CompactRevision: 12, Header: &pb.ResponseHeader{}})
	e, ok := errors.AsType[*CompactedError](err)
	if !ok || e.Oldest != 12 {
		t.Errorf("%v", err)
	}
}

// history is what a correct server has: revisions with one to five events each.
func history(r *rand.Rand, n int64) []*clientv3.Event {
	var all []*clientv3.Event
	for rev := int64(2); rev < n; rev++ {
		if r.IntN(4) == 0 {
			continue // a revision outside the range
		}
		for i := range 1 + r.IntN(5) {
			all = append(all, ev(rev, fmt.Sprint(i)))
		}
	}
	return all
}

// TestCursorAgainstAnyServer feeds a cursor from a simulated server that batches, fragments, marks progress and breaks
// streams at random. Whatever it does, what is released is the history, whole revision by whole revision.
func TestCursorAgainstAnyServer(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		all := history(r, 40)
		c := After(1)
		var got []*clientv3.Event
		for c.Position() < 39 {
			got = append(got, streamOnce(t, r, c, all)...)
		}
		if !slices.Equal(names(got), names(all)) {
			t.Fatalf("seed %d: released %v, want %v", seed, names(got), names(all))
		}
	}
}

// streamOnce plays one stream from the cursor's start, and may break it anywhere.
func streamOnce(t *testing.T, r *rand.Rand, c *Cursor, all []*clientv3.Event) (got []*clientv3.Event) {
	t.Helper()
	c.Reopen()
	apply(t, c, created())
	i := slices.IndexFunc(all, func(e *clientv3.Event) bool { return e.GetKv().GetModRevision() >= c.Start() })
	for i >= 0 && i < len(all) {
		if r.IntN(12) == 0 {
			return got
		}
		n := 1 + r.IntN(len(all)-i)
		end := i + n
		whole := end == len(all) || all[end].GetKv().GetModRevision() != all[end-1].GetKv().GetModRevision()
		s := apply(t, c, events(1000, !whole || r.IntN(3) == 0, all[i:end]...))
		i = end
		for _, rev := range Revisions(s.Events) {
			at := rev[0].GetKv().GetModRevision()
			want := slices.DeleteFunc(slices.Clone(all), func(e *clientv3.Event) bool { return e.GetKv().GetModRevision() != at })
			if len(want) != len(rev) {
				t.Fatalf("revision %d was released with %d of its %d events", at, len(rev), len(want))
			}
		}
		got = append(got, s.Events...)
		if whole && r.IntN(3) == 0 {
			apply(t, c, progress(all[end-1].GetKv().GetModRevision()))
		}
	}
	// The end of a fragmented message, and then the server's word that this was all.
	s := apply(t, c, events(1000, false))
	got = append(got, s.Events...)
	if len(c.partial) == 0 {
		apply(t, c, progress(39))
	}
	return got
}

func TestSoundProgress(t *testing.T) {
	for version, want := range map[string]bool{
		"3.4.23": false, "3.4.24": false, "3.4.25": true, "3.5.7": false, "3.5.8": true, "3.5.35": true, "3.6.0": true, "3.7.3": true,
		"3.5.8-rc.1": true, "3.3.27": false, "4.0.0": true, "": false, "3.5": false, "3.x.1": false,
	} {
		if got := SoundProgress(version); got != want {
			t.Errorf("SoundProgress(%q) = %v", version, got)
		}
	}
	for version, want := range map[string]bool{"3.4.25": false, "3.4.31": true, "3.5.12": false, "3.5.13": true, "3.6.0": true} {
		if got := AnswersProgress(version); got != want {
			t.Errorf("AnswersProgress(%q) = %v", version, got)
		}
	}
}

func TestRangeContains(t *testing.T) {
	for _, c := range []struct {
		r    Range
		key  string
		want bool
	}{
		{Range{Key: []byte("a")}, "a", true},
		{Range{Key: []byte("a")}, "ab", false},
		{Range{Key: []byte("a"), End: []byte("b")}, "ab", true},
		{Range{Key: []byte("a"), End: []byte("b")}, "b", false},
		{Range{Key: []byte("b"), End: []byte{0}}, "zzz", true},
		{Range{Key: []byte("b"), End: []byte{0}}, "a", false},
	} {
		if got := c.r.Contains([]byte(c.key)); got != c.want {
			t.Errorf("%q in [%q, %q): %v", c.key, c.r.Key, c.r.End, got)
		}
	}
}
