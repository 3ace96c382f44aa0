//go:build unix

package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func toldFile(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "told")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	putA    = `{"type":"put","key":"a","value":"1","id":"c/2/0","revision":2}`
	putB    = `{"type":"put","key":"b","value":"2","id":"c/3/0","revision":3}`
	deleteA = `{"type":"delete","key":"a","id":"c/4/0","revision":4}`
)

func TestAccountFindsWhatAWatchGetsWrong(t *testing.T) {
	keys := []string{"a", "b"}
	for name, tc := range map[string]struct {
		lines []string
		want  account
	}{
		"all well":     {[]string{putA, putB, deleteA}, account{}},
		"one missing":  {[]string{putA, deleteA}, account{missing: 1}},
		"one twice":    {[]string{putA, putB, putA}, account{again: 1}},
		"out of order": {[]string{putB, putA}, account{disorder: true}},
		"nothing":      {nil, account{missing: 2}},
	} {
		if got := takeAccount(readTold(toldFile(t, tc.lines...)), keys); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestStateFollowsDeletesAndIgnoresHalfLines(t *testing.T) {
	first := toldFile(t, putA, putB, deleteA)
	half := toldFile(t, putA)
	text, err := os.ReadFile(half)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(half, text[:len(text)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"b": "2"}
	if got := state(readTold(first, half, "no such file")); !maps.Equal(got, want) {
		t.Errorf("state is %v, want %v", got, want)
	}
}

func TestTicksFindTheLongestPause(t *testing.T) {
	file := toldFile(t, "1000", "1100", "1500", "1600")
	for now, want := range map[int64]time.Duration{1600: 400 * time.Millisecond, 2600: time.Second} {
		got := readTicks(file, time.UnixMilli(now))
		if got.count != 4 || got.gap != want {
			t.Errorf("at %d: %+v, want 4 ticks and %v", now, got, want)
		}
	}
}

func TestLagIsTheLongestWait(t *testing.T) {
	var l lag
	at := time.UnixMilli
	l.add("a", at(1000))
	l.add("b", at(1100))
	l.look(nil, at(1200))
	l.look([]told{{Key: "a"}}, at(1400)) // a was 400 ms late
	l.look([]told{{Key: "a"}, {Key: "b"}}, at(1450))
	l.look(nil, at(9000)) // nothing is waited for any more
	if l.worst != 400*time.Millisecond {
		t.Errorf("worst is %v, want 400ms", l.worst)
	}
}

func TestAFalseClaimIsCounted(t *testing.T) {
	var out strings.Builder
	d := &stage{out: &out}
	d.claim(true, "water is wet")
	d.claim(false, "%d is odd", 2)
	if d.claims != 2 || d.wrong != 1 || !strings.Contains(out.String(), "FALSE  2 is odd") {
		t.Errorf("%d claims, %d wrong: %s", d.claims, d.wrong, out.String())
	}
}
