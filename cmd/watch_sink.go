package cmd

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/watch"
)

// handler handles groups in order. It calls acked(n) whenever the first n of them are handled, and returns nil when all are.
type handler interface {
	handle(ctx context.Context, groups []group, acked func(n int) error) error
	close() error
}

// syncEvery is how far apart the checkpoint's fsyncs are: what is lost with the machine's power is handled once more.
const syncEvery = 200 * time.Millisecond

// sink hands a watch's items to a handler and records in the checkpoint what was handled. The lock is for the clock that
// syncs behind the last event.
type sink struct {
	handler handler
	keep    func(*clientv3.Event) bool // --put-only, --delete-only
	stats   *watchStats

	mu     sync.Mutex
	file   *checkpoint.File
	index  *checkpoint.Index // nil: none
	state  checkpoint.State
	synced time.Time
	failed error

	// handled is the position that was saved by an earlier process, while an index that lags behind it catches up.
	handled int64
	// work is the handler's context: it outlives a stop by the grace. stopping is closed when a stop is asked for.
	work     context.Context
	stopping <-chan struct{}
	// fed is the position of the index.
	fed int64
}

// The phases of a checkpoint.
const (
	phaseLive    = "live"
	phaseSyncing = "syncing"
)

// deliver handles one item of the watch.
func (s *sink) deliver(_ context.Context, it watch.Item) error {
	if err := s.arrive(it); err != nil {
		return err
	}
	all := groups(it, s.state.ClusterID)
	if it.Kind == watch.SyncBegin || it.Kind == watch.SyncEnd {
		if it.Sync.Reason == watch.ReasonIndex {
			all = nil // the handler has no part in that
		}
	}
	todo := slices.Clone(all)
	for i := range todo {
		if s.isHandled(todo[i]) && it.Kind != watch.SyncDeletes {
			todo[i].events = nil
		}
		todo[i].events = s.filtered(todo[i].events)
	}
	if err := s.announce(it); err != nil {
		return err
	}
	done := 0
	err := s.handler.handle(s.work, todo, func(n int) error {
		err := s.ack(all[done:n])
		done = n
		return err
	})
	if err != nil {
		return err
	}
	return s.moved(it)
}

// arrive notes what an item says of the cluster.
func (s *sink) arrive(it watch.Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.stats.saw(it.Header.GetRevision())
	s.state.MemberID = it.Header.GetMemberId()
	s.state.Term = max(s.state.Term, it.Header.GetRaftTerm())
	if it.Kind != watch.SyncBegin {
		return nil
	}
	if it.Sync.Full && it.Sync.Reason != watch.ReasonIndex {
		s.handled = 0 // everything is sent, also what was handled before
	}
	if it.Sync.Reason == watch.ReasonRegression {
		s.state.Rev, s.state.Anchor, s.state.Samples, s.state.Term = 0, nil, nil, it.Header.GetRaftTerm()
	}
	s.state.ClusterID = it.Header.GetClusterId()
	s.state.Phase = phaseSyncing
	return s.file.Put(s.state)
}

