package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// seeds returns which seeds to run: ETCDX_SCHEDULES of them, or few, from ETCDX_FIRST_SCHEDULE on.
func seeds(t *testing.T, few int) (first, end int) {
	t.Helper()
	first, _ = strconv.Atoi(os.Getenv("ETCDX_FIRST_SCHEDULE"))
	if n, err := strconv.Atoi(os.Getenv("ETCDX_SCHEDULES")); err == nil {
		few = n
	}
	return first, first + few
}

// alive is work that runs.
type alive struct {
	lease int64
	host  *host
}

// world is one schedule: contenders, their work, and what is wrong with it.
type world struct {
	m     *model
	links []*link
	mu    sync.Mutex
	alive map[int64]alive // by token
	wrong []string
	last  int64
	runs  int
}

func (w *world) fail(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf("%v: ", time.Now().Format("05.000"))+fmt.Sprintf(format, args...))
}

func (w *world) enter(h *Held, on *host) {
	on.awake()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs++
	w.alive[h.Token()] = alive{h.Lease(), on}
	w.pairs()
	if h.Token() <= w.last && !on.excused() {
		w.fail("token %d after %d", h.Token(), w.last)
	}
	w.last = max(w.last, h.Token())
}

// apart looks whether several are at work.
func (w *world) apart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pairs()
}

func (w *world) pairs() {
	var acting []int64
	for token, a := range w.alive {
		if !a.host.excused() {
			acting = append(acting, token)
		}
	}
	if len(acting) > 1 {
		w.fail("%v are at work", acting)
	}
}

func (w *world) exit(h *Held, on *host) {
	on.awake()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.alive, h.Token())
}

// expired is called when the server ends a lease by itself: no work may be alive under it.
func (w *world) expired(lease int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for token, a := range w.alive {
		if a.lease == lease && !a.host.excused() {
			w.fail("the lease of token %d ended while its work was alive", token)
		}
	}
}

// work lasts for some time, ends some time after it is asked to, or ignores that, and dies a moment after it is killed.
func (w *world) work(h *Held, on *host, rng *rand.Rand) Work {
	length := time.Duration(rng.Int64N(int64(15 * time.Second)))
	if rng.IntN(3) == 0 {
		length /= 20
	}
	stubborn, slow := rng.IntN(2) == 0, time.Duration(rng.Int64N(int64(time.Second)))
	return func(soft, hard context.Context) error {
		w.enter(h, on)
		defer w.exit(h, on)
		over := time.NewTimer(length)
		defer over.Stop()
		select {
		case <-over.C:
			return nil
		case <-soft.Done():
		}
		if !stubborn {
			pause(hard, slow)
		} else {
			<-hard.Done()
		}
		return context.Cause(soft)
	}
}

// contend takes the lock again and again.
func (w *world) contend(ctx context.Context, l *link, rng *rand.Rand, s schedule) {
	name := "a"
	if s.apart {
		name = fmt.Sprintf("a%d", rng.IntN(100))
	}
	for ctx.Err() == nil {
		r := Request{Name: name, TTL: 6 * time.Second, Delay: s.delay, Connect: 5 * time.Second, Try: rng.IntN(4) == 0}
		h, err := Acquire(ctx, l, l.host.clock, r)
		if err != nil {
			pause(ctx, 300*time.Millisecond)
			continue
		}
		err = h.Run(ctx, w.work(h, l.host, rng))
		if rng.IntN(8) == 0 && !errors.Is(err, ErrLost) {
			h.session.close() // the process dies: nothing is released
			continue
		}
		_ = h.Release(ctx, err)
	}
}

// schedule is one seed with what it goes through.
type schedule struct {
	seed  uint64
	chaos chaos
	hard  hardship
	delay time.Duration // the lock-delay
	// length is how long contenders begin anew.
	length time.Duration

	slow    float64     // planted: clocks run so much slower
	apart   bool        // planted: each contender takes a lock of its own
	cluster modelFaults // planted
}

// run returns what went wrong.
func (s schedule) run(t *testing.T) (wrong []string, runs int) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(s.seed, 1))
		m := newModel()
		m.faults = s.cluster
		w := &world{m: m, alive: map[int64]alive{}}
		m.expired = w.expired
		ctx, cancel := context.WithTimeout(t.Context(), s.length)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 2 + rng.IntN(2) {
			own := rand.New(rand.NewPCG(s.seed, uint64(i)+2))
			h := &host{start: time.Now(), rate: 0.9 + 0.2*own.Float64() - s.slow}
			l := &link{m: m, host: h, rng: rand.New(rand.NewPCG(s.seed, uint64(i)+100)), c: s.chaos, wg: &wg}
			w.links = append(w.links, l)
			wg.Go(func() { w.contend(ctx, l, own, s) })
		}
		w.befall(ctx, rng, s.hard)
		wg.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		wrong, runs = w.wrong, w.runs
	})
	return wrong, runs
}

