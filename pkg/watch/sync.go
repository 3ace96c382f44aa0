package watch

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Index remembers the keys that the handler knows of. Its reader sees what was delivered and handled before.
type Index interface {
	// Len returns the number of keys.
	Len() int64
	// Announced returns how many further keys the handler may know of: it was given their events, and did not say that it
	// handled them. Page has them, with nothing known of them; Get has not.
	Announced() int64
	// Get returns what is known of a key.
	Get(key []byte) (Known, bool, error)
	// Page returns up to n entries in key order, from key from on.
	Page(from []byte, n int) ([]Entry, error)
}

// NoIndex is the index of a watch that keeps none: a resync then sends every key and no deletes.
type NoIndex struct{}

// Len returns 0.
func (NoIndex) Len() int64 { return 0 }

// Announced returns 0.
func (NoIndex) Announced() int64 { return 0 }

// Get knows nothing.
func (NoIndex) Get([]byte) (Known, bool, error) { return Known{}, false, nil }

// Page returns nothing.
func (NoIndex) Page([]byte, int) ([]Entry, error) { return nil, nil }

// Resync brings the handler from the state at revision from to the present one, and returns the revision to watch after.
type Resync struct {
	*Watcher
	Index  Index
	From   int64
	Reason string
	// At is the revision to synchronize to, when that is to be an old one: 0 is the present.
	At int64
	// Full compares every key instead of relying on revisions: the history is another one.
	Full    bool
	Deliver func(context.Context, Item) error

	to     int64
	header *pb.ResponseHeader
	sums   Sync
}

// pinnedAttempts is how often a resync pages at a pinned revision before it reads the range at one blow, which no
// compaction can overtake, but which needs the memory.
const pinnedAttempts = 3

// Spread waits a random time that grows with the range, so that a hundred watches that lost their position to the same
// compaction do not all read at once. A millisecond per key is about what they take of a server with one core to spare: a
// tenth of that was measured to change nothing (docs/performance.md).
func (r *Resync) Spread(ctx context.Context) error {
	n := r.Index.Len()
	limit := min(30*time.Second, time.Duration(n)*time.Millisecond)
	if limit <= 0 {
		return nil
	}
	return pause(ctx, rand.N(limit))
}

// Run does the resync. Overtaken by another compaction, it begins anew; what was delivered by then is not sent again.
func (r *Resync) Run(ctx context.Context) (int64, error) {
	for attempt := 0; ; attempt++ {
		err := r.once(ctx, attempt)
		if !errors.Is(err, rpctypes.ErrCompacted) || r.At > 0 {
			return r.to, err
		}
		r.notice("overtaken by a compaction while synchronizing: beginning again")
	}
}

func (r *Resync) once(ctx context.Context, attempt int) error {
	if attempt >= pinnedAttempts {
		return r.atOnce(ctx)
	}
	resp, err := r.get(ctx, r.Range.Key, r.rangeOps(clientv3.WithRev(r.At), clientv3.WithCountOnly()))
	if err != nil {
		return err
	}
	if err := r.begin(ctx, resp.Header); err != nil {
		return err
	}
	s := survey{known: r.Index.Len(), announced: r.Index.Announced(), count: resp.Count, full: r.Full || r.From <= 0}
	if !s.full {
		if s.changed, s.created, err = r.survey(ctx); err != nil {
			return err
		}
	}
	how := s.choose()
	if how.list {
		if err := r.deletes(ctx, attempt); err != nil {
			return err
		}
	}
	puts := r.putsByKey
	if how.byRevision {
		puts = r.putsByRevision
	}
	if err := puts(ctx, attempt); err != nil {
		return err
	}
	return r.end(ctx)
}

