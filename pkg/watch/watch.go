// Package watch delivers every event of a key range once and in order, across reconnections, or says that it cannot.
//
// # What is guaranteed
//
// In the words of etcd's own guarantees: Ordered, Unique, Reliable and Atomic hold for the items handed to the handler
// while the process lives; Resumable and Bookmarkable hold for the position that each item carries, so that a watch
// begun at a position that was saved after its item was handled repeats nothing but what was not yet handled.
//
// # What is not
//
// Freshness: a watch may be arbitrarily late. And after a compaction the events in between are gone: a resync brings the
// state up to date and names the keys that vanished, but a key that was created and deleted meanwhile is never seen.
package watch

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Source keeps work running on a member that answers. Work's context ends when its member no longer serves it well, and
// work is then run again on another one. An error of work that no member can mend ends Stream.
type Source interface {
	Stream(ctx context.Context, work func(context.Context, Member) error) error
}

// Member is where one stream runs.
type Member struct {
	Endpoint string
	// Open opens a raw watch stream. It is raw because clientv3's watcher has no flow control: its buffer grows without
	// bound when the handler is slower than the cluster.
	// Messages of more than maxBytes end it with codes.ResourceExhausted.
	Open func(ctx context.Context, maxBytes int) (pb.Watch_WatchClient, error)
	// Version returns the version of the server at the other end of the same connection, such as "3.5.7".
	Version func(context.Context) (string, error)
}

// KV reads keys; the revision of an answer without clientv3.WithRev is current (a linearizable read).
type KV interface {
	Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error)
	Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error)
}

// Kind says what an item is.
type Kind int

// The kinds of items. A resync is SyncBegin, then SyncDeletes and SyncPuts in this order, then SyncEnd; a SyncBegin inside
// another one begins it anew, at a newer revision.
const (
	Events Kind = iota
	Progress
	SyncBegin
	SyncDeletes
	SyncPuts
	SyncEnd
)

// Item is one step of a watch. When it and all items before it are handled, Rev is the position to save.
type Item struct {
	Kind Kind
	// Rev is the position after this item; inside a resync it is 0, because its end alone is a position.
	Rev    int64
	Header *pb.ResponseHeader
	Events []*clientv3.Event
	// Sync describes the resync that a Sync item belongs to.
	Sync *Sync
}

// Sync describes a resync: it takes the handler from the state at From to the state at To.
type Sync struct {
	Reason        string // ReasonStart and so on
	From, To      int64
	Full          bool  // not only what changed since From
	Puts, Deletes int64 // how many of each were sent; complete in SyncEnd
	// Recreated holds, in SyncPuts, the keys that were deleted and created again since From.
	Recreated map[string]bool
	// Vanished holds, in SyncDeletes, what was known about each of the events' keys, in the same order.
	Vanished []Known
}

// Known is what the index remembers of a key: its revisions, version and lease, and a checksum of its value.
type Known struct {
	Create, Mod, Version, Lease int64
	Sum                         uint32
}

// Config says what to watch and how.
type Config struct {
	Range Range
	// PrevKV asks for the value before each event, ProgressNotify for the server's periodic progress marks.
	PrevKV, ProgressNotify bool
	// Fragment lets the server split big messages, even inside a revision; they are put together again.
	Fragment bool
	// QueueBytes bounds what is held between the cluster and the handler (default 64 MiB), apart from one message: as long
	// as more than half of it waits, no further message is read.
	QueueBytes int64
	// ItemBytes cuts a message into items of about this size, between revisions (0: one item to a message).
	ItemBytes int64
	// ProgressEvery is how often an idle stream is asked for its progress (0: never).
	ProgressEvery time.Duration
	// Ask asks for the progress at once, whether or not the server's answers are sound; nil: never.
	Ask <-chan struct{}
	// StallAfter ends a stream that stays silent for this long although it was asked for its progress and its server is
	// known to answer that (0: never).
	StallAfter time.Duration
	// Idle says how to keep up with the cluster without the server's progress marks; the zero value: not at all.
	Idle Idle
	// Compactions returns how far apart the cluster's compactions were seen to be, 0 if that is unknown: Idle.After is
	// shortened to half of that. nil: nobody looks.
	Compactions func() time.Duration
	// Debounce gathers events that come less than this apart into one item; it takes at most ten times as long (0: not).
	Debounce time.Duration
	// Notice is told, in a few words for people, what happened to the watch; nil: nobody.
	Notice func(text string)
}

