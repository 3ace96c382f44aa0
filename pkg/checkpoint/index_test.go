package checkpoint

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestIndexAgainstAMap does random changes, flushes and losses of what was not flushed to an index and to a map.
func TestIndexAgainstAMap(t *testing.T) {
	p := filepath.Join(t.TempDir(), "keys")
	x, err := OpenIndex(p)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	now, flushed, rev := map[string]Known{}, map[string]Known{}, int64(0)
	for i := range 10000 {
		// Now one key and now another is changed most, so that blocks are cut, emptied and given other first keys.
		key := fmt.Sprint(r.IntN(200 + i%1000))
		if r.IntN(50) == 0 {
			key += strings.Repeat("x", r.IntN(3000))
		}
		switch n := r.IntN(100); {
		case n < 60:
			k := Known{Create: int64(i), Mod: int64(i), Version: 1, Sum: uint32(i)}
			x.Set([]byte(key), k)
			now[key] = k
		case n < 96:
			x.Delete([]byte(key), int64(i))
			delete(now, key)
		case n < 99:
			rev++
			save := x.Flush
			if n < 98 {
				save = x.Log
			}
			if err := save(rev); err != nil {
				t.Fatal(err)
			}
			flushed = maps.Clone(now)
		default: // as after SIGKILL
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			if x, err = OpenIndex(p); err != nil {
				t.Fatal(err)
			}
			now = maps.Clone(flushed)
			if x.Rev() != rev {
				t.Fatalf("revision %d, want %d", x.Rev(), rev)
			}
		}
		if i%500 == 0 {
			compare(t, x, now)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, x *Index, want map[string]Known) {
	t.Helper()
	if n, err := x.Len(); err != nil || n != int64(len(want)) {
		t.Fatalf("%d keys, want %d: %v", n, len(want), err)
	}
	got := map[string]Known{}
	last, from := "", []byte{}
	for {
		page, err := x.Page(from, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			if string(e.Key) <= last {
				t.Fatalf("%q after %q", e.Key, last)
			}
			last = string(e.Key)
			got[last] = e.Known
		}
		if len(page) < 7 {
			break
		}
		from = append(slices.Clone(page[6].Key), 0)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("got %d keys, want %d", len(got), len(want))
	}
	for key, k := range want {
		if got, ok, err := x.Get([]byte(key)); err != nil || !ok || got != k {
			t.Fatalf("%s: %v %v %v", key, got, ok, err)
		}
	}
}

func TestDamagedIndexIsPutAside(t *testing.T) {
	p := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(p, []byte("this is no index, and long enough to be looked at twice"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := OpenIndex(p)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if x.Rev() != 0 {
		t.Errorf("revision %d", x.Rev())
	}
	if _, err := os.Stat(p + ".bad"); err != nil {
		t.Error(err)
	}
}

// A record that was cut off, or whose bytes are wrong, ends the log; the records before it count.
func TestIndexLogEndsWhereItIsDamaged(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut off":    func(b []byte) []byte { return b[:len(b)-3] },
		"wrong byte": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"more":       func(b []byte) []byte { return append(b, 0, 0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "keys")
			x, err := OpenIndex(p)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]Known{}
			for i := range 3 {
				k := Known{Create: int64(i), Mod: int64(i), Version: 1}
				x.Set([]byte{byte('a' + i)}, k)
				if i < 2 || name == "more" {
					want[string(rune('a'+i))] = k
				}
				if err := x.Log(int64(i + 1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(p + ".log")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p+".log", damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time it is whole again
				if x, err = OpenIndex(p); err != nil {
					t.Fatal(err)
				}
				if x.Rev() != int64(len(want)) {
					t.Errorf("revision %d, want %d", x.Rev(), len(want))
				}
				compare(t, x, want)
				if err := x.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// An index that another process has is neither shared nor put aside as a damaged one.
func TestIndexBelongsToOneProcess(t *testing.T) {
	p := filepath.Join(t.TempDir(), "keys")
	x, err := OpenIndex(p)
	if err != nil {
		t.Fatal(err)
	}
	x.Set([]byte("a"), Known{Create: 1, Mod: 1, Version: 1})
	if err := x.Log(1); err != nil {
		t.Fatal(err)
	}
	// The lock belongs to the open file, so that this process stands for another one.
	if y, err := OpenIndex(p); err == nil {
		t.Error("opened twice")
		_ = y.Close()
	}
	if _, err := os.Stat(p + ".bad"); err == nil {
		t.Error("put aside")
	}
	x = reopen(t, x, p)
	compare(t, x, map[string]Known{"a": {Create: 1, Mod: 1, Version: 1}})
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}
