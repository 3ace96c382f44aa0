package conn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// readAll reads keys, which are sorted, in pages as a server would answer, and returns them with the numbers of calls and of keys counted.
func readAll(t *testing.T, keys [][]byte, start, end []byte, size int) (got [][]byte, calls, counted int) {
	t.Helper()
	p := pager{pos: start, end: end}
	for {
		sliceEnd, limit := p.ask()
		if bytes.Compare(sliceEnd, p.pos) <= 0 && !bytes.Equal(sliceEnd, []byte{0}) {
			t.Fatalf("the slice [%q, %q) is empty", p.pos, sliceEnd)
		}
		if !bytes.Equal(end, []byte{0}) && bytes.Compare(sliceEnd, end) > 0 {
			t.Fatalf("the slice ends at %q, behind %q", sliceEnd, end)
		}
		var page []*mvccpb.KeyValue
		more := false
		i, _ := slices.BinarySearchFunc(keys, p.pos, bytes.Compare)
		for ; i < len(keys) && (bytes.Equal(sliceEnd, []byte{0}) || bytes.Compare(keys[i], sliceEnd) < 0); i++ {
			counted++
			if int64(len(page)) < limit {
				page = append(page, &mvccpb.KeyValue{Key: keys[i], Value: make([]byte, size)})
				got = append(got, keys[i])
			} else {
				more = true
			}
		}
		if calls++; calls > 100+len(keys) {
			t.Fatalf("no end after %d calls, at %q of [%q, %q)", calls, p.pos, start, end)
		}
		if p.got(page, more, sliceEnd, limit) {
			return got, calls, counted
		}
	}
}

func TestPagerReadsEveryKeyOnceAndCountsFew(t *testing.T) {
	shapes := map[string]func(i int) string{
		"decimal":  func(i int) string { return fmt.Sprintf("k/%08d", i) },
		"hex":      func(i int) string { return fmt.Sprintf("k/%06x", i*7) },
		"unpadded": func(i int) string { return fmt.Sprintf("k/%d", i) },
		"nested":   func(i int) string { return fmt.Sprintf("k/ns-%d/pod-%d/%s", i%50, i, "status") },
		"binary":   func(i int) string { return fmt.Sprintf("k/%c%c%c", i>>16, i>>8&255, i&255) },
		"runs":     func(i int) string { return "k/" + string(bytes.Repeat([]byte{'x'}, i%500)) + fmt.Sprint(i) },
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			var keys [][]byte
			for i := range 200000 {
				keys = append(keys, []byte(shape(i)))
			}
			slices.SortFunc(keys, bytes.Compare)
			got, calls, counted := readAll(t, keys, []byte("k/"), []byte("k0"), 256)
			if !slices.EqualFunc(got, keys, bytes.Equal) {
				t.Fatalf("got %d keys, want %d, each once and in order", len(got), len(keys))
			}
			// Without slices it would be 20 calls and 2,000,000 keys. Keys that get longer and longer cannot be guessed.
			if calls > 60 || counted > 8*len(keys) && name != "runs" {
				t.Errorf("%d calls, %d keys counted", calls, counted)
			}
		})
	}
}

func TestPagerAsksForWhatFits(t *testing.T) {
	page := func(n, size int) []*mvccpb.KeyValue {
		var kvs []*mvccpb.KeyValue
		for i := range n {
			kvs = append(kvs, &mvccpb.KeyValue{Key: fmt.Appendf(nil, "%08d", i), Value: make([]byte, size)})
		}
		return kvs
	}
	for _, c := range []struct {
		keys, size int
		want       int64
	}{
		{1000, 0, 16000}, {1000, 100, 16000}, {1000, 256, 11377}, {1000, 10_000, 326}, {10, 1_500_000, 2}, {1, 4_000_000, 1},
	} {
		p := pager{pos: []byte("0"), end: []byte("9")}
		p.got(page(c.keys, c.size), true, p.end, firstPage)
		if _, got := p.ask(); got != c.want {
			t.Errorf("after %d keys of %d bytes: limit %d, want %d", c.keys, c.size, got, c.want)
		}
	}
}

func FuzzPager(f *testing.F) {
	f.Add(uint64(1), uint16(3000), uint8(8), uint8(3), "", "\x00")
	f.Add(uint64(2), uint16(2000), uint8(2), uint8(255), "\x00", "\xff")
	f.Add(uint64(3), uint16(5000), uint8(20), uint8(1), "\x01", "\x01\x00\x00")
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, length, alphabet uint8, start, end string) {
		if start == "" || end == "" || end != "\x00" && start >= end {
			t.Skip("no range")
		}
		r := rand.New(rand.NewPCG(seed, 0))
		var keys [][]byte
		for range n {
			key := make([]byte, 1+r.IntN(int(length)+1))
			for i := range key {
				key[i] = byte(r.IntN(int(alphabet) + 1))
			}
			keys = append(keys, key)
		}
		slices.SortFunc(keys, bytes.Compare)
		keys = slices.CompactFunc(keys, bytes.Equal)
		var want [][]byte
		for _, k := range keys {
			if string(k) >= start && (end == "\x00" || string(k) < end) {
				want = append(want, k)
			}
		}
		if got, _, _ := readAll(t, keys, []byte(start), []byte(end), 64<<10); !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("got %d keys, want %d, each once and in order", len(got), len(want))
		}
	})
}
