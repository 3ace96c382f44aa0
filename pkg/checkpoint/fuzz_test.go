package checkpoint

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// Whatever a file holds, reading it is one of the documented errors or a state; and a state that was read can be written and is
// the same when it is read again. The parts are put where a file has them: as one input of several slots, mostly blank, they
// would be mutated in vain.
func FuzzCheckpoint(f *testing.F) {
	line := func(s State) []byte {
		slot, err := encode(s, minSlot)
		if err != nil {
			f.Fatal(err)
		}
		return bytes.TrimRight(slot, " ")
	}
	s := State{Format: Format, Seq: 3, ClusterID: 7, Rev: 42, Phase: "live", Spec: json.RawMessage(`{"key":"aw=="}`), Anchor: &Anchor{Key: []byte("k"), Mod: 42}}
	older := State{Format: Format, Seq: 1, Spec: json.RawMessage(`null`)}
	newer := s
	newer.Format = Format + 1
	head := bytes.TrimRight(headLine(minSlot), " ")
	f.Add(head, line(s), line(older), []byte{})
	f.Add(head, line(older), line(newer), line(s))
	f.Add(head, []byte{}, line(s)[:40], []byte("{} crc32c=00000000\n"))
	f.Add([]byte("etcdx-checkpoint 2 slot=-1 slots=3\n"), []byte{}, []byte{}, []byte{})
	f.Add([]byte{}, []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, first, a, b, c []byte) {
		head := make([]byte, headBytes)
		copy(head, first)
		slot, err := parseHead("f", head)
		if err != nil {
			wantKnownError(t, err)
			return
		}
		if slot < minSlot || slot > maxSlot {
			t.Fatalf("slots of %d bytes", slot)
		}
		slot = minSlot // larger ones hold no more
		all := make([]byte, slots*slot)
		for i, part := range [][]byte{a, b, c} {
			copy(all[i*slot:(i+1)*slot], part)
		}
		checkSlots(t, all, slot)
	})
}

func checkSlots(t *testing.T, all []byte, slot int) {
	t.Helper()
	s, at, err := newest("f", all, slot)
	if err != nil {
		wantKnownError(t, err)
		return
	}
	if at < 0 || at >= slots {
		t.Fatalf("slot %d", at)
	}
	b, err := encode(s, 8*slot) // "<" is longer in JSON
	if err != nil || b == nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	if again, ok := decode(b); !ok || !sameState(s, again) {
		t.Fatalf("written as %+v, read as %+v", s, again)
	}
}

func wantKnownError(t *testing.T, err error) {
	t.Helper()
	switch err.(type) {
	case *CorruptError, *NewerError:
	default:
		t.Fatalf("%T: %v", err, err)
	}
}

// sameState compares what the states mean: JSON knows no difference between spellings of the same field.
func sameState(a, b State) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	if err1 != nil || err2 != nil {
		return false
	}
	var u, v any
	return json.Unmarshal(x, &u) == nil && json.Unmarshal(y, &v) == nil && reflect.DeepEqual(u, v)
}

// A log of the key index gives what was written before the first damage, is cut off there, and can be written on.
func FuzzIndexLog(f *testing.F) {
	log := func(write func(l *indexLog)) []byte {
		path := filepath.Join(f.TempDir(), "log")
		l, err := openIndexLog(path)
		if err != nil {
			f.Fatal(err)
		}
		write(l)
		_ = l.file.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	known := []change{{"a", &Known{Create: 1, Mod: 2, Version: 3, Sum: 4}}, {"b", nil}}
	two := log(func(l *indexLog) {
		_, _ = l.append(1, 2, known), l.announce(1, 2, []string{"c"}, map[string]int64{"c": 3})
	})
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, file []byte) {
		path := filepath.Join(dir, "log")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func() (records []record) {
			l, err := openIndexLog(path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.file.Close()
			if err := l.replay(func(r record) { records = append(records, r) }); err != nil {
				t.Fatal(err)
			}
			if err := l.append(7, 8, []change{{"new", nil}}); err != nil {
				t.Fatal(err)
			}
			return records
		}
		first := read()
		second := read()
		if len(second) != len(first)+1 || !reflect.DeepEqual(first, second[:len(first)]) && len(first) > 0 {
			t.Fatalf("%d records, and then %d after one more", len(first), len(second))
		}
		if _, ok := second[len(first)].changes["new"]; !ok {
			t.Fatalf("the record behind the cut is %v", second[len(first)])
		}
	})
}

// A state of a newer minor version keeps the fields that this one does not know, and samples stay in order.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"v":1,"seq":2,"cluster_id":"7","rev":3,"later":{"a":[1]},"spec":{}}`), int64(100), int64(9))
	f.Add([]byte(`{"V":1,"Spec":null,"SPEC":1}`), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, text []byte, unix, rev int64) {
		var s State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("read, but not written: %v", err)
		}
		var again State
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatalf("written as %s: %v", b, err)
		}
		if len(again.unknown) != len(s.unknown) {
			t.Fatalf("%d unknown fields, and then %d", len(s.unknown), len(again.unknown))
		}
		before := len(s.Samples)
		s.AddSample(time.Unix(unix, 0), rev)
		if len(s.Samples) > max(before, keepSamples) {
			t.Fatalf("%d samples", len(s.Samples))
		}
	})
}