// Watcher watches one range.
type Watcher struct {
	Config
	Source Source
	KV     KV
	// Guard is the history that every new stream must belong to; nil: any will do. The watch keeps it up to date.
	Guard *Evidence

	shape    shape
	versions map[string]string // what each endpoint last said it was
}

// errFull ends a stream whose queue stayed full: the backlog then waits in the cluster's history, not in memory.
var errFull = errors.New("the handler is slower than the watch: pausing the stream")

// fullFor is how long the queue may stay full before its stream is given up.
const fullFor = 5 * time.Second

// Follow delivers the items after cur in order, one at a time, until deliver fails, the watch cannot go on, or ctx ends.
// Items that were received before the watch ended are delivered before its error is returned; when ctx ends they are not.
func (w *Watcher) Follow(ctx context.Context, cur *Cursor, deliver func(context.Context, Item) error) error {
	ctx, cancel := context.WithCancel(ctx)
	limit := w.QueueBytes
	if limit <= 0 {
		limit = 64 << 20
	}
	q := newQueue(limit)
	produced := make(chan struct{})
	go func() {
		defer close(produced)
		q.close(w.produce(ctx, cur, q))
	}()
	defer func() { <-produced }()
	defer cancel()
	for {
		it, err := q.pop(ctx)
		if err != nil {
			return err
		}
		if w.Debounce > 0 {
			it = q.gather(ctx, it, w.Debounce)
		}
		if err := deliver(ctx, it); err != nil {
			return err
		}
	}
}

// produce keeps a stream open and fills q from it. It returns only when the watch cannot go on, or ctx ends.
func (w *Watcher) produce(ctx context.Context, cur *Cursor, q *queue) error {
	if cur.start == 0 {
		if err := w.now(ctx, cur); err != nil {
			return err
		}
	}
	for {
		var held []Item
		var end error
		err := w.Source.Stream(ctx, func(ctx context.Context, m Member) error {
			s := &stream{w: w, cur: cur, q: q, member: m}
			end = s.run(ctx)
			held = s.held
			if final(end) || errors.Is(end, errFull) || errors.Is(end, errReshape) {
				return nil // no other member would do better
			}
			return end
		})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(end, errFull):
			w.notice(errFull.Error())
			if err := q.drain(ctx, held); err != nil {
				return err
			}
		case errors.Is(end, errReshape):
		case final(end):
			return end
		case err != nil:
			return err
		}
	}
}

// now fixes where a watch without a revision begins. The server could choose, but then a stream that breaks before its
// first event would leave a gap: nobody knows where it had begun. It begins with the present revision, and not after it,
// because servers do not answer progress requests of a watch whose first revision has not come yet (etcd #20221).
func (w *Watcher) now(ctx context.Context, cur *Cursor) error {
	resp, err := w.KV.Get(ctx, string(w.Range.Key), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	*cur = *After(resp.Header.GetRevision())
	return nil
}

// final says whether err ends the watch, and not only a stream.
func final(err error) bool {
	if as[*CompactedError](err) || as[*RegressionError](err) || as[*OtherClusterError](err) {
		return true
	}
	e, ok := errors.AsType[*CanceledError](err)
	return ok && !e.mendable()
}

func (w *Watcher) notice(text string) {
	if w.Notice != nil {
		w.Notice(text)
	}
}
