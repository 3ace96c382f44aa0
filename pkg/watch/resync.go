package watch

import (
	"bytes"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Entry is a key with what is known of it.
type Entry struct {
	Key []byte
	Known
}

// vanished returns the entries of known whose keys are not in listed. Both are in key order and cover the same keys.
func vanished(known []Entry, listed []*mvccpb.KeyValue) []Entry {
	var gone []Entry
	for _, k := range known {
		for len(listed) > 0 && bytes.Compare(listed[0].GetKey(), k.Key) < 0 {
			listed = listed[1:]
		}
		if len(listed) == 0 || !bytes.Equal(listed[0].GetKey(), k.Key) {
			gone = append(gone, k)
		}
	}
	return gone
}

// smallChange is how many changed keys a resync fetches in the order of their revisions. The server reads the whole range
// for each such page, so that more of them come cheaper in the order of the keys.
const smallChange = 10_000

// plan says how a resync gets the new values.
type plan struct {
	byRevision bool // else by key, all of them, leaving out here what did not change
	list       bool // the keys that are left must be listed, because some that were known are gone
}

// survey is what one look at the range told before a resync.
type survey struct {
	known   int64 // keys in the index
	count   int64 // keys in the range now
	changed int64 // keys modified since, at most smallChange+1
	created int64 // of those, how many the index does not know
	full    bool  // another history: revisions prove nothing
	// announced keys may be known to the handler, and prove nothing by their number.
	announced int64
}

// choose plans a resync. A range whose known keys plus the new ones are exactly its keys has lost none.
func (s survey) choose() plan {
	if s.full || s.changed > smallChange {
		return plan{list: s.known+s.announced > 0}
	}
	return plan{byRevision: true, list: s.announced > 0 || s.known+s.created != s.count}
}

// page sizes the next page of values: about pageBytes, whatever the values' sizes.
type page struct {
	limit  int64
	factor int64 // grows with every time that a compaction overtook the pages
}

const (
	firstPage = 100
	maxPage   = 10_000
	pageBytes = 4 << 20
)

func newPage(attempt int) page {
	p := page{factor: 1}
	for range min(attempt, 3) {
		p.factor *= 4
	}
	p.limit = firstPage * p.factor
	return p
}

// seen adapts the limit to a page of n keys and size bytes.
func (p *page) seen(n int, size int64) {
	if n > 0 {
		each := max(size/int64(n), 1)
		p.limit = min(max(pageBytes*p.factor/each, 10), maxPage*p.factor)
	}
}

// Evidence is what a saved position remembers of the cluster's history.
type Evidence struct {
	ClusterID uint64 // 0: nothing is known
	Term      uint64
	Rev       int64
	// Anchor is the last event handled; nil: none.
	Anchor *Anchor
	// Count is the number of keys in the range at Rev; negative: unknown.
	Count int64
}

// Anchor identifies an event by its key's state after it.
type Anchor struct {
	Key                  []byte
	Create, Mod, Version int64
	Deleted              bool
	Sum                  uint32
}

// Head is what the cluster says of itself now.
type Head struct {
	ClusterID, MemberID, Term uint64
	Rev                       int64
}

// judge compares the saved evidence with the cluster's answer. It returns an *OtherClusterError or a *RegressionError.
// A restored backup keeps its cluster's id, so that the id alone proves little; a raft term never falls in one history.
func judge(ev Evidence, h Head) error {
	switch {
	case ev.ClusterID == 0:
		return nil
	case ev.ClusterID != h.ClusterID:
		return &OtherClusterError{Saved: ev.ClusterID, Seen: h.ClusterID}
	case h.Rev < ev.Rev:
		return &RegressionError{Rev: ev.Rev, Why: fmt.Sprintf("the cluster is at revision %d, before the saved revision %d", h.Rev, ev.Rev)}
	case h.Term < ev.Term:
		return &RegressionError{Rev: ev.Rev, Why: fmt.Sprintf("the raft term went back from %d to %d", ev.Term, h.Term)}
	}
	return nil
}

// judgeAnchor compares the anchor with its key as it was at the saved revision; kv is nil if there was none.
func judgeAnchor(ev Evidence, kv *mvccpb.KeyValue, sum func([]byte) uint32) error {
	a := ev.Anchor
	same := a.Deleted && kv == nil || !a.Deleted && kv != nil && kv.GetCreateRevision() == a.Create &&
		kv.GetModRevision() == a.Mod && kv.GetVersion() == a.Version && sum(kv.GetValue()) == a.Sum
	if same {
		return nil
	}
	return &RegressionError{Rev: ev.Rev, Why: fmt.Sprintf("key %q is not what it was at revision %d", a.Key, ev.Rev)}
}

// AnchorOf returns the anchor that e leaves.
func AnchorOf(e *clientv3.Event, sum func([]byte) uint32) *Anchor {
	kv := e.GetKv()
	a := &Anchor{Key: kv.GetKey(), Create: kv.GetCreateRevision(), Mod: kv.GetModRevision(), Version: kv.GetVersion()}
	if e.GetType() == clientv3.EventTypeDelete {
		a.Deleted = true
	} else {
		a.Sum = sum(kv.GetValue())
	}
	return a
}

// OtherClusterError says that the endpoints lead to a cluster other than the one that the position belongs to.
type OtherClusterError struct{ Saved, Seen uint64 }

func (e *OtherClusterError) Error() string {
	return fmt.Sprintf("the endpoints lead to cluster %x, but the position belongs to cluster %x", e.Seen, e.Saved)
}

// RegressionError says that the cluster's history went back, as after the restoration of a backup.
type RegressionError struct {
	Rev int64
	Why string
}

func (e *RegressionError) Error() string { return "the cluster's history went back: " + e.Why }

// IdleMode says how an idle watch keeps up with a cluster that sends it no trustworthy progress.
type IdleMode string

// The modes: by proof that nothing changed; not at all; or by the mere passing of time, which can lose events.
const (
	IdleProof  IdleMode = "proof"
	IdleStrict IdleMode = "strict"
	IdleNaive  IdleMode = "naive"
)

// Idle says when a watch without events takes a revision that was current Lag before, after After without any.
type Idle struct {
	Mode       IdleMode
	After, Lag time.Duration
}

// idleStep is what to do next.
type idleStep int

const (
	idleWait idleStep = iota
	idleSample
	idleAdvance
)

// idleClock decides when to sample the cluster's revision and when to take it.
type idleClock struct {
	rules   Idle
	moved   time.Time // the last event or progress
	sample  int64
	sampled time.Time
}

func (c *idleClock) move(now time.Time) { c.moved, c.sample = now, 0 }

func (c *idleClock) sampledAt(now time.Time, rev int64) { c.sample, c.sampled = rev, now }

func (c *idleClock) step(now time.Time) idleStep {
	idle := now.Sub(c.moved)
	switch {
	case c.rules.Mode == "" || c.rules.Mode == IdleStrict || c.rules.After <= 0:
		return idleWait
	case c.sample == 0 && idle >= c.rules.After-c.rules.Lag:
		return idleSample
	case c.sample != 0 && idle >= c.rules.After && now.Sub(c.sampled) >= c.rules.Lag:
		return idleAdvance
	}
	return idleWait
}
