package conn

import (
	"slices"
	"time"
)

// defaultRetryAfter is how long an endpoint that failed is set aside, unless the options say otherwise.
const defaultRetryAfter = 30 * time.Second

// roster remembers how endpoints did and says in which order to try them. It holds values only: time comes in as an
// argument, and whoever shares a roster locks it.
//
// An endpoint that failed is set aside for a while: it comes after all others, the one that failed longest ago first,
// so that it is used when nothing better answers. The others keep the order in which they were given.
type roster struct {
	retryAfter time.Duration
	entries    []entry
}

// entry is what is known about one endpoint.
type entry struct {
	endpoint string
	failed   time.Time // the last failure; zero: none, or a success since
	reason   Reason    // of that failure
	latency  time.Duration
}

func newRoster(endpoints []string, retryAfter time.Duration) *roster {
	r := &roster{retryAfter: retryAfter, entries: make([]entry, len(endpoints))}
	for i, e := range endpoints {
		r.entries[i].endpoint = e
	}
	return r
}

// answered records that endpoint i served a call that took that long. It says whether this changed the verdict on i.
func (r *roster) answered(i int, took time.Duration) (changed bool) {
	e := &r.entries[i]
	changed = !e.failed.IsZero()
	e.failed, e.reason = time.Time{}, ""
	if e.latency == 0 {
		e.latency = took
	} else {
		// One slow answer must not make the next calls wait longer before they turn to another member: an eighth of
		// the difference, as TCP smooths its round-trip time (RFC 6298).
		e.latency += (took - e.latency) / 8
	}
	return changed
}

// failedAt records that endpoint i failed. It says whether this changed the verdict on i, or only prolonged it.
func (r *roster) failedAt(i int, at time.Time, why Reason) (changed bool) {
	e := &r.entries[i]
	changed = !r.aside(i, at) || e.reason != why
	e.failed, e.reason = at, why
	return changed
}

// aside says whether endpoint i is set aside at that time. A failure that lies in the future, as after a change of the
// clock, counts as long as one that just happened would.
func (r *roster) aside(i int, at time.Time) bool {
	f := r.entries[i].failed
	if f.IsZero() {
		return false
	}
	age := at.Sub(f)
	return age < r.retryAfter && age > -r.retryAfter
}

// order returns all endpoints, the one to try first in front.
func (r *roster) order(at time.Time) []int {
	all := make([]int, len(r.entries))
	for i := range all {
		all[i] = i
	}
	slices.SortStableFunc(all, func(a, b int) int {
		x, y := r.aside(a, at), r.aside(b, at)
		switch {
		case x && y:
			return r.entries[a].failed.Compare(r.entries[b].failed)
		case x:
			return 1
		case y:
			return -1
		}
		return 0
	})
	return all
}

// patience is how long a call may be out at endpoint i before another one is asked too. known says that a connection to i
// stands already. The bounds: a healthy member answers a read in about a millisecond, so that 40 ms mean trouble;
// a new connection with TLS takes a few round trips.
func (r *roster) patience(i int, known bool) time.Duration {
	if !known {
		return 120 * time.Millisecond
	}
	return min(max(8*r.entries[i].latency, 40*time.Millisecond), 200*time.Millisecond)
}
