package lock

import (
	"fmt"
	"time"
)

// Instant is a reading of a clock that never jumps and also runs while the machine is suspended (CLOCK_BOOTTIME where
// there is one). Only differences mean anything, but all processes of a machine read the same clock.
type Instant time.Duration

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// The parts of a lease's time, counted from when its last answered renewal was sent. The rest, from kill on, is what
// killing a tree takes on a starved machine, and covers clocks whose rates differ by up to 17 %.
const (
	suspectPart = 0.35 // nothing answered for so long: say it
	softPart    = 0.60 // ask the command to end
	hardPart    = 0.85 // it must be dead
)

// failover is the longest time that renewals were seen to fail when a leader dies, with etcd's default timeouts
// (2.44 s in 168 runs).
const failover = 2500 * time.Millisecond

// Tenure is what a holder may conclude from its own clock alone: until when its lease certainly lives. The server counts
// from the receipt of a renewal, which is later than its sending, so a tenure errs early, never late.
type Tenure struct {
	sent  Instant       // of the last answered renewal
	ttl   time.Duration // granted by the server, which may give more than was asked for
	grace time.Duration // between the two ends; 0: the default
}

// NewTenure starts with the grant of a lease, sent at sent. grace is how long the command gets between being asked to end
// and being killed; 0 means a quarter of ttl.
func NewTenure(sent Instant, ttl, grace time.Duration) Tenure {
	return Tenure{sent: sent, ttl: ttl, grace: grace}
}

// Renewed returns the tenure after the answer to a renewal that was sent at sent. It never goes back.
func (t Tenure) Renewed(sent Instant, ttl time.Duration) Tenure {
	if sent.Add(ttl) > t.End() {
		t.sent, t.ttl = sent, ttl
	}
	return t
}

// TTL returns the granted time to live.
func (t Tenure) TTL() time.Duration { return t.ttl }

// Sent returns when the last answered renewal was sent.
func (t Tenure) Sent() Instant { return t.sent }

// Grace returns how long a command may take to end when it is asked to.
func (t Tenure) Grace() time.Duration {
	if t.grace > 0 {
		return t.grace
	}
	return part(t.ttl, hardPart-softPart)
}

// Suspect returns when it is time to warn.
func (t Tenure) Suspect() Instant { return t.sent.Add(part(t.ttl, suspectPart)) }

// Soft returns when the command must be asked to end.
func (t Tenure) Soft() Instant { return t.Hard().Add(-t.Grace()) }

// Hard returns when the command must be killed.
func (t Tenure) Hard() Instant { return t.sent.Add(part(t.ttl, hardPart)) }

// End returns when somebody else may hold the lock.
func (t Tenure) End() Instant { return t.sent.Add(t.ttl) }

// Next returns when the next renewal is due: eight fit into a lease, so that several may fail.
func (t Tenure) Next() Instant { return t.sent.Add(t.every()) }

func (t Tenure) every() time.Duration {
	return min(max(t.ttl/8, 250*time.Millisecond), 2*time.Second)
}

// Attempt bounds one renewal. A follower that has lost its leader would sit on it for 7 s.
func (t Tenure) Attempt() time.Duration {
	return min(max(t.ttl/15, 250*time.Millisecond), time.Second)
}

// Killing returns when a command must be killed that was asked to end at asked, given the renewals answered since then.
func (t Tenure) Killing(asked Instant) Instant {
	return min(asked.Add(t.Grace()), t.Hard())
}

func part(ttl time.Duration, share float64) time.Duration { return time.Duration(float64(ttl) * share) }

// TTLError is a combination of times that would lose the lock for nothing.
type TTLError struct {
	TTL, Grace, Need time.Duration
}

// Error says what is needed.
func (e *TTLError) Error() string {
	if e.Grace > 0 {
		return fmt.Sprintf("a lease of %v leaves no room for a grace of %v: it needs --ttl %v or more", e.TTL, e.Grace, e.Need)
	}
	return fmt.Sprintf("a lease of %v is too short: it needs --ttl %v or more", e.TTL, e.Need)
}

// The shortest leases: etcd itself rounds up to 2 s, and below 6 s the death of a leader costs the lock.
const (
	leastTTL   = 2 * time.Second
	advisedTTL = 6 * time.Second
)

// CheckTTL says whether a lease of ttl can work with a grace (0: the default). risky: the death of a leader, which takes
// renewals away for 2.4 s, may end the command.
func CheckTTL(ttl, grace time.Duration) (risky bool, err error) {
	if ttl < leastTTL {
		return true, &TTLError{TTL: ttl, Need: leastTTL}
	}
	t := NewTenure(0, ttl, grace)
	if room := 2*t.every() + failover; grace > 0 && t.Soft().Sub(0) < room {
		need := ttl
		for need < 24*time.Hour {
			need += time.Second
			t = NewTenure(0, need, grace)
			if t.Soft().Sub(0) >= 2*t.every()+failover {
				break
			}
		}
		return true, &TTLError{TTL: ttl, Grace: grace, Need: need}
	}
	return ttl < advisedTTL, nil
}
