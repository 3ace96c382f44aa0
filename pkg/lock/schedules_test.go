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

// schedules returns how many seeds to run: ETCDX_SCHEDULES, or few.
func schedules(t *testing.T, few int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("ETCDX_SCHEDULES")); err == nil {
		return n
	}
	return few
}

// world is one schedule: contenders, their work, and what is wrong with it.
type world struct {
	m     *model
	mu    sync.Mutex
	alive map[int64]int64 // token -> lease of the work that runs
	wrong []string
	last  int64
	runs  int
}

func (w *world) fail(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf("%v: ", time.Now().Format("05.000"))+fmt.Sprintf(format, args...))
}

func (w *world) enter(h *Held) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs++
	if len(w.alive) > 0 {
		w.fail("token %d starts while %v is alive", h.Token(), w.alive)
	}
	if h.Token() <= w.last {
		w.fail("token %d after %d", h.Token(), w.last)
	}
	w.last = h.Token()
	w.alive[h.Token()] = h.Lease()
}

func (w *world) exit(h *Held) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.alive, h.Token())
}

// expired is called when the server ends a lease by itself: no work may be alive under it.
func (w *world) expired(lease int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for token, l := range w.alive {
		if l == lease {
			w.fail("the lease of token %d ended while its work was alive", token)
		}
	}
}

// work lasts for some time, ends some time after it is asked to, or ignores that, and dies a moment after it is killed.
func (w *world) work(h *Held, rng *rand.Rand) Work {
	length := time.Duration(rng.Int64N(int64(8 * time.Second)))
	stubborn, slow := rng.IntN(2) == 0, time.Duration(rng.Int64N(int64(time.Second)))
	return func(soft, hard context.Context) error {
		w.enter(h)
		defer w.exit(h)
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

// contend takes the lock again and again. Its clock runs at a rate of its own.
func (w *world) contend(ctx context.Context, l *link, rng *rand.Rand) {
	start, rate := time.Now(), 0.9+0.2*rng.Float64()
	clock := func() Instant { return Instant(1 + float64(time.Since(start))*rate) }
	for ctx.Err() == nil {
		r := Request{Name: "a", TTL: 6 * time.Second, Delay: AutoDelay, Connect: 5 * time.Second, Try: rng.IntN(4) == 0}
		h, err := Acquire(ctx, l, clock, r)
		if err != nil {
			pause(ctx, 300*time.Millisecond)
			continue
		}
		err = h.Run(ctx, w.work(h, rng))
		if rng.IntN(8) == 0 && !errors.Is(err, ErrLost) {
			h.session.close() // the process dies: nothing is released
			continue
		}
		_ = h.Release(ctx, err)
	}
}

// schedule runs one seed and returns what went wrong.
func schedule(t *testing.T, seed uint64, c chaos, revoke bool) (wrong []string, runs int) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newModel()
		w := &world{m: m, alive: map[int64]int64{}}
		m.expired = w.expired
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 2 + rng.IntN(2) {
			own := rand.New(rand.NewPCG(seed, uint64(i)+2))
			l := &link{m: m, rng: rand.New(rand.NewPCG(seed, uint64(i)+100)), c: c, wg: &wg}
			wg.Go(func() { w.contend(ctx, l, own) })
			if rng.IntN(3) == 0 && !revoke {
				after := time.Duration(rng.Int64N(int64(15 * time.Second)))
				wg.Go(func() { // cut off for a while
					pause(ctx, after)
					l.mu.Lock()
					l.outage = time.Now().Add(time.Duration(l.rng.Int64N(int64(12 * time.Second))))
					l.mu.Unlock()
				})
			}
		}
		for ctx.Err() == nil {
			pause(ctx, 100*time.Millisecond)
			m.tick()
			if revoke && rng.IntN(40) == 0 {
				m.wrongfully(rng)
			}
		}
		wg.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		wrong, runs = w.wrong, w.runs
	})
	return wrong, runs
}

// wrongfully revokes a lease, as a leader does that was paused for longer than its time.
func (m *model) wrongfully(rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.leases { // in random order
		if rng.IntN(2) == 0 {
			m.revoke(id)
			return
		}
	}
}

// TestNoTwoHoldersWorkAtOnce: whatever the network loses, delays, repeats and reorders, with clocks up to 10 % off, work has
// ended before its lease can, and no other work runs meanwhile.
func TestNoTwoHoldersWorkAtOnce(t *testing.T) {
	runs := 0
	for seed := range schedules(t, 300) {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		delays := []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 1500 * time.Millisecond}
		c := chaos{lose: rng.IntN(150), loseReply: rng.IntN(150), late: rng.IntN(200), delay: delays[rng.IntN(4)], watch: 3 * time.Second, dead: rng.IntN(500)}
		wrong, n := schedule(t, uint64(seed), c, false)
		runs += n
		if len(wrong) > 0 {
			t.Fatalf("seed %d: %q", seed, wrong)
		}
	}
	t.Logf("%d acquisitions", runs)
	if runs == 0 {
		t.Error("nobody ever held the lock")
	}
}

// TestWrongfulRevocation: the server takes living leases away. A holder that hears of it within the lock-delay is dead
// before the next one starts.
func TestWrongfulRevocation(t *testing.T) {
	runs := 0
	for seed := range schedules(t, 300) {
		c := chaos{lose: 20, loseReply: 20, late: 20, delay: 50 * time.Millisecond, watch: 300 * time.Millisecond}
		wrong, n := schedule(t, uint64(seed), c, true)
		runs += n
		if len(wrong) > 0 {
			t.Fatalf("seed %d: %q", seed, wrong)
		}
	}
	t.Logf("%d acquisitions", runs)
	if runs == 0 {
		t.Error("nobody ever held the lock")
	}
}
