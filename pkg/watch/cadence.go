package watch

import "time"

// Seen is a compaction horizon, and between which times it was seen to be in force.
type Seen struct {
	Rev         int64
	First, Last time.Time
}

// Cadence is how the compactions of a cluster followed each other while somebody looked.
type Cadence struct {
	// Compactions is how many were seen to happen. The one before the first look is not among them: nobody knows when it was.
	Compactions int
	// Every is the mean time between two of them, Shortest the shortest; both 0 while fewer than two were seen.
	Every, Shortest time.Duration
	// Step is the mean number of revisions from one to the next.
	Step float64
	// last is the latest horizon, and when it was seen first.
	last Seen
}

// CadenceOf judges horizons that were seen, oldest first.
func CadenceOf(seen []Seen) Cadence {
	if len(seen) == 0 {
		return Cadence{}
	}
	c := Cadence{Compactions: len(seen) - 1, last: seen[len(seen)-1]}
	if c.Compactions < 2 {
		return c
	}
	n := c.Compactions - 1 // intervals
	first := seen[1]
	c.Every = c.last.First.Sub(first.First) / time.Duration(n)
	c.Step = float64(c.last.Rev-first.Rev) / float64(n)
	c.Shortest = c.Every
	for i := 2; i < len(seen); i++ {
		c.Shortest = min(c.Shortest, seen[i].First.Sub(seen[i-1].First))
	}
	return c
}

// Known says whether enough was seen to foretell anything.
func (c Cadence) Known() bool { return c.Every > 0 && c.Step > 0 }

// Loss foretells when a position at revision rev that does not move will be compacted, and by the how manieth compaction
// from now, if compactions go on as they did. One that is overdue counts as due now. ok is false when nothing can be foretold.
func (c Cadence) Loss(rev int64, now time.Time) (at time.Time, compactions int64, ok bool) {
	if !c.Known() {
		return time.Time{}, 0, false
	}
	if rev < c.last.Rev {
		return now, 0, true
	}
	compactions = int64(float64(rev-c.last.Rev)/c.Step) + 1
	wait := float64(compactions) * float64(c.Every)
	const century = 100 * 365 * 24 * time.Hour // longer does not fit into a Duration three times, and means never
	if wait > float64(century) {
		wait = float64(century)
	}
	at = c.last.First.Add(time.Duration(wait))
	if at.Before(now) {
		at = now
	}
	return at, compactions, true
}

// Look is how long to wait before the next look at the horizon: four looks to a compaction, within bounds that cost little.
func (c Cadence) Look() time.Duration {
	if !c.Known() {
		return 15 * time.Second
	}
	return min(max(c.Shortest/4, 5*time.Second), time.Minute)
}

// Within shortens the rules so that an idle watch moves at least twice between two compactions that are every apart; 0:
// unknown.
func (i Idle) Within(every time.Duration) Idle {
	if every <= 0 || i.After <= every/2 {
		return i
	}
	i.After = every / 2
	i.Lag = min(i.Lag, i.After/2)
	return i
}
