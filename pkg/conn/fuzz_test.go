package conn

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An endpoint that is understood leads somewhere.
func FuzzParseEndpoint(f *testing.F) {
	for _, e := range []string{"127.0.0.1:2379", "http://h:1", "https://[::1]:2379", "unix:///tmp/s", "unixs:p", "localhost", "ftp://h:1", "http://u:p@h:1/x", ":1", "[::1]", "http://%zz:1"} {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, e string) {
		a, err := parseEndpoint(e)
		if err == nil && (a.addr == "" || a.network != "tcp" && a.network != "unix") {
			t.Errorf("%q: %+v", e, a)
		}
	})
}

// Whatever the file of verdicts holds, it sets aside nothing but what it says of these endpoints within the time, and it can be
// written again.
func FuzzStateFile(f *testing.F) {
	now := time.Unix(1_800_000_000, 0).UTC()
	f.Add([]byte(`{"version":1,"clusters":{"[\"a:1\",\"b:1\"]":{"a:1":{"failed_at":"2027-01-15T07:59:55Z","reason":"refused"},"c:1":{}}}}`))
	f.Add([]byte(`{"version":2,"clusters":null}`))
	f.Add([]byte(`{"version":1,"clusters":{"x":{"a:1":null}}}`))
	f.Add([]byte("\x00"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(dir, "endpoints.json")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRoster([]string{"a:1", "b:1"}, 10*time.Second)
		loadState(file, now, r)
		for i := range r.entries {
			if later := now.Add(10*time.Second + time.Nanosecond); r.aside(i, later) {
				t.Errorf("endpoint %d is set aside for longer than the time for that", i)
			}
		}
		s, ours := readState(file)
		r.failedAt(0, now, Refused)
		saveState(file, now, r)
		if after, ok := readState(file); ours && (!ok || after.Clusters[stateKey(r)]["a:1"].Reason != Refused) {
			t.Errorf("%v was not replaced: %v", s, after)
		}
	})
}
