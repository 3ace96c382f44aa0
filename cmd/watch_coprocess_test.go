package cmd

import (
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/watch"
)

// Answers may be late, early or repeated: what belongs to an earlier batch says nothing about this one.
func TestCoprocessAnswers(t *testing.T) {
	b := batch{groups: make([]group, 3), first: 10} // 10, 11, 12
	for i := range b.groups {
		b.groups[i] = group{rev: int64(100 + i), item: watch.Item{}}
	}
	seq := func(n int64) *int64 { return &n }
	skip := retry{onFail: failSkip, notice: func(string) {}}
	for _, c := range []struct {
		name   string
		a      answer
		before int
		want   int
		fails  bool
	}{
		{"the first", answer{Ack: seq(10)}, 0, 1, false},
		{"all at once", answer{Ack: seq(12)}, 0, 3, false},
		{"one that was acknowledged before", answer{Ack: seq(10)}, 2, 2, false},
		{"one of an earlier batch", answer{Ack: seq(3)}, 0, 0, false},
		{"one that was not sent", answer{Ack: seq(13)}, 0, 0, true},
		{"once more", answer{Nack: seq(11), After: 70}, 1, 1, true},
		{"once more, of an earlier batch", answer{Nack: seq(9)}, 0, 0, false},
		{"once more, of one that was acknowledged", answer{Nack: seq(10)}, 1, 1, false},
		{"rejected", answer{Reject: seq(11)}, 1, 2, false},
		{"rejected again", answer{Reject: seq(11)}, 2, 2, false},
		{"rejected too early", answer{Reject: seq(12)}, 1, 1, true},
		{"no answer at all", answer{}, 1, 1, false},
	} {
		got, err := b.apply(c.a, c.before, skip)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %d groups done, %v; want %d", c.name, got, err, c.want)
		}
		if c.a.Nack != nil && c.fails {
			if e, ok := err.(*nackError); !ok || e.after != 70*time.Millisecond {
				t.Errorf("%s: %#v", c.name, err)
			}
		}
	}
	if n, err := b.apply(answer{Reject: seq(10)}, 0, retry{onFail: failStop}); n != 1 || !as[*handlerError](err) {
		t.Errorf("rejected with --on-fail stop: %d, %v", n, err)
	}
}
