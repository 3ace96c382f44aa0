package lock

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// modelFaults is what a cluster goes through, and, for tests of the tests, what it does wrong.
type modelFaults struct {
	until     time.Time // no leader until then
	compacted int64     // history before this revision is gone

	early time.Duration // planted: leases end so much too early
}

func (f *modelFaults) leaderless(now time.Time) bool { return now.Before(f.until) }

// leaderUntil returns when the cluster has a leader again.
func (m *model) leaderUntil() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults.until
}

// changeLeader leaves the cluster without a leader for d. The new one gives every lease its whole time again, as etcd's does.
func (m *model) changeLeader(d time.Duration) {
	m.mu.Lock()
	m.faults.until = time.Now().Add(d)
	m.publish()
	m.mu.Unlock()
	time.Sleep(d) // in synctest's time
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leases {
		l.end = time.Now().Add(l.ttl)
	}
}

// compact forgets the history before the current revision.
func (m *model) compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.compacted = m.rev
}

func (m *model) hasCompacted(rev int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return rev < m.faults.compacted
}

// wrongfully revokes a lease, as a leader does that was paused for longer than its time, or deletes a key under a lease that lives.
func (m *model) wrongfully(rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := slices.Sorted(maps.Keys(m.leases))
	if len(ids) == 0 {
		return
	}
	id := ids[rng.IntN(len(ids))]
	if key := KeyOf("a", id); rng.IntN(2) == 0 && m.kvs[key] != nil {
		m.rev++
		m.remove(key)
		m.publish()
		return
	}
	m.revoke(id)
}

// host is a contender's machine. Its clock runs at a rate of its own; while the machine is suspended nothing on it runs,
// but the clock goes on.
type host struct {
	start time.Time
	rate  float64

	mu    sync.Mutex
	until time.Time // suspended until then
}

func (h *host) clock() Instant {
	h.awake()
	return Instant(1 + float64(time.Since(h.start))*h.rate)
}

// awake returns when the machine is not suspended.
func (h *host) awake() {
	if h == nil { // links without one
		return
	}
	for {
		h.mu.Lock()
		left := time.Until(h.until)
		h.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

func (h *host) suspend(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := time.Now().Add(d); until.After(h.until) {
		h.until = until
	}
}

// waking is how long a machine that was suspended may go on with what it has lost.
const waking = 100 * time.Millisecond

// excused says whether the machine is suspended, or has just woken up.
func (h *host) excused() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.until.Add(waking))
}

// cut keeps everything from being answered for d.
func (l *link) cut(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outage = time.Now().Add(d)
}

// hardship is what happens to the cluster and to the machines in a schedule.
type hardship struct {
	leader, compact, revoke, suspend, cut bool
}

// befall lets it happen, until ctx ends.
func (w *world) befall(ctx context.Context, rng *rand.Rand, hard hardship) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		pause(ctx, 100*time.Millisecond)
		w.m.tick()
		if hard.revoke && rng.IntN(40) == 0 {
			w.m.wrongfully(rng)
		}
		if hard.compact && rng.IntN(15) == 0 {
			w.m.compact()
		}
		if hard.leader && rng.IntN(60) == 0 && time.Now().After(w.m.leaderUntil()) {
			d := time.Duration(rng.Int64N(int64(5 * time.Second)))
			wg.Go(func() { w.m.changeLeader(d) })
		}
		if hard.cut && rng.IntN(60) == 0 {
			w.links[rng.IntN(len(w.links))].cut(time.Duration(rng.Int64N(int64(12 * time.Second))))
		}
		if hard.suspend && rng.IntN(80) == 0 {
			h, d := w.links[rng.IntN(len(w.links))].host, time.Duration(rng.Int64N(int64(12*time.Second)))
			h.suspend(d)
			wg.Go(func() { time.Sleep(d + waking + time.Millisecond); w.apart() })
		}
	}
}
