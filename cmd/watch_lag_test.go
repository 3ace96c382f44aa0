package cmd

import (
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/watch"
)

func TestReadingTellsLagAndTimeLeft(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	points := []watch.Point{{At: at(0), Rev: 1000}, {At: at(100), Rev: 2000}}
	for _, c := range []struct {
		name string
		past []snapshot
		want string
	}{
		{"nothing is known yet", []snapshot{{at: at(100)}}, "revision 0, 0 events, 0/s"},
		{"caught up", []snapshot{{at: at(100), rev: 2000, head: 2000, events: 5}}, "revision 2000, 5 events, 0/s"},
		{"behind, since when nobody knows", []snapshot{{at: at(100), rev: 900, head: 2000}}, "revision 900, 1100 behind, 0 events, 0/s"},
		{"behind, and standing still", []snapshot{
			{at: at(90), rev: 1500, head: 2000, points: points}, {at: at(100), rev: 1500, head: 2000, points: points},
		}, "revision 1500, 500 behind (50s), 0 events, 0/s"},
		{"catching up", []snapshot{
			{at: at(98), rev: 1300, head: 2000, events: 10, points: points}, {at: at(100), rev: 1500, head: 2000, events: 410, points: points},
		}, "revision 1500, 500 behind (50s), 410 events, 200/s, 5s left"},
		{"catching up with a cluster that moves on", []snapshot{
			{at: at(98), rev: 1300, head: 1900, points: points}, {at: at(100), rev: 1500, head: 2000, points: points},
		}, "revision 1500, 500 behind (50s), 0 events, 0/s, 10s left"},
		{"falling behind", []snapshot{
			{at: at(98), rev: 1490, head: 1900, points: points}, {at: at(100), rev: 1500, head: 2000, points: points},
		}, "revision 1500, 500 behind (50s), 0 events, 0/s"},
	} {
		var g gauge
		var got reading
		for _, s := range c.past {
			got = g.read(s)
		}
		if got.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	var g gauge
	for i := range int64(100) {
		g.read(snapshot{at: at(i), events: i * i})
	}
	if r := g.read(snapshot{at: at(100), events: 10_000}); r.rate != 191 { // over the last nine seconds
		t.Errorf("a rate of %v/s", r.rate)
	}
}
