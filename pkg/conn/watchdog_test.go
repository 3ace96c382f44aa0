package conn

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	const ms = time.Millisecond
	type member struct {
		takes time.Duration // to answer a probe
		fails bool          // then with an error
		from  time.Duration // from then on
	}
	well, second := member{takes: ms}, member{takes: 2 * ms}
	cases := []struct {
		name   string
		sick   member   // member 0 is well until sick.from
		others []member // from the start
		events time.Duration
		next   int
	}{
		{"all is well", member{from: time.Hour}, []member{well, second}, 0, 0},
		{"it falls silent", member{takes: time.Hour, from: time.Second}, []member{well, second}, 0, 1},
		{"it has no leader", member{takes: ms, fails: true, from: time.Second}, []member{well, second}, 0, 1},
		{"nobody answers: an election", member{takes: time.Hour, from: time.Second}, []member{{takes: time.Hour}, {takes: ms, fails: true}}, 0, 0},
		{"the second of the others answers", member{takes: time.Hour, from: time.Second}, []member{{takes: time.Hour}, well}, 0, 2},
		{"slow, but in time", member{takes: 340 * ms, from: time.Second}, []member{well, second}, 0, 0},
		{"silent to probes while events arrive: found out by the steady probe", member{takes: time.Hour, from: time.Second}, []member{well, second}, 50 * ms, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				failed := false
				w := watchdog{
					probe: func(ctx context.Context, i int) error {
						m := well
						if i > 0 {
							m = c.others[i-1]
						} else if time.Since(begun) >= c.sick.from {
							m = c.sick
						}
						if !sleep(ctx, m.takes) {
							return ctx.Err()
						}
						if m.fails {
							return errors.New("no leader")
						}
						return nil
					},
					others: func() []int { return []int{1, 2} },
					heard: func() time.Time {
						if c.events == 0 {
							return time.Time{}
						}
						return begun.Add(time.Since(begun).Truncate(c.events))
					},
					failed: func(i int, _ Reason) { failed = i == 0 },
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				next := w.run(ctx, 0)
				took := time.Since(begun)
				if next != c.next || failed != (c.next != 0) {
					t.Errorf("moved to %d, want %d; told the roster: %v", next, c.next, failed)
				}
				most := c.sick.from + pulse + pulseLimit
				if c.events > 0 {
					most = c.sick.from + steady + pulseLimit
				}
				if c.next != 0 && took > most {
					t.Errorf("took %v, want at most %v", took, most)
				}
				if c.next == 0 && took != 10*time.Second {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}
