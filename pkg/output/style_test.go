package output

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestStyleFollowsItsStreamAndTheEnvironment(t *testing.T) {
	for _, c := range []struct {
		when     ColorWhen
		terminal bool
		env      string
		want     bool
	}{
		{"auto", true, "TERM=xterm", true},
		{"auto", false, "TERM=xterm", false},
		{"auto", true, "", false}, // cron, test suites
		{"auto", true, "TERM=dumb", false},
		{"auto", true, "TERM=xterm NO_COLOR=1", false},
		{"auto", true, "TERM=xterm NO_COLOR=", true},
		{"auto", true, "TERM=xterm CLICOLOR=0", false},
		{"auto", false, "CLICOLOR_FORCE=1", true},
		{"auto", false, "CLICOLOR_FORCE=0", false},
		{"auto", false, "FORCE_COLOR=1", true},
		{"auto", false, "FORCE_COLOR=1 NO_COLOR=1", false},
		{"always", false, "NO_COLOR=1", true},
		{"never", true, "TERM=xterm CLICOLOR_FORCE=1", false},
		{"", true, "TERM=xterm", true},
	} {
		env := map[string]string{}
		for _, kv := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
		}
		s := NewStyle(c.when, c.terminal, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		got := s.Paint("x", 31) != "x"
		if got != c.want {
			t.Errorf("--color=%s, terminal %t, %q: coloured %t, want %t", c.when, c.terminal, c.env, got, c.want)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, c := range []struct{ in, value, key string }{
		{"plain", "plain", "plain"},
		{"a\tb\nc", "a\tb\nc", `a\x09b\x0ac`},
		{"\x1b]0;x\a\r", `\x1b]0;x\x07\x0d`, `\x1b]0;x\x07\x0d`},
		{"\x00\x7f\xff\x80é", `\x00\x7f\xff\x80é`, `\x00\x7f\xff\x80é`},
		{"\u009b31m", `\u009b31m`, `\u009b31m`},
		{"a\u202eb\u2066", `a\u202eb\u2066`, `a\u202eb\u2066`},
		{"日本\ufffd", "日本\ufffd", "日本\ufffd"},
	} {
		if got := Escape(c.in, false); got != c.value {
			t.Errorf("value %q: got %s, want %s", c.in, got, c.value)
		}
		if got := Escape(c.in, true); got != c.key {
			t.Errorf("key %q: got %s, want %s", c.in, got, c.key)
		}
	}
}

// Whatever is in keys and values, in no format does it reach a terminal as something to obey.
func FuzzTerminalIsSafe(f *testing.F) {
	f.Add([]byte("\x1b[31m"), []byte("\u009b\x00\x7f\r\u202e\xff"))
	f.Fuzz(func(t *testing.T, key, val []byte) {
		kv := &mvccpb.KeyValue{Key: key, Value: val, ModRevision: 1, Version: 1}
		for _, format := range []Format{Simple, Fields, JSON, Protobuf, JSONL, YAML, Value} {
			for name, answer := range map[string]any{
				"get": &clientv3.GetResponse{Kvs: []*mvccpb.KeyValue{kv}},
				"put": &clientv3.PutResponse{PrevKv: kv},
				"del": &clientv3.DeleteResponse{PrevKvs: []*mvccpb.KeyValue{kv}},
				"watch": &clientv3.WatchResponse{Events: []*clientv3.Event{
					{Type: mvccpb.Event_PUT, Kv: kv}, {Type: mvccpb.Event_DELETE, Kv: kv, PrevKv: kv},
				}},
			} {
				text := ours(t, Options{Format: format, Terminal: true}, answer)
				if at := strings.IndexFunc(text, obeyed); at >= 0 || !utf8.ValidString(text) {
					t.Errorf("%s as %s: %q", name, format, text)
				}
				if format == JSONL && !json.Valid([]byte(strings.TrimSpace(strings.SplitN(text, "\n", 2)[0]))) {
					t.Errorf("%s: no JSON: %q", name, text)
				}
			}
		}
	})
}

// obeyed says whether a terminal may do more with r than show it. A newline comes from the format, or from a value.
func obeyed(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || strings.ContainsRune("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c", r)
}

func TestKeysOnATerminalStayOnTheirLine(t *testing.T) {
	kv := &mvccpb.KeyValue{Key: []byte("a\nb"), Value: []byte("c\nd")}
	got := ours(t, Options{Format: Simple, Terminal: true}, &clientv3.GetResponse{Kvs: []*mvccpb.KeyValue{kv}})
	if want := fmt.Sprintf("%s\nc\nd\n", `a\x0ab`); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
