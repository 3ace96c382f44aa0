package lock

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// foreignValues are what other programs write into the keys of their locks.
func foreignValues() []string {
	return []string{
		"", // etcdctl, concurrency.Mutex, jetcd
		"\xd9\x9e\x13\x1e\x1a\x8b\x11\xf0\x97\x4b\x02\x42\xac\x11\x00\x02", // python-etcd3: the bytes of a UUID
		"0",                    // aetcd
		`{"host":"a","pid":1}`, // home-made
		`{"lock_key":"a/1","host":["a"],"pid":"1"}`, // this one's fields with other types
		`{"lock_key":"a/1","mode":"sem","slots":3,"weight":-1}`,
		`{"lock_key":"a/1","mode":"sem","slots":9223372036854775807,"weight":9223372036854775807}`,
		`{"lock_key":"a/1","mode":"shared","weight":1e400}`,
		strings.Repeat("[", 20000),
		"\x00\xff",
	}
}

// A value that is read as a holder's can be written, and means the same then.
func FuzzParseHolder(f *testing.F) {
	for _, v := range foreignValues() {
		f.Add([]byte(v))
	}
	r := Request{Name: "a", Holder: Holder{Host: "h", User: "u", PID: 3, Command: "c"}, Claim: Claim{Mode: Semaphore, Slots: 3, Weight: 1}}
	f.Add([]byte(newHolder(&r, "a/1", 15*time.Second).encode()))
	f.Fuzz(func(t *testing.T, value []byte) {
		h, ok := ParseHolder(value)
		if !ok {
			return
		}
		again, ok := ParseHolder([]byte(h.encode()))
		if !ok || !again.CreateTime.Equal(h.CreateTime) || again.Host != h.Host || again.Claim != h.Claim {
			t.Errorf("%+v was written as %s", h, h.encode())
		}
		who := Contender{Key: "a/1", Value: value}.Who()
		if strings.ContainsFunc(who, unicode.IsControl) || len(who) > 8*plainBytes {
			t.Errorf("%q", who)
		}
	})
}

// Text by others is one line without control characters, and not long.
func FuzzPlain(f *testing.F) {
	f.Add("\x1b[31m\u009b\u202e\n" + strings.Repeat("ä", 300))
	f.Fuzz(func(t *testing.T, text string) {
		got := Plain(text)
		if strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) || !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
		if len(got) > 10*plainBytes {
			t.Errorf("%d bytes", len(got))
		}
	})
}

// A queue of any values keeps an exclusive contender out while anybody is ahead of it, and a semaphore's weights within its slots.
func FuzzQueue(f *testing.F) {
	for _, v := range foreignValues() {
		f.Add(v, `{"mode":"sem","slots":3,"weight":2}`, `{"mode":"shared"}`)
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var kvs []*mvccpb.KeyValue
		for i, v := range []string{a, b, c} {
			kvs = append(kvs, &mvccpb.KeyValue{Key: []byte("n/" + string(rune('1'+i))), Value: []byte(v), CreateRevision: int64(9 - i)})
		}
		q := newQueue("n", kvs)
		if len(q) != 3 {
			t.Fatalf("%d contenders", len(q))
		}
		held := q.Holders()
		sum := 0
		for _, h := range held {
			if h.Claim.Mode == Exclusive && len(held) > 1 || h.Claim.Mode != held[0].Claim.Mode {
				t.Fatalf("held by %+v", held)
			}
			if sum += h.Claim.Weight; h.Claim.Mode == Semaphore && (sum < 1 || sum > h.Claim.Slots) {
				t.Fatalf("held by %+v", held)
			}
		}
		if len(held) == 0 {
			t.Fatal("nobody is first")
		}
	})
}

// A run is skipped only by a record of a start within the period.
func FuzzDue(f *testing.F) {
	now := time.Unix(1_800_000_000, 0).UTC()
	last, err := json.Marshal(Run{Start: now.Add(-time.Minute), Host: "h", Token: 3})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(last, true)
	f.Add([]byte("{"), true)
	f.Add([]byte(`{"last_start":"0001-01-01T00:00:00Z"}`), true)
	f.Fuzz(func(t *testing.T, last []byte, open bool) {
		r, due := Once{Every: time.Hour}.due(last, open, now)
		if !due && (!open || now.Sub(r.Start) >= time.Hour) {
			t.Errorf("%s: skipped for %+v", last, r)
		}
	})
}
