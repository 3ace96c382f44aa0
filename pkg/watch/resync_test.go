package watch

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func entries(keys ...string) []Entry {
	var all []Entry
	for _, k := range keys {
		all = append(all, Entry{Key: []byte(k)})
	}
	return all
}

func listed(keys ...string) []*mvccpb.KeyValue {
	var all []*mvccpb.KeyValue
	for _, k := range keys {
		all = append(all, &mvccpb.KeyValue{Key: []byte(k)})
	}
	return all
}

func TestVanished(t *testing.T) {
	for _, c := range []struct {
		known []Entry
		there []*mvccpb.KeyValue
		want  string
	}{
		{entries("a", "b", "c"), listed("a", "c"), "b"},
		{entries("a", "b"), listed("a", "aa", "b", "c"), ""},
		{entries("a", "b", "c"), nil, "abc"},
		{nil, listed("a"), ""},
		{entries("b", "d"), listed("a", "c", "e"), "bd"},
	} {
		got := ""
		for _, e := range vanished(c.known, c.there) {
			got += string(e.Key)
		}
		if got != c.want {
			t.Errorf("vanished %q, want %q", got, c.want)
		}
	}
}

func TestSurveyListsOnlyWhatItMust(t *testing.T) {
	for _, c := range []struct {
		s    survey
		want plan
	}{
		{survey{known: 100, count: 100, changed: 10}, plan{byRevision: true}},
		{survey{known: 100, count: 103, changed: 10, created: 3}, plan{byRevision: true}},
		{survey{known: 100, count: 102, changed: 10, created: 3}, plan{byRevision: true, list: true}}, // one came too few
		{survey{known: 0, count: 5, full: true}, plan{}},
		{survey{known: 7, count: 7, full: true}, plan{list: true}},                         // revisions prove nothing there
		{survey{known: 100, count: 100, announced: 1}, plan{byRevision: true, list: true}}, // the handler may know one more
		{survey{known: 0, count: 5, full: true, announced: 1}, plan{list: true}},
		{survey{known: 1e6, count: 1e6, changed: smallChange + 1}, plan{list: true}},
	} {
		if got := c.s.choose(); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.s, got, c.want)
		}
	}
}

func TestPageFollowsTheSizeOfValues(t *testing.T) {
	p := newPage(0)
	p.seen(100, 100*1_500_000)
	if p.limit != 10 {
		t.Errorf("with values of 1.5 MB a page has %d keys", p.limit)
	}
	p.seen(10, 10*80)
	if p.limit != maxPage {
		t.Errorf("with values of 80 B a page has %d keys", p.limit)
	}
	if first, later := newPage(0), newPage(2); later.limit <= first.limit {
		t.Error("pages do not grow when a compaction overtakes them")
	}
}

func TestJudge(t *testing.T) {
	ev := Evidence{ClusterID: 1, Term: 5, Rev: 100}
	for _, c := range []struct {
		head Head
		want string
	}{
		{Head{ClusterID: 1, Term: 5, Rev: 100}, "ok"},
		{Head{ClusterID: 1, Term: 6, Rev: 200}, "ok"},
		{Head{ClusterID: 2, Term: 6, Rev: 200}, "other"},
		{Head{ClusterID: 1, Term: 5, Rev: 99}, "back"},
		{Head{ClusterID: 1, Term: 4, Rev: 200}, "back"}, // a restored cluster that has overtaken the position
	} {
		got := "ok"
		err := judge(ev, c.head)
		if _, is := errors.AsType[*OtherClusterError](err); is {
			got = "other"
		}
		if _, is := errors.AsType[*RegressionError](err); is {
			got = "back"
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.head, got, c.want)
		}
	}
	if judge(Evidence{}, Head{ClusterID: 9}) != nil {
		t.Error("no evidence was held against a cluster")
	}
}

func TestJudgeAnchor(t *testing.T) {
	kv := &mvccpb.KeyValue{Key: []byte("k"), CreateRevision: 3, ModRevision: 9, Version: 2, Value: []byte("v")}
	good := Evidence{Rev: 9, Anchor: &Anchor{Key: []byte("k"), Create: 3, Mod: 9, Version: 2, Sum: valueSum([]byte("v"))}}
	if err := judgeAnchor(good, kv, valueSum); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Anchor){
		"value": func(a *Anchor) { a.Sum++ }, "revision": func(a *Anchor) { a.Mod-- }, "creation": func(a *Anchor) { a.Create++ },
		"version": func(a *Anchor) { a.Version++ }, "deletion": func(a *Anchor) { a.Deleted = true },
	} {
		bad := *good.Anchor
		change(&bad)
		if judgeAnchor(Evidence{Rev: 9, Anchor: &bad}, kv, valueSum) == nil {
			t.Errorf("another %s went unnoticed", name)
		}
	}
	if judgeAnchor(good, nil, valueSum) == nil {
		t.Error("a key that is missing went unnoticed")
	}
}

func TestIdleClock(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	c := idleClock{rules: Idle{Mode: IdleProof, After: 600 * time.Second, Lag: 60 * time.Second}, moved: start}
	for _, step := range []struct {
		at   int
		want idleStep
	}{{0, idleWait}, {539, idleWait}, {540, idleSample}, {600, idleAdvance}} {
		if got := c.step(at(step.at)); got != step.want {
			t.Errorf("after %d s: %v, want %v", step.at, got, step.want)
		}
		if step.want == idleSample {
			c.sampledAt(at(step.at), 42)
		}
	}
	c.move(at(601))
	if c.step(at(602)) != idleWait || c.sample != 0 {
		t.Error("an event did not start the clock anew")
	}
	c.rules.Mode = IdleStrict
	if c.step(at(100000)) != idleWait {
		t.Error("strict mode advanced")
	}
	late := idleClock{rules: c.rules, moved: start}
	late.rules.Mode = IdleProof
	late.sampledAt(at(590), 42) // a sample younger than the lag must not be taken yet
	if late.step(at(610)) != idleWait || late.step(at(650)) != idleAdvance {
		t.Error("the sample's age was not respected")
	}
}

func TestTimeOf(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	points := []Point{{at(0), 1000}, {at(300), 1300}, {at(600), 1600}}
	when, ok := TimeOf(points, 1150)
	if !ok || !when.Equal(at(150)) {
		t.Errorf("%v %v", when, ok)
	}
	if _, ok := TimeOf(points, 999); ok {
		t.Error("a guess before the first observation")
	}
	if _, ok := TimeOf(points, 1601); ok {
		t.Error("a guess after the last observation")
	}
}
