package conn

import (
	"slices"
	"testing"
	"time"
)

func TestRosterOrder(t *testing.T) {
	t0 := time.Unix(1_800_000_000, 0)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	type step struct {
		sec    int
		i      int
		failed bool
	}
	cases := []struct {
		name  string
		steps []step
		now   int
		want  []int
	}{
		{"as given", nil, 0, []int{0, 1, 2}},
		{"a failed one comes last", []step{{0, 0, true}}, 1, []int{1, 2, 0}},
		{"until retry-after has passed", []step{{0, 0, true}}, 30, []int{0, 1, 2}},
		{"or it answers", []step{{0, 0, true}, {1, 0, false}}, 2, []int{0, 1, 2}},
		{"a new failure starts the time anew", []step{{0, 0, true}, {29, 0, true}}, 31, []int{1, 2, 0}},
		{"the one that failed longest ago first", []step{{2, 0, true}, {1, 1, true}, {3, 2, true}}, 4, []int{1, 0, 2}},
		{"an answer of another one changes nothing", []step{{0, 1, true}, {1, 2, false}}, 2, []int{0, 2, 1}},
		{"the clock was set back", []step{{10, 0, true}}, 0, []int{1, 2, 0}},
		{"the clock was set back by a year", []step{{365 * 86400, 0, true}}, 0, []int{0, 1, 2}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRoster([]string{"a", "b", "c"}, 30*time.Second)
			for _, s := range c.steps {
				if s.failed {
					r.failedAt(s.i, at(s.sec), Silent)
				} else {
					r.answered(s.i, time.Millisecond)
				}
			}
			if got := r.order(at(c.now)); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The state file is written only when a verdict changes.
func TestRosterVerdictChanges(t *testing.T) {
	t0 := time.Unix(1_800_000_000, 0)
	r := newRoster([]string{"a"}, 30*time.Second)
	for i, s := range []struct{ got, want bool }{
		{r.answered(0, time.Millisecond), false},
		{r.failedAt(0, t0, Silent), true},
		{r.failedAt(0, t0.Add(time.Second), Silent), false},
		{r.failedAt(0, t0.Add(2*time.Second), Refused), true},
		{r.failedAt(0, t0.Add(40*time.Second), Refused), true},
		{r.answered(0, time.Millisecond), true},
		{r.answered(0, time.Millisecond), false},
	} {
		if s.got != s.want {
			t.Errorf("step %d: changed %v, want %v", i, s.got, s.want)
		}
	}
}

func TestRosterPatience(t *testing.T) {
	r := newRoster([]string{"a"}, time.Second)
	if got := r.patience(0, false); got != 120*time.Millisecond {
		t.Errorf("without a connection %v", got)
	}
	r.answered(0, time.Millisecond)
	if got := r.patience(0, true); got != 40*time.Millisecond {
		t.Errorf("at 1 ms %v", got)
	}
	r = newRoster([]string{"a"}, time.Second)
	r.answered(0, 10*time.Millisecond)
	if got := r.patience(0, true); got != 80*time.Millisecond {
		t.Errorf("at 10 ms %v", got)
	}
	r.answered(0, 10*time.Second)
	if got := r.patience(0, true); got != 200*time.Millisecond {
		t.Errorf("at more than a second %v", got)
	}
}

// Whatever happens, the order holds every endpoint once, those set aside last, and the rest as given.
func FuzzRoster(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 250, 17})
	f.Fuzz(func(t *testing.T, events []byte) {
		now := time.Unix(1_800_000_000, 0)
		r := newRoster([]string{"a", "b", "c", "d"}, 10*time.Second)
		for _, e := range events {
			i := int(e & 3)
			now = now.Add(time.Duration(int(e>>3)-4) * time.Second)
			if e&4 == 0 {
				r.failedAt(i, now, Refused)
				if !r.aside(i, now) {
					t.Fatal("an endpoint that just failed is not set aside")
				}
			} else {
				r.answered(i, time.Duration(e)*time.Millisecond)
				if r.aside(i, now) {
					t.Fatal("an endpoint that just answered is set aside")
				}
			}
			order := r.order(now)
			sorted := slices.Clone(order)
			slices.Sort(sorted)
			if !slices.Equal(sorted, []int{0, 1, 2, 3}) {
				t.Fatalf("order %v", order)
			}
			for k := 1; k < len(order); k++ {
				a, b := order[k-1], order[k]
				switch x, y := r.aside(a, now), r.aside(b, now); {
				case x && !y:
					t.Fatalf("order %v: %d is set aside and comes before %d", order, a, b)
				case !x && !y && a > b:
					t.Fatalf("order %v: %d and %d are both well", order, a, b)
				}
			}
		}
	})
}