func (r *Resync) begin(ctx context.Context, h *pb.ResponseHeader) error {
	r.header, r.to = h, h.GetRevision()
	if r.At > 0 {
		r.to = r.At
	}
	r.sums = Sync{Reason: r.Reason, From: r.From, To: r.to, Full: r.Full || r.From <= 0}
	info := r.sums
	return r.Deliver(ctx, Item{Kind: SyncBegin, Header: h, Sync: &info})
}

func (r *Resync) end(ctx context.Context) error {
	info := r.sums
	return r.Deliver(ctx, Item{Kind: SyncEnd, Rev: r.to, Header: r.header, Sync: &info})
}

// get reads with a deadline that leaves room for a big page on a slow line.
func (r *Resync) get(ctx context.Context, key []byte, opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return r.KV.Get(ctx, string(key), opts...)
}

// survey counts the keys modified since From, and those of them that the index does not know.
func (r *Resync) survey(ctx context.Context) (changed, created int64, err error) {
	resp, err := r.get(ctx, r.Range.Key, r.rangeOps(clientv3.WithRev(r.to), clientv3.WithMinModRev(r.From+1),
		clientv3.WithKeysOnly(), clientv3.WithLimit(smallChange+1)))
	if err != nil {
		return 0, 0, err
	}
	for _, kv := range resp.Kvs {
		_, ok, err := r.Index.Get(kv.GetKey())
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			created++
		}
	}
	return int64(len(resp.Kvs)), created, nil
}

// deletes lists the keys there are and delivers a delete for every known key that is not among them. A page is definite
// for the keys from its beginning to its last one, or to the end of the range when it is the last page.
func (r *Resync) deletes(ctx context.Context, attempt int) error {
	size := int64(maxPage) << (2 * min(attempt, pinnedAttempts))
	from := r.Range.Key
	for {
		resp, err := r.get(ctx, from, r.rangeOps(clientv3.WithRev(r.to), clientv3.WithKeysOnly(), clientv3.WithLimit(size)))
		if err != nil {
			return err
		}
		var upTo []byte // the first key behind the page; nil: the page is the last one
		if resp.More {
			upTo = after(resp.Kvs[len(resp.Kvs)-1].GetKey())
		}
		if err := r.missing(ctx, from, upTo, resp.Kvs); err != nil || upTo == nil {
			return err
		}
		from = upTo
	}
}

// missing delivers a delete for every known key in [from, upTo) that is not listed.
func (r *Resync) missing(ctx context.Context, from, upTo []byte, listed []*mvccpb.KeyValue) error {
	for {
		known, err := r.Index.Page(from, maxPage)
		if err != nil {
			return err
		}
		last := len(known) < maxPage
		for i, k := range known {
			if upTo != nil && bytes.Compare(k.Key, upTo) >= 0 {
				known, last = known[:i], true
				break
			}
		}
		if gone := vanished(known, listed); len(gone) > 0 {
			if err := r.sendDeletes(ctx, gone); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		from = after(known[len(known)-1].Key)
	}
}

func (r *Resync) sendDeletes(ctx context.Context, gone []Entry) error {
	info := r.sums
	events := make([]*clientv3.Event, len(gone))
	for i, g := range gone {
		events[i] = &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: g.Key, ModRevision: r.to}}
		info.Vanished = append(info.Vanished, g.Known)
	}
	r.sums.Deletes += int64(len(gone))
	return r.Deliver(ctx, Item{Kind: SyncDeletes, Header: r.header, Events: events, Sync: &info})
}