// anyNetwork returns the schedule of a seed on a network that does anything, with a cluster that keeps its promises.
func anyNetwork(seed int) schedule {
	rng := rand.New(rand.NewPCG(uint64(seed), 7))
	delays := []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 1500 * time.Millisecond}
	c := chaos{lose: rng.IntN(150), loseReply: rng.IntN(150), late: rng.IntN(200), delay: delays[rng.IntN(4)], watch: 3 * time.Second, dead: rng.IntN(500)}
	return schedule{seed: uint64(seed), chaos: c, delay: AutoDelay, length: 40 * time.Second, hard: hardship{leader: rng.IntN(2) == 0, compact: rng.IntN(2) == 0, suspend: rng.IntN(3) == 0, cut: rng.IntN(2) == 0}}
}

// wrongfulRevocation returns the schedule of a seed with a cluster that takes living leases away.
func wrongfulRevocation(seed int) schedule {
	c := chaos{lose: 20, loseReply: 20, late: 20, delay: 50 * time.Millisecond, watch: 300 * time.Millisecond}
	return schedule{seed: uint64(seed), chaos: c, delay: AutoDelay, length: 20 * time.Second, hard: hardship{revoke: true, compact: seed%2 == 0}}
}

// unheard returns the schedule of a seed with a cluster that takes living leases away, and a network that keeps this from their holders. Successors
// wait for as long as those may go on.
func unheard(seed int) schedule {
	s := wrongfulRevocation(seed)
	s.hard.cut, s.delay, s.length = true, TTLDelay, 40*time.Second
	return s
}

// runAll runs the schedules of all seeds.
func runAll(t *testing.T, of func(seed int) schedule) {
	t.Helper()
	runs := 0
	first, end := seeds(t, 300)
	for seed := first; seed < end; seed++ {
		wrong, n := of(seed).run(t)
		runs += n
		if len(wrong) > 0 {
			t.Fatalf("seed %d: %q", seed, wrong)
		}
	}
	t.Logf("seeds %d to %d, %d acquisitions", first, end-1, runs)
	if runs == 0 {
		t.Error("nobody ever held the lock")
	}
}

// TestNoTwoHoldersWorkAtOnce: whatever the network loses, delays, repeats and reorders, with clocks up to 10 % off, leaders
// that come and go, history that is compacted and machines that are suspended, work has ended before its lease can, and no
// other work runs meanwhile.
func TestNoTwoHoldersWorkAtOnce(t *testing.T) { runAll(t, anyNetwork) }

// TestWrongfulRevocation: the server takes living leases away. A holder that hears of it within the lock-delay is dead
// before the next one starts.
func TestWrongfulRevocation(t *testing.T) { runAll(t, wrongfulRevocation) }

// TestUnheardRevocation: nobody tells a holder that the server took its living lease away. A successor that waits for a whole lease finds it gone.
func TestUnheardRevocation(t *testing.T) { runAll(t, unheard) }

// TestSchedulesFindPlantedFaults: these tests do not pass whatever happens.
func TestSchedulesFindPlantedFaults(t *testing.T) {
	for name, plant := range map[string]func(seed int) schedule{
		"leases end early": func(seed int) schedule {
			s := anyNetwork(seed)
			s.cluster.early = 2 * time.Second
			return s
		},
		"clocks run slow": func(seed int) schedule {
			s := anyNetwork(seed)
			s.slow = 0.4
			return s
		},
		"each has a lock of its own": func(seed int) schedule {
			s := anyNetwork(seed)
			s.apart = true
			return s
		},
		"no lock-delay": func(seed int) schedule {
			s := wrongfulRevocation(seed)
			s.delay = 0
			return s
		},
		"nobody tells the holder, and the lock-delay is the usual one": func(seed int) schedule {
			s := unheard(seed)
			s.delay = AutoDelay
			return s
		},
		"news come later than the lock-delay": func(seed int) schedule {
			s := wrongfulRevocation(seed)
			s.chaos.watch, s.delay = 8*time.Second, 300*time.Millisecond
			return s
		},
	} {
		found := false
		for seed := 0; seed < 300 && !found; seed++ {
			wrong, _ := plant(seed).run(t)
			if found = len(wrong) > 0; found {
				t.Logf("%s: seed %d: %s", name, seed, wrong[0])
			}
		}
		if !found {
			t.Errorf("not found: %s", name)
		}
	}
}
