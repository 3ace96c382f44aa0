package lock

import (
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func TestNobodyOvertakes(t *testing.T) {
	excl, shared := Claim{Mode: Exclusive}, Claim{Mode: Shared}
	sem := func(weight int) Claim { return Claim{Mode: Semaphore, Slots: 3, Weight: weight} }
	for _, tc := range []struct {
		ahead []Claim
		claim Claim
		want  bool
	}{
		{nil, excl, true},
		{[]Claim{excl}, excl, false},
		{[]Claim{shared}, excl, false},
		{[]Claim{shared, shared}, shared, true},
		{[]Claim{shared, excl}, shared, false},
		{[]Claim{sem(1)}, sem(2), true},
		{[]Claim{sem(2)}, sem(2), false},
		{[]Claim{sem(3), sem(1)}, sem(1), false},
		{[]Claim{shared}, sem(1), false},
		{[]Claim{{Mode: Semaphore, Slots: 2, Weight: 1}}, sem(1), false},
		{nil, sem(3), true},
	} {
		var q Queue
		for i, c := range tc.ahead {
			q = append(q, Contender{Token: int64(i + 1), Claim: c})
		}
		if got := q.admits(tc.claim); got != tc.want {
			t.Errorf("%v behind %v: %v", tc.claim, tc.ahead, got)
		}
	}
}

func TestContendersOfAName(t *testing.T) {
	kv := func(key, value string, token int64) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: token, Lease: 10}
	}
	q := newQueue("a", []*mvccpb.KeyValue{
		kv("a/2", `{"mode":"shared"}`, 9), kv("a/b/1", "", 1), kv("a/1", "", 5), kv("a/3", "not JSON", 7), kv("a/4", `{"mode":"odd"}`, 8),
	})
	got := ""
	for _, c := range q {
		got += fmt.Sprint(c.Token, c.Claim.Mode, " ")
	}
	if want := "5excl 7excl 8excl 9shared "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if h := q.Holders(); len(h) != 1 || h[0].Token != 5 {
		t.Errorf("held by %v", h)
	}
}

func TestOnlyMarkersWithoutTheirContenderAreUnclean(t *testing.T) {
	kv := func(key string, token int64) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Key: []byte(key), CreateRevision: token}
	}
	q := Queue{{Key: KeyOf("a", 0xe5), Token: 5}, {Key: KeyOf("a", 0xe9), Token: 9}}
	got := q.unclean("a", []*mvccpb.KeyValue{
		kv(MarkerKey("a", 0xe5), 5), kv(MarkerKey("a", 0xe3), 3), kv(MarkerKey("a/b", 0xe4), 4), kv(MarkerKey("a", 0xe9), 9), kv(MarkerKey("a", 0xf0), 12), kv(MarkerKey("a", 0xea), 4),
	}, 10, KeyOf("a", 0xea)) // its own key was deleted, and put again
	if fmt.Sprint(got) != "[_etcdx/held/a/e3]" {
		t.Errorf("unclean: %v", got)
	}
}

func FuzzParseContender(f *testing.F) {
	f.Add("a/1", `{"mode":"sem","slots":3,"weight":1}`)
	f.Add("a/", "{")
	for _, v := range foreignValues() {
		f.Add("a/2", v)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		c, ok := parseContender("a", &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value)})
		if ok && c.Claim.Mode != Exclusive && c.Claim.Mode != Shared && c.Claim.Mode != Semaphore {
			t.Errorf("%q: mode %q", value, c.Claim.Mode)
		}
		if ok && validClaim(c.Claim) != nil {
			t.Errorf("%q: claim %+v", value, c.Claim)
		}
	})
}
