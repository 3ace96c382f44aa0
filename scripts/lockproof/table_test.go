package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheTableKeepsWhatWasNotRepeated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	begin, end := marks("etcdx")
	if err := os.WriteFile(file, []byte("before\n"+begin+"\n"+end+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{tool: "etcdx", ttl: 3, write: file}
	for _, step := range []struct {
		class string
		r     result
	}{
		{"resets", result{faults: 5, acquisitions: 100, overlaps: 2, counter: 30, lost: 1}},
		{"none", result{acquisitions: 250, counter: 80}},
		{"resets", result{faults: 7, acquisitions: 251, counter: 70, fenced: 3}},
	} {
		if err := writeResult(o, step.class, step.r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	date := time.Now().UTC().Format(time.DateOnly)
	want := "before\n" + begin + "\n" + tableHead +
		"| none | 0 | 250 | 0 | 0 | 0 | 80 | 0 | 0 | 3 s | " + date + " |\n" +
		"| resets | 7 | 251 | 0 | 0 | 3 | 70 | 0 | 0 | 3 s | " + date + " |\n" +
		"| **2 classes** | **7** | **501** | **0** | **0** | **3** | **150** | **0** | **0** | | |\n" +
		end + "\nafter\n"
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	o.tool = "etcdctl"
	if err := writeResult(o, "none", result{}); err == nil || !strings.Contains(err.Error(), "has no lines") {
		t.Errorf("a file without the marks: %v", err)
	}
}

func TestLimits(t *testing.T) {
	l := limits{every: time.Minute}
	if err := l.Set("5m,none=1h"); err != nil || l.get("none") != time.Hour || l.get("resets") != 5*time.Minute {
		t.Error(err, l)
	}
	if err := l.Set("2m"); err != nil || l.get("none") != 2*time.Minute {
		t.Error(err, l)
	}
	for _, bad := range []string{"nonsense=1m", "1", "none=x", ""} {
		if l.Set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
