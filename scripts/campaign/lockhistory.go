//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CheckFences checks every write of a counter: in the revision before it, the key of the lock whose token it carries has to exist, and to be
// the one that was created at the token. The history tells, and no clock takes part.
func CheckFences(marks []Mark, h History, through int64, began time.Time) []Violation {
	created := map[string]int64{}
	var found []Violation
	for rev := int64(2); rev <= through; rev++ {
		for _, c := range h.Within(rev, counterPrefix) {
			_, fence, _ := strings.Cut(c.Value, " ")
			key, token, _ := strings.Cut(fence, "@")
			if token == strconv.FormatInt(created[key], 10) {
				continue
			}
			at := lastMark(marks, token).Sub(began)
			found = append(found, Violation{Workload: "lock", Rule: "fenced", From: max(0, at), To: max(0, at), Text: fmt.Sprintf(
				"%s = %q was written at revision %d, when that lock was lost: its key's create revision was %d", c.Key, c.Value, rev, created[key])})
		}
		for _, c := range h.Within(rev, lockPrefix) {
			switch {
			case c.Delete:
				delete(created, c.Key)
			case created[c.Key] == 0:
				created[c.Key] = rev
			}
		}
	}
	return found
}

// lastMark returns when the holder with a token was last heard of.
func lastMark(marks []Mark, token string) (at time.Time) {
	for _, m := range marks {
		if strconv.FormatInt(m.Token, 10) == token {
			at = m.At
		}
	}
	return at
}

// Started is what etcdx remembers of a run of Period.
type Started struct {
	Start time.Time `json:"last_start"`
	End   time.Time `json:"last_end"`
	Token int64     `json:"token"`
}

// CheckPeriods checks the runs that must not start too soon after one another: what etcdx remembers of them is far enough apart, each that
// began is remembered, and nobody was sent away without one that is recent enough. All read one clock: this machine's.
func CheckPeriods(holds []Hold, marks []Mark, h History, through int64, began time.Time) []Violation {
	var found []Violation
	add := func(rule, format string, args ...any) {
		found = append(found, Violation{Workload: "lock", Rule: rule, Text: fmt.Sprintf(format, args...)})
	}
	var all []Started
	of := map[int64]Started{}       // by token, as it was remembered before it began
	latest := map[int64]time.Time{} // by token: at its end, the start is when the lock was had, a little later
	for rev := int64(2); rev <= through; rev++ {
		for _, c := range h.Within(rev, statePrefix) {
			var s Started
			if err := json.Unmarshal([]byte(c.Value), &s); err != nil {
				add("checked", "%s = %q: %v", c.Key, c.Value, err)
			}
			latest[s.Token] = s.Start
			if _, again := of[s.Token]; again {
				continue // its end
			}
			if n := len(all); n > 0 && s.Start.Sub(all[n-1].Start) < period {
				add("period", "a run was started %v after the one before, at revision %d: tokens %d, %d", s.Start.Sub(all[n-1].Start), rev, all[n-1].Token, s.Token)
			}
			all, of[s.Token] = append(all, s), s
		}
	}
	for _, m := range marks {
		if s := of[m.Token]; m.Kind == Period && m.What == "start" && (s.Token == 0 || m.At.Before(s.Start)) {
			add("period", "%s runs with token %d, and that was not remembered before", m.Run, m.Token)
		}
	}
	for _, hold := range holds {
		recent := false
		for _, s := range all {
			recent = recent || s.Start.Sub(began) <= hold.To && hold.From-latest[s.Token].Sub(began) < period
		}
		if hold.skipped() && !recent {
			add("due", "it was sent away, and no run had started in the %v before: %s", period, hold)
		}
	}
	return found
}
