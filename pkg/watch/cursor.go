package watch

import (
	"bytes"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Cursor turns the messages of one raw watch stream after another into whole revisions, each released once and in
// order. It is the whole memory of a watch: what it has released, and the pieces of a revision that is not complete.
type Cursor struct {
	start   int64 // where the next stream begins; 0: at the server's current revision
	last    int64 // the highest revision whose events were released, or the position the watch began after
	pos     int64 // every event up to here was released; progress moves it, and never moves last
	partial []*clientv3.Event
	created bool
	opened  bool
	late    int
	newest  *clientv3.Event // the last one released; nil: none
	grown   int64           // keys created minus keys deleted since the beginning
	base    int64           // keys at the beginning, if counted
	counted bool
}

// After returns a cursor for the events after revision rev, all of which are handled.
//
// Its streams begin at rev itself, one too early, and the events of rev are dropped again: servers before 3.4.36 and
// 3.5.18 leave out a delete when the compaction is exactly at the stream's first revision (etcd #18089, #19179). One
// revision earlier the same server says "compacted", which can be mended; a missing delete cannot.
func After(rev int64) *Cursor { return &Cursor{start: max(rev, 1), last: rev, pos: rev} }

// Since returns a cursor for the events of revision rev and later ones, as etcdctl's --rev asks for.
func Since(rev int64) *Cursor { return &Cursor{start: rev, last: rev - 1, pos: rev - 1} }

// Start is the revision to open the next stream at.
func (c *Cursor) Start() int64 { return c.start }

// Position is the revision up to which every event was released.
func (c *Cursor) Position() int64 { return c.pos }

// Late counts the events that came after a progress mark that should have been behind them: a server that sends them is
// one of those with etcd issue #15220, and its marks prove nothing.
func (c *Cursor) Late() int { return c.late }

// Reopen forgets what belongs to the stream that broke: pieces of a revision come again, from its first event.
func (c *Cursor) Reopen() { c.partial, c.created = nil, false }

// Step is what one message of a stream released.
type Step struct {
	// Events are those of one or more whole revisions, in order.
	Events []*clientv3.Event
	// Progress is the revision up to which nothing more will come, when the message said so; else 0.
	Progress int64
}

// Apply takes the next message of the current stream. It returns a *CompactedError, a *CanceledError or a *DisorderError
// when the stream is at its end.
func (c *Cursor) Apply(resp *pb.WatchResponse) (Step, error) {
	switch {
	case resp.GetCompactRevision() != 0:
		return Step{}, &CompactedError{Wanted: c.start, Oldest: resp.GetCompactRevision(), Response: resp}
	case resp.GetCanceled():
		return Step{}, &CanceledError{Reason: resp.GetCancelReason(), Response: resp}
	case resp.GetCreated():
		c.created = true
		return Step{}, nil
	case len(resp.GetEvents()) == 0:
		return c.progress(resp.GetHeader().GetRevision()), nil
	}
	return c.events(resp.GetEvents(), resp.GetFragment())
}

// progress takes the server's word that all events up to rev are on the stream before this message. Marks from before
// the stream's own beginning occur on servers before 3.4.38, 3.5.22 and 3.6.2 (etcd #20221) and say nothing.
func (c *Cursor) progress(rev int64) Step {
	if !c.created || rev < c.pos || len(c.partial) > 0 {
		return Step{}
	}
	c.pos, c.start = rev, max(rev, 1)
	return Step{Progress: rev}
}

// skip moves the position to rev without the server's word, on somebody else's proof.
func (c *Cursor) skip(rev int64) { c.pos, c.start = rev, max(rev, 1) }

// events appends to the incomplete revision and releases what is complete. A message that is not a fragment ends a
// revision: the server never splits one in any other way.
func (c *Cursor) events(events []*clientv3.Event, fragment bool) (Step, error) {
	newest := c.last
	if n := len(c.partial); n > 0 {
		newest = c.partial[n-1].GetKv().GetModRevision()
	}
	for _, e := range events {
		rev := e.GetKv().GetModRevision()
		if rev <= c.last {
			continue // seen already: the overlap, or a member that went back in time (etcd #15271)
		}
		if rev < newest {
			return Step{}, &DisorderError{Newer: newest, Older: rev}
		}
		if rev <= c.pos {
			c.late++
		}
		newest = rev
		c.partial = append(c.partial, e)
	}
	whole := len(c.partial)
	for fragment && whole > 0 && c.partial[whole-1].GetKv().GetModRevision() == newest {
		whole--
	}
	released := c.partial[:whole:whole]
	c.partial = c.partial[whole:]
	if len(c.partial) == 0 {
		c.partial = nil
	}
	if whole == 0 {
		return Step{}, nil
	}
	c.newest = released[whole-1]
	c.last = c.newest.GetKv().GetModRevision()
	for _, e := range released {
		switch {
		case e.GetType() == clientv3.EventTypeDelete:
			c.grown--
		case e.GetKv().GetVersion() == 1:
			c.grown++
		}
	}
	c.pos = max(c.pos, c.last)
	c.start = c.pos
	return Step{Events: released}, nil
}

// Revisions cuts events into one slice per revision.
func Revisions(events []*clientv3.Event) [][]*clientv3.Event {
	var revs [][]*clientv3.Event
	for len(events) > 0 {
		n := 1
		for n < len(events) && events[n].GetKv().GetModRevision() == events[0].GetKv().GetModRevision() {
			n++
		}
		revs = append(revs, events[:n:n])
		events = events[n:]
	}
	return revs
}

// Range is a range of keys as etcd takes it: one key when End is empty, all keys from Key on when End is "\x00".
type Range struct{ Key, End []byte }

// Contains says whether key lies in r.
func (r Range) Contains(key []byte) bool {
	switch {
	case len(r.End) == 0:
		return bytes.Equal(key, r.Key)
	case len(r.End) == 1 && r.End[0] == 0:
		return bytes.Compare(key, r.Key) >= 0
	}
	return bytes.Compare(key, r.Key) >= 0 && bytes.Compare(key, r.End) < 0
}

// CompactedError says that events the watch still needed are gone from the cluster.
type CompactedError struct {
	Wanted int64 // the revision that the stream was to begin at
	Oldest int64 // the compaction's revision: the oldest one that can still be watched
	// Response is the server's own message.
	Response *pb.WatchResponse
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("the history needed is compacted: revision %d was wanted, the oldest kept is %d", e.Wanted, e.Oldest)
}

// CanceledError says that the server ended the watch, in its own words.
type CanceledError struct {
	Reason   string
	Response *pb.WatchResponse // the server's own message
}

func (e *CanceledError) Error() string { return "the server canceled the watch: " + e.Reason }

// Unwrap returns the error that the server meant. It sends its text alone, with or without the code in front.
func (e *CanceledError) Unwrap() error {
	for _, known := range append(loginErrors(), rpctypes.ErrPermissionDenied, rpctypes.ErrNoLeader) {
		if strings.HasSuffix(e.Reason, known.Error()) {
			return known
		}
	}
	return nil
}

// loginErrors are those after which logging in again may help.
func loginErrors() []error {
	return []error{rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty}
}

// DisorderError says that a stream broke etcd's promise of order; a new stream is opened instead of trusting it.
type DisorderError struct{ Newer, Older int64 }

func (e *DisorderError) Error() string {
	return fmt.Sprintf("revision %d came after revision %d", e.Older, e.Newer)
}
