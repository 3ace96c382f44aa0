package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	manyHosts = 50
	periods   = 60
)

// TestOneRunPerPeriod: 50 hosts start the same short job every hour, at once or at times that are minutes apart, while
// leaders change. Each hour has one run.
func TestOneRunPerPeriod(t *testing.T) {
	for kind, once := range map[string]func(hour int) Once{
		"at most every": func(int) Once { return Once{Every: 40 * time.Minute} },
		"once":          func(hour int) Once { return Once{ID: fmt.Sprint(hour), Keep: 24 * time.Hour} },
		"success only":  func(int) Once { return Once{Every: 40 * time.Minute, OnSuccess: true} },
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				m := newModel()
				rng := rand.New(rand.NewPCG(1, 1))
				var cluster, hosts sync.WaitGroup
				cluster.Go(func() {
					for pause(ctx, time.Second) {
						m.tick()
						if rng.IntN(300) == 0 {
							m.changeLeader(time.Duration(rng.Int64N(int64(4 * time.Second))))
						}
					}
				})
				var mu sync.Mutex
				runs := make([]int, periods)
				for i := range manyHosts {
					own := rand.New(rand.NewPCG(2, uint64(i)))
					l := &link{m: m, rng: rand.New(rand.NewPCG(3, uint64(i))), c: chaos{lose: 10, loseReply: 10, delay: 40 * time.Millisecond}, wg: &cluster}
					hosts.Go(func() {
						everyHour(func(hour int) {
							if hour%2 == 0 { // else all at once
								pause(ctx, time.Duration(own.Int64N(int64(25*time.Minute))))
							}
							err := runOnce(ctx, patient{l}, once(hour), func() {
								mu.Lock()
								defer mu.Unlock()
								runs[hour]++
							})
							if _, skipped := errors.AsType[*SkippedError](err); err != nil && !skipped {
								t.Error(err)
							}
						})
					})
				}
				hosts.Wait()
				cancel()
				cluster.Wait()
				if slices.ContainsFunc(runs, func(n int) bool { return n != 1 }) {
					t.Errorf("runs per hour: %v", runs)
				}
			})
		})
	}
}

// patient asks again when there is no answer, as the connection layer does.
type patient struct{ *link }

func (p patient) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return again(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) { return p.link.Get(ctx, key, opts...) })
}

func (p patient) Grant(ctx context.Context, lease int64, ttl time.Duration) error {
	_, err := again(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, p.link.Grant(ctx, lease, ttl) })
	return err
}

// A run whose mark needs a lease gets one, however often the cluster grants it without an answer.
func TestARunTakesOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		s := &unanswered{link: &link{m: m, rng: rand.New(rand.NewPCG(1, 1)), wg: &sync.WaitGroup{}}, times: 3}
		err := runOnce(t.Context(), s, Once{ID: "x", Keep: 7 * 24 * time.Hour}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		if s.times != 0 || len(m.leases) != 1 {
			t.Errorf("%d leases are left, want that of the mark alone; %d answers are still to be lost", len(m.leases), s.times)
		}
	})
}

// unanswered grants leases that last for hours without saying so, several times.
type unanswered struct {
	*link
	times int
}

func (u *unanswered) Grant(ctx context.Context, lease int64, ttl time.Duration) error {
	err := u.link.Grant(ctx, lease, ttl)
	if err == nil && ttl > time.Hour && u.times > 0 {
		u.times--
		<-ctx.Done()
		err = errNetwork
	}
	return err
}

func again[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	for {
		actx, cancel := context.WithTimeout(ctx, time.Second)
		v, err := call(actx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return v, err
		}
	}
}

// everyHour calls do at the beginning of each of the hours.
func everyHour(do func(hour int)) {
	start := time.Now()
	for hour := range periods {
		time.Sleep(time.Until(start.Add(time.Duration(hour) * time.Hour)))
		do(hour)
	}
}

// runOnce is one line of a crontab, with a command that takes 10 ms.
func runOnce(ctx context.Context, s Store, o Once, run func()) error {
	h, err := Acquire(ctx, s, bubbleClock(), Request{Name: "a", TTL: 15 * time.Second, Delay: AutoDelay, Once: o})
	if err != nil {
		return err
	}
	err = h.Run(ctx, func(_, hard context.Context) error { run(); pause(hard, 10*time.Millisecond); return nil })
	_ = h.Release(ctx, err) // the lease may have to end by itself
	return err
}

// skewed counts the runs per hour of 50 hosts whose clocks are up to skew off, either way, and which begin up to spread
// after the hour, each by its own clock. A new leader may give the period's lease up to its whole time again.
func skewed(o Once, skew, spread time.Duration, rng *rand.Rand) []int {
	type start struct {
		hour        int
		real, local time.Time
	}
	var starts []start
	epoch := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for range manyHosts {
		off := time.Duration(rng.Int64N(int64(2*skew))) - skew
		for hour := range periods {
			local := epoch.Add(time.Duration(hour)*time.Hour + time.Duration(rng.Int64N(int64(spread))))
			starts = append(starts, start{hour, local.Add(-off), local})
		}
	}
	slices.SortFunc(starts, func(a, b start) int { return a.real.Compare(b.real) })
	runs := make([]int, periods)
	var last []byte
	var end time.Time // of the lease
	for _, s := range starts {
		if last != nil {
			if _, due := o.due(last, s.real.Before(end), s.local); !due {
				continue
			}
		}
		runs[s.hour]++
		last, _ = json.Marshal(Run{Start: s.local})
		end = s.real.Add(o.Every + time.Duration(rng.Int64N(int64(o.Every))))
	}
	return runs
}

// TestOneRunPerPeriodWhateverTheClocks: clocks may differ by less than the least time between two runs, and still each hour
// has one run. With clocks further apart it has not: this test is able to fail.
func TestOneRunPerPeriodWhateverTheClocks(t *testing.T) {
	o := Once{Every: 50 * time.Minute}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		runs := skewed(o, time.Second+time.Duration(rng.Int64N(int64(20*time.Minute))), 8*time.Minute, rng)
		if slices.ContainsFunc(runs, func(n int) bool { return n != 1 }) {
			t.Fatalf("seed %d: runs per hour: %v", seed, runs)
		}
	}
	if runs := skewed(o, time.Hour, 8*time.Minute, rand.New(rand.NewPCG(1, 1))); slices.Max(runs) < 2 {
		t.Errorf("clocks two hours apart do no harm: %v", runs)
	}
}
