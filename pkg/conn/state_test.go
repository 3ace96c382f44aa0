package conn

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestStateOutlivesTheProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "endpoints.json")
	now := time.Unix(1_800_000_000, 0)
	fresh := func(endpoints ...string) *roster { return newRoster(endpoints, 30*time.Second) }
	order := func(at time.Time, endpoints ...string) []int {
		r := fresh(endpoints...)
		loadState(file, at, r)
		return r.order(at)
	}
	r := fresh("a", "b")
	r.failedAt(0, now, Refused)
	saveState(file, now, r)
	if got := order(now.Add(time.Second), "a", "b"); !slices.Equal(got, []int{1, 0}) {
		t.Errorf("the next process starts with %v", got)
	}
	if got := order(now.Add(time.Second), "b", "a"); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("in another order it starts with %v", got)
	}
	if got := order(now.Add(31*time.Second), "a", "b"); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("after retry-after it starts with %v", got)
	}
	if got := order(now.Add(time.Second), "a", "c"); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("with another cluster it starts with %v", got)
	}
	other := fresh("a", "c")
	other.failedAt(1, now, Silent)
	saveState(file, now, other)
	if got := order(now.Add(time.Second), "a", "b"); !slices.Equal(got, []int{1, 0}) {
		t.Errorf("another cluster's verdict has wiped out this one's: %v", got)
	}
	r.answered(0, time.Millisecond)
	saveState(file, now, r)
	if got := order(now.Add(time.Second), "a", "b"); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("after an answer it starts with %v", got)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the file: %v, %v", left, err)
	}
}

// Nothing about the file ever makes a call fail.
func TestStateFileBroken(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, content := range map[string]string{
		"empty": "", "not JSON": "\x00\x00\x00\x00", "another kind of JSON": `[1]`, "wrong types": `{"version":1,"clusters":{"x":3}}`,
		"nulls": `{"version":1,"clusters":{"[\"a\",\"b\"]":null}}`, "huge": string(make([]byte, 1<<20)),
		"from the future": `{"version":1,"clusters":{"[\"a\",\"b\"]":{"a":{"failed_at":"9999-01-01T00:00:00Z","reason":"refused"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newRoster([]string{"a", "b"}, 30*time.Second)
			loadState(file, now, r)
			if got := r.order(now); !slices.Equal(got, []int{0, 1}) {
				t.Errorf("order %v", got)
			}
			r.failedAt(0, now, Refused)
			saveState(file, now, r)
		})
	}
	t.Run("a newer version is left alone", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "f")
		const newer = `{"version":2,"clusters":{"[\"a\",\"b\"]":{"a":{"failed_at":"2027-01-15T07:59:59Z"}}}}`
		if err := os.WriteFile(file, []byte(newer), 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRoster([]string{"a", "b"}, 30*time.Second)
		loadState(file, now, r)
		r.failedAt(1, now, Refused)
		saveState(file, now, r)
		if b, _ := os.ReadFile(file); string(b) != newer {
			t.Errorf("it is now %s", b)
		}
	})
	t.Run("a directory, and one that cannot be made", func(t *testing.T) {
		dir := t.TempDir()
		blocker := filepath.Join(dir, "file")
		if err := os.WriteFile(blocker, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{dir, filepath.Join(blocker, "x"), "/proc/x/y"} {
			r := newRoster([]string{"a", "b"}, 30*time.Second)
			loadState(file, now, r)
			r.failedAt(0, now, Refused)
			saveState(file, now, r)
		}
	})
}
