package cmd

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

// An answer of a coprocess acknowledges no more than was sent, and asks for no wait that never ends.
func FuzzAnswer(f *testing.F) {
	for _, line := range []string{`{"ack":7}`, `{"ack":-9223372036854775808}`, `{"ack":9223372036854775807}`, `{"nack":1,"after_ms":9223372036854775807}`, `{"reject":1,"reason":"x"}`, `{}`, `ack 7`, ``, `{"ack":1e3}`} {
		f.Add([]byte(line), int64(7), 3)
	}
	f.Fuzz(func(t *testing.T, line []byte, first int64, total int) {
		if total < 1 || total > 1<<20 || first < 1 || first > math.MaxInt64-1<<21 {
			return // numbers count up from 1
		}
		a := parseAnswer(line)
		if a.bad != nil {
			if len(a.bad.Error()) > 5*shownBytes {
				t.Errorf("%d bytes about a line of %d", len(a.bad.Error()), len(line))
			}
			return
		}
		if p := a.pause(); p < 0 || p > longestPause {
			t.Errorf("a pause of %v", p)
		}
		if a.Ack == nil {
			return
		}
		n, err := a.upTo(first, total)
		switch sent := *a.Ack < first+int64(total); {
		case sent != (err == nil):
			t.Errorf("ack %d of %d..: %v", *a.Ack, first, err)
		case n < 0 || n > total || err == nil && *a.Ack >= first && int64(n) != *a.Ack-first+1:
			t.Errorf("ack %d of %d groups from %d: %d", *a.Ack, total, first, n)
		}
	})
}

// A time from the command line is a time that can be computed with, in whole seconds where leases are meant.
func FuzzTimes(f *testing.F) {
	for _, s := range []string{"15", "1.5", "1m30s", "-1", "NaN", "Inf", "1e300", "2562047h47m16.854775807s", "0x1p62", "9223372036", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parseSeconds(text); err == nil && (d > maxSeconds*time.Second || d < -maxSeconds*time.Second) {
			t.Errorf("%q: %v", text, d)
		}
		var s wholeSeconds
		if err := s.Set(text); err == nil && (s < 0 || time.Duration(s)%time.Second != 0) {
			t.Errorf("--ttl %q: %v", text, time.Duration(s))
		}
		if d, err := parseTTL(text); err == nil && text != "" && (d < time.Second || d%time.Second != 0) {
			t.Errorf("put --ttl %q: %v", text, d)
		}
	})
}

// A fence that is understood names a key and a token above zero, and is written as it was read.
func FuzzFence(f *testing.F) {
	for _, s := range []string{"job/1a@7", "@7", "a@b@7", "a@-1", "a@9223372036854775808", "a@", ""} {
		f.Add(s)
	}
	g := &globals{env: func(string) (string, bool) { return "", false }}
	f.Fuzz(func(t *testing.T, text string) {
		fence, err := g.parseFence(text)
		if err == nil && fence != nil && (fence.key == "" || fence.token < 1 || !strings.HasPrefix(text, fence.key+"@")) {
			t.Errorf("%q: %+v", text, fence)
		}
	})
}

// The spec of a checkpoint, whatever it says, can be described on one line.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"key":"aw==","range_end":"bA==","only":"put","exec":["x"]}`))
	f.Add([]byte(`{"key":null,"grace_ns":-1,"queue_mib":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, spec []byte) {
		var s watchSpec
		if json.Unmarshal(spec, &s) != nil {
			return
		}
		if text := s.describe(); strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("%q", text)
		}
		if !s.same(s) {
			t.Error("it is another one than itself")
		}
	})
}

// A line of watch -i is divided into words that are no longer than the line.
func FuzzWords(f *testing.F) {
	f.Add(`watch --prefix "a b\n" 'c"' d`)
	f.Add(`"\`)
	f.Fuzz(func(t *testing.T, line string) {
		total := 0
		for _, w := range words(line) {
			total += len(w)
		}
		if total > 4*len(line)+4 { // an escape may be longer than its character
			t.Errorf("%q: words of %d bytes", line, total)
		}
	})
}

// Reports of a keeper are read line by line, and no line makes the front forget what it knew.
func FuzzReports(f *testing.F) {
	f.Add(`{"sent":5,"ttl":15000000000,"key":"a/1","token":7}` + "\n" + `{"child":9}` + "\n{\n")
	f.Fuzz(func(t *testing.T, text string) {
		news := make(chan guardReport, strings.Count(text, "\n")+1)
		readReports(strings.NewReader(text), news)
		var all guardReport
		for r := range news {
			before := all
			all = all.merge(r)
			if before.TTL > 0 && all.TTL == 0 || before.Done && !all.Done || before.Child != 0 && all.Child == 0 || all.Over < before.Over {
				t.Fatalf("%+v and %+v: %+v", before, r, all)
			}
		}
	})
}