// putsByRevision fetches what was modified since From in the order of modification.
func (r *Resync) putsByRevision(ctx context.Context, attempt int) error {
	p, since := newPage(attempt), r.From+1
	sent := map[string]bool{} // of revision since: a page may end inside a revision
	for {
		resp, err := r.get(ctx, r.Range.Key, r.rangeOps(clientv3.WithRev(r.to), clientv3.WithMinModRev(since), clientv3.WithLimit(p.limit),
			clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend)))
		if err != nil {
			return err
		}
		var fresh []*mvccpb.KeyValue
		for _, kv := range resp.Kvs {
			if kv.GetModRevision() != since {
				since, sent = kv.GetModRevision(), map[string]bool{}
			}
			if !sent[string(kv.GetKey())] {
				fresh = append(fresh, kv)
			}
			sent[string(kv.GetKey())] = true
		}
		if err := r.sendPuts(ctx, fresh); err != nil {
			return err
		}
		if !resp.More {
			return nil
		}
		p.seen(len(resp.Kvs), bytesOf(resp.Kvs))
		// A page that holds keys of one revision only, all sent before, must grow to get past it.
		if len(fresh) == 0 {
			p.limit *= 2
		}
	}
}

// putsByKey reads the whole range in pages and leaves out what the handler has.
func (r *Resync) putsByKey(ctx context.Context, attempt int) error {
	p, from := newPage(attempt), r.Range.Key
	for {
		resp, err := r.get(ctx, from, r.rangeOps(clientv3.WithRev(r.to), clientv3.WithLimit(p.limit)))
		if err != nil {
			return err
		}
		if err := r.sendPuts(ctx, resp.Kvs); err != nil || !resp.More {
			return err
		}
		p.seen(len(resp.Kvs), bytesOf(resp.Kvs))
		from = after(resp.Kvs[len(resp.Kvs)-1].GetKey())
	}
}

// sendPuts delivers those of kvs that the handler does not have yet.
func (r *Resync) sendPuts(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	info := r.sums
	var events []*clientv3.Event
	for _, kv := range kvs {
		if !r.Full && kv.GetModRevision() <= r.From {
			continue
		}
		known, ok, err := r.Index.Get(kv.GetKey())
		if err != nil {
			return err
		}
		if ok && known == KnownOf(kv) {
			continue
		}
		if ok && kv.GetCreateRevision() != known.Create {
			if info.Recreated == nil {
				info.Recreated = map[string]bool{}
			}
			info.Recreated[string(kv.GetKey())] = true
		}
		events = append(events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv})
	}
	if len(events) == 0 {
		return nil
	}
	r.sums.Puts += int64(len(events))
	return r.Deliver(ctx, Item{Kind: SyncPuts, Header: r.header, Events: events, Sync: &info})
}

// atOnce reads keys and changed values in one transaction, at one revision and without a pinned one.
func (r *Resync) atOnce(ctx context.Context) error {
	tctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	since := clientv3.WithMinModRev(r.From + 1)
	if r.Full {
		since = clientv3.WithMinModRev(0)
	}
	resp, err := r.KV.Commit(tctx, nil, []clientv3.Op{
		clientv3.OpGet(string(r.Range.Key), r.rangeOps(clientv3.WithKeysOnly())...),
		clientv3.OpGet(string(r.Range.Key), r.rangeOps(since, clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend))...),
	}, nil)
	if err != nil {
		return err
	}
	if err := r.begin(ctx, resp.Header); err != nil {
		return err
	}
	if err := r.missing(ctx, r.Range.Key, nil, resp.Responses[0].GetResponseRange().GetKvs()); err != nil {
		return err
	}
	if err := r.sendPuts(ctx, resp.Responses[1].GetResponseRange().GetKvs()); err != nil {
		return err
	}
	return r.end(ctx)
}

// KnownOf returns what the index keeps of kv.
func KnownOf(kv *mvccpb.KeyValue) Known {
	return Known{
		Create: kv.GetCreateRevision(), Mod: kv.GetModRevision(), Version: kv.GetVersion(), Lease: kv.GetLease(),
		Sum: valueSum(kv.GetValue()),
	}
}

func after(key []byte) []byte { return append(bytes.Clone(key), 0) }

func bytesOf(kvs []*mvccpb.KeyValue) int64 {
	var n int64
	for _, kv := range kvs {
		n += int64(len(kv.GetKey()) + len(kv.GetValue()) + 64)
	}
	return n
}