// announce records which keys the handler is about to hear of: it may be told of one, and never get to acknowledge it.
func (s *sink) announce(it watch.Item) error {
	if s.index == nil || len(it.Events) == 0 || it.Kind == watch.SyncDeletes {
		return nil
	}
	changes := make([]checkpoint.Change, len(it.Events))
	for i, e := range it.Events {
		changes[i] = checkpoint.Change{
			Key: e.GetKv().GetKey(), Rev: e.GetKv().GetModRevision(), Deleted: e.GetType() == clientv3.EventTypeDelete, Created: e.IsCreate(),
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.Announce(changes)
}

// isHandled says whether an earlier process handled g already, and only the index lacks it.
func (s *sink) isHandled(g group) bool {
	return len(g.events) > 0 && g.events[0].GetKv().GetModRevision() <= s.handled
}

// filtered returns the events that the handler wants. The index learns of the others all the same.
func (s *sink) filtered(events []*clientv3.Event) []*clientv3.Event {
	if s.keep == nil {
		return events
	}
	var kept []*clientv3.Event
	for _, e := range events {
		if s.keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// ack records that groups are handled.
func (s *sink) ack(groups []group) error {
	if len(groups) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range groups {
		for _, e := range g.events {
			s.learn(e)
		}
		s.fed = max(s.fed, g.rev)
		s.stats.handled(len(g.events), g.rev)
		if g.rev <= s.state.Rev {
			continue
		}
		s.state.Rev, s.state.Anchor = g.rev, nil // the end of a resync leaves no event to remember
		if n := len(g.events); n > 0 {
			s.state.Anchor = anchorOf(g.events[n-1])
		}
	}
	if s.index != nil && s.index.Full() {
		if err := s.flush(); err != nil {
			return err
		}
	}
	return s.put()
}

func anchorOf(e *clientv3.Event) *checkpoint.Anchor {
	a := checkpoint.Anchor(*watch.AnchorOf(e, checkpoint.Sum))
	return &a
}

// learn keeps the index in step with an event. It belongs to everything handled, filtered out or not.
func (s *sink) learn(e *clientv3.Event) {
	switch {
	case s.index == nil:
	case e.GetType() == clientv3.EventTypeDelete:
		s.index.Delete(e.GetKv().GetKey(), e.GetKv().GetModRevision())
	default:
		s.index.Set(e.GetKv().GetKey(), checkpoint.Known(watch.KnownOf(e.GetKv())))
	}
}

// moved records the position at the end of an item: progress, or the end of a resync.
func (s *sink) moved(it watch.Item) error {
	if it.Rev <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if it.Kind == watch.SyncEnd {
		if s.index != nil {
			s.index.Settle()
		}
		s.state.Phase, s.fed = phaseLive, it.Rev
		if it.Rev > s.state.Rev {
			s.state.Rev, s.state.Anchor = it.Rev, nil
		}
		return s.flush()
	}
	s.fed = max(s.fed, it.Rev)
	s.state.Rev = max(s.state.Rev, it.Rev)
	s.stats.handled(0, it.Rev)
	return s.put()
}

// put writes the state where it survives the death of this process, and from time to time where it survives more.
func (s *sink) put() error {
	now := time.Now()
	s.state.Updated = now.UTC()
	if now.Sub(s.synced) >= syncEvery {
		return s.durably((*checkpoint.Index).Sync)
	}
	// The index goes first: with the checkpoint ahead of it, a compaction in between would leave keys that nobody knows of.
	if s.index != nil && s.state.Phase == phaseLive {
		if err := s.index.Log(s.fed); err != nil {
			return err
		}
	}
	return s.file.Put(s.state)
}

// sample notes that the cluster was at revision rev at time t, and returns what is known of that kind.
func (s *sink) sample(t time.Time, rev int64) []watch.Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.AddSample(t, rev)
	return append(points(s.state.Samples), watch.Point{At: t, Rev: rev})
}

// flush makes index and checkpoint durable, and the index short.
func (s *sink) flush() error { return s.durably((*checkpoint.Index).Flush) }

// durably makes index and checkpoint durable. Each carries its own position: an index that is older than the checkpoint is
// fed again from there, and inside a resync, whose parts are no revision's state, it keeps the position from before.
func (s *sink) durably(save func(*checkpoint.Index, int64) error) error {
	if s.index != nil {
		rev := s.fed
		if s.state.Phase != phaseLive {
			rev = s.index.Rev()
		}
		if err := save(s.index, rev); err != nil {
			return err
		}
	}
	if err := s.file.Put(s.state); err != nil {
		return err
	}
	s.synced = time.Now()
	return s.file.Sync()
}

// tick syncs what the last event left unsynced, until ctx ends.
func (s *sink) tick(ctx context.Context) {
	t := time.NewTicker(syncEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.mu.Lock()
			if s.file.Dirty() && s.failed == nil {
				s.failed = s.durably((*checkpoint.Index).Sync)
			}
			s.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// close records what was handled, and lets handler, index and checkpoint go.
func (s *sink) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(s.failed, s.handler.close())
	if s.failed == nil {
		s.state.Mark = "" // what the handler left now, it left on purpose
		err = errors.Join(err, s.flush())
	}
	if s.index != nil {
		err = errors.Join(err, s.index.Close())
	}
	return errors.Join(err, s.file.Close())
}
