package checkpoint

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// lookUp returns the keys of all pages of two.
func lookUp(t *testing.T, x *Index) (keys []string) {
	t.Helper()
	for from := []byte{}; ; {
		page, err := x.Page(from, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			keys = append(keys, string(e.Key))
		}
		if len(page) < 2 {
			return keys
		}
		from = append(page[1].Key, 0)
	}
}

func reopen(t *testing.T, x *Index, path string) *Index {
	t.Helper()
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x, err := OpenIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func put(key string, rev int64) Change { return Change{Key: []byte(key), Rev: rev} }
func del(key string, rev int64) Change { return Change{Key: []byte(key), Rev: rev, Deleted: true} }

// What the handler may have been told survives a SIGKILL at any step, and is not taken for what it acknowledged.
func TestAnnouncedKeysOutliveTheProcess(t *testing.T) {
	set := func(key string, rev int64) func(*Index) error {
		return func(x *Index) error { x.Set([]byte(key), Known{Create: rev, Mod: rev, Version: 1}); return x.Log(rev) }
	}
	gone := func(key string, rev int64) func(*Index) error {
		return func(x *Index) error { x.Delete([]byte(key), rev); return x.Log(rev) }
	}
	say := func(c ...Change) func(*Index) error { return func(x *Index) error { return x.Announce(c) } }
	flush := func(rev int64) func(*Index) error { return func(x *Index) error { return x.Flush(rev) } }
	for name, c := range map[string]struct {
		steps     []func(*Index) error
		page      []string
		len       int64
		announced int
	}{
		"a new key":                             {[]func(*Index) error{say(put("a", 5))}, []string{"a"}, 0, 1},
		"acknowledged":                          {[]func(*Index) error{say(put("a", 5)), set("a", 5)}, []string{"a"}, 1, 0},
		"a known key":                           {[]func(*Index) error{set("a", 4), say(put("a", 5))}, []string{"a"}, 1, 0},
		"a known key in the database":           {[]func(*Index) error{set("a", 4), flush(4), say(put("a", 5))}, []string{"a"}, 1, 0},
		"flushed in between":                    {[]func(*Index) error{say(put("a", 5)), set("b", 4), flush(4), set("c", 4)}, []string{"a", "b", "c"}, 2, 1},
		"flushed and acknowledged":              {[]func(*Index) error{say(put("a", 5)), set("b", 4), flush(4), set("a", 5), flush(5)}, []string{"a", "b"}, 2, 0},
		"made, deleted, made: the last is open": {[]func(*Index) error{say(put("a", 5), del("a", 6), put("a", 7)), set("a", 5), gone("a", 6)}, []string{"a"}, 0, 1},
		"known, deleted, made again":            {[]func(*Index) error{set("a", 4), say(del("a", 6), put("a", 7)), gone("a", 6)}, []string{"a"}, 0, 1},
		"all of it acknowledged":                {[]func(*Index) error{say(put("a", 5), del("a", 6)), set("a", 5), gone("a", 6)}, nil, 0, 0},
		"another key's event":                   {[]func(*Index) error{say(put("b", 5)), set("c", 9)}, []string{"b", "c"}, 1, 1},
		"among many": {[]func(*Index) error{
			set("a", 1), set("c", 2), flush(2), set("d", 3), say(put("b", 5), put("e", 5), put("f", 5), put("c", 5)),
		}, []string{"a", "b", "c", "d", "e", "f"}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "keys")
			x, err := OpenIndex(p)
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.steps {
				if err := c.steps[i](x); err != nil {
					t.Fatal(err)
				}
				x = reopen(t, x, p)
			}
			if got := lookUp(t, x); !slices.Equal(got, c.page) {
				t.Errorf("pages hold %v, want %v", got, c.page)
			}
			if n, err := x.Len(); n != c.len || err != nil || x.Announced() != c.announced {
				t.Errorf("%d keys and %d announced, want %d and %d (%v)", n, x.Announced(), c.len, c.announced, err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The database takes the announcements over in the transaction that makes the log's records void: killed between that and
// the clearing of the log, nothing is lost, and nothing is announced that was acknowledged.
func TestAnnouncedKeysOutliveAFlushThatWasCutShort(t *testing.T) {
	p := filepath.Join(t.TempDir(), "keys")
	x, err := OpenIndex(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Announce([]Change{put("a", 5), put("b", 6)}); err != nil {
		t.Fatal(err)
	}
	x.Set([]byte("a"), Known{Mod: 5})
	if err := x.Log(5); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(p + ".log")
	if err != nil {
		t.Fatal(err)
	}
	for name, log := range map[string][]byte{"not cleared": before, "cleared": nil} {
		if err := x.Flush(5); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p+".log", log, 0o600); err != nil {
			t.Fatal(err)
		}
		if x, err = OpenIndex(p); err != nil {
			t.Fatal(err)
		}
		if got := lookUp(t, x); !slices.Equal(got, []string{"a", "b"}) || !maps.Equal(x.announced, map[string]int64{"b": 6}) {
			t.Errorf("%s: %v, announced %v", name, got, x.announced)
		}
		x.Set([]byte("a"), Known{Mod: 5, Version: 2}) // something to flush
	}
	x.Settle()
	if err := x.Flush(5); err != nil {
		t.Fatal(err)
	}
	if x = reopen(t, x, p); x.Announced() != 0 {
		t.Errorf("a resync left %d announced", x.Announced())
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}
