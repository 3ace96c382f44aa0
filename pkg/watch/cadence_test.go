package watch

import (
	"testing"
	"time"
)

func seen(pairs ...int64) (all []Seen) { // revision, second of the first sight, ...
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Seen{Rev: pairs[i], First: time.Unix(pairs[i+1], 0), Last: time.Unix(pairs[i+1]+1, 0)})
	}
	return all
}

func TestLossNeedsTwoCompactionsThatWereSeen(t *testing.T) {
	for _, c := range []struct {
		name        string
		seen        []Seen
		rev, now    int64
		ok          bool
		at, further int64
	}{
		{"nothing seen", nil, 100, 0, false, 0, 0},
		{"an old compaction", seen(50, 0), 100, 10, false, 0, 0},
		{"one that happened", seen(50, 0, 80, 300), 100, 310, false, 0, 0},
		{"two: the second one from now", seen(50, 0, 80, 300, 110, 600), 150, 610, true, 1200, 2},
		{"the next one goes past it", seen(50, 0, 80, 300, 110, 600), 139, 610, true, 900, 1},
		{"a compaction at the position itself leaves it", seen(50, 0, 80, 300, 110, 600), 140, 610, true, 1200, 2},
		{"at the horizon", seen(50, 0, 80, 300, 110, 600), 110, 610, true, 900, 1},
		{"never compacted before", seen(0, 0, 80, 300, 110, 600), 139, 610, true, 900, 1},
		{"overdue", seen(50, 0, 80, 300, 110, 600), 110, 5000, true, 5000, 1},
		{"lost already", seen(50, 0, 80, 300, 110, 600), 109, 610, true, 610, 0},
		{"uneven ones count by their mean", seen(0, 0, 10, 100, 20, 200, 110, 1100), 110, 1100, true, 1600, 1},
	} {
		at, n, ok := CadenceOf(c.seen).Loss(c.rev, time.Unix(c.now, 0))
		if ok != c.ok || ok && (at.Unix() != c.at || n != c.further) {
			t.Errorf("%s: at %d by compaction %d, %v; want %d by %d, %v", c.name, at.Unix(), n, ok, c.at, c.further, c.ok)
		}
	}
	if at, _, ok := CadenceOf(seen(0, 0, 1, 1000, 2, 2000)).Loss(1<<60, time.Unix(3000, 0)); !ok || at.Before(time.Unix(1e9, 0)) {
		t.Errorf("a position far ahead is lost at %v", at)
	}
}

func TestIdleKeepsAheadOfCompactions(t *testing.T) {
	slow := Idle{Mode: IdleProof, After: 600 * time.Second, Lag: 60 * time.Second}
	for _, c := range []struct {
		rules      Idle
		every      time.Duration
		after, lag time.Duration
	}{
		{slow, 0, 600 * time.Second, 60 * time.Second},
		{slow, time.Hour, 600 * time.Second, 60 * time.Second},
		{slow, 20 * time.Minute, 600 * time.Second, 60 * time.Second},
		{slow, 5 * time.Minute, 150 * time.Second, 60 * time.Second},
		{slow, time.Minute, 30 * time.Second, 15 * time.Second},
	} {
		got := c.rules.Within(c.every)
		if got.After != c.after || got.Lag != c.lag || got.Mode != c.rules.Mode {
			t.Errorf("compactions every %v: %+v", c.every, got)
		}
		if c.every > 0 && got.After > c.every/2 && got.After > c.rules.After {
			t.Errorf("compactions every %v overtake an idle watch that moves every %v", c.every, got.After)
		}
	}
}

func TestCadenceOf(t *testing.T) {
	c := CadenceOf(seen(5, 0, 10, 100, 20, 160, 40, 400))
	if c.Compactions != 3 || c.Every != 150*time.Second || c.Shortest != 60*time.Second || c.Step != 15 {
		t.Errorf("%+v", c)
	}
	if c.Look() != 15*time.Second || CadenceOf(nil).Look() != 15*time.Second {
		t.Errorf("the next look is in %v", c.Look())
	}
	if d := CadenceOf(seen(0, 0, 1, 2, 2, 3)).Look(); d != 5*time.Second {
		t.Errorf("with compactions every second the next look is in %v", d)
	}
	if d := CadenceOf(seen(0, 0, 1, 3600, 2, 7200)).Look(); d != time.Minute {
		t.Errorf("with compactions every hour the next look is in %v", d)
	}
}
