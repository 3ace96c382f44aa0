package watch

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stream is one raw watch on one member.
type stream struct {
	w      *Watcher
	cur    *Cursor
	q      *queue
	member Member
	held   []Item // released by the cursor, but not yet in the queue
	in     chan received
	// more holds a token when one more message may be read. A message that is read is decoded, and takes memory.
	more  chan struct{}
	asked bool // a token is out
}

type received struct {
	resp *pb.WatchResponse
	err  error
}

// errSilent ends a stream that no longer answers although its member does.
var errSilent = errors.New("the watch stream fell silent")

// run watches until the stream ends or ctx does.
func (s *stream) run(ctx context.Context) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s.cur.Reopen()
	raw, err := s.member.Open(ctx, s.limit())
	if err != nil {
		cancel()
		return err
	}
	s.in, s.more = make(chan received), make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.receive(ctx, raw)
	}()
	defer func() { <-done }()
	defer cancel()
	if err := raw.Send(s.create()); err != nil {
		return s.firstError(ctx, err)
	}
	return s.loop(ctx, raw)
}

func (s *stream) create() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: s.w.Range.Key, RangeEnd: s.w.Range.End, StartRevision: s.cur.Start(),
		PrevKv: s.w.PrevKV, ProgressNotify: s.w.ProgressNotify, Fragment: s.w.Fragment && s.w.shape == fragments,
	}}}
}

// receive reads from raw what it is asked for, until that fails. Not reading is what slows the server down: gRPC's flow
// control does the rest.
func (s *stream) receive(ctx context.Context, raw pb.Watch_WatchClient) {
	for {
		select {
		case <-s.more:
		case <-ctx.Done():
			return
		}
		resp, err := raw.Recv()
		select {
		case s.in <- received{resp, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// reading asks for the next message if there is room for it, and says whether one is asked for. What waits for the handler
// must have fallen to half of its bound, for nobody knows how big the message will be.
func (s *stream) reading() bool {
	if !s.asked && len(s.held) == 0 && s.q.size() <= s.q.limit/2 {
		s.more <- struct{}{}
		s.asked = true
	}
	return s.asked
}

// firstError prefers what the server said over the bare end of the stream that Send reports.
func (s *stream) firstError(ctx context.Context, sendErr error) error {
	close(s.more)
	for {
		select {
		case r := <-s.in:
			if r.err != nil {
				return r.err
			}
		case <-ctx.Done():
			return sendErr
		}
	}
}

// check makes sure, when a stream broke, that the next one continues the same history: a cluster restored from a backup
// in between would be waited for in silence until it overtakes the position.
func (s *stream) check(ctx context.Context) error {
	first := !s.cur.opened
	s.cur.opened = true
	if s.w.Guard == nil || first {
		return nil
	}
	ev := *s.w.Guard
	ev.Rev = s.cur.Position()
	if s.cur.newest != nil {
		ev.Anchor = AnchorOf(s.cur.newest, valueSum)
	}
	head, err := s.w.Verify(ctx, ev)
	if err == nil {
		s.w.Guard.Term = head.Term
	}
	return err
}

// loop takes messages, asks for progress while there are none, and stops reading while the queue is full.
func (s *stream) loop(ctx context.Context, raw pb.Watch_WatchClient) error {
	timing := newTiming(s.w.Config, time.Now())
	version, forget := s.askVersion(ctx)
	defer forget()
	tick := time.NewTicker(timing.every(s.w.Config))
	defer tick.Stop()
	var again <-chan time.Time // runs while somebody waits for the answer to Ask
	for {
		var space <-chan struct{}
		var giveUp <-chan time.Time
		ask := s.w.Ask
		if !s.cur.created {
			ask = nil // an answer may overtake the word that the watch was created, and is then no answer
		}
		reading := s.reading()
		if !reading {
			space = s.q.popped
			giveUp = time.After(time.Until(timing.heard.Add(fullFor)))
		}
		select {
		case r := <-s.in:
			s.asked = false
			moved, answered, err := s.take(r)
			if err != nil {
				return err
			}
			timing.hear(time.Now(), moved, answered)
			if answered {
				again = nil
			}
		case v := <-version:
			s.trust(ctx, timing, v)
		case <-space:
			s.flush()
		case <-giveUp:
			return errFull
		case <-tick.C:
			if !reading {
				continue
			}
			if err := s.tick(ctx, raw, timing); err != nil {
				return s.sendError(ctx, err)
			}
		case <-ask:
			again = time.After(0)
		case <-again:
			if err := raw.Send(progressRequest()); err != nil {
				return s.sendError(ctx, err)
			}
			again = time.After(askAgain)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// askVersion asks the member for its version; events do not wait for the answer. There is none where nobody needs it.
func (s *stream) askVersion(ctx context.Context) (answer <-chan string, forget func()) {
	if s.w.ProgressEvery <= 0 {
		return nil, func() {}
	}
	version := make(chan string, 1)
	ctx, stop := context.WithCancel(ctx)
	var asked sync.WaitGroup
	asked.Go(func() { version <- s.version(ctx) })
	return version, func() { stop(); asked.Wait() }
}

// trust takes the member's version into account.
func (s *stream) trust(ctx context.Context, t *timing, version string) {
	version = s.w.saw(s.member.Endpoint, version)
	t.trust(s.w.Config, version)
	if !AnswersProgress(version) && s.w.Idle.Mode == IdleProof {
		s.count(ctx)
	}
}

// askAgain is how long the answer to Ask may take before it is asked for again: servers do not answer at all while a watch
// is still catching up, be it only with the revision that it begins with.
const askAgain = 300 * time.Millisecond

func progressRequest() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
}

// sendError is the reason why a stream ended: for a failed Send, what the server said.
func (s *stream) sendError(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) {
		return s.firstError(ctx, err)
	}
	return err
}

// tick does what is due on a stream that is silent.
func (s *stream) tick(ctx context.Context, raw pb.Watch_WatchClient, t *timing) error {
	now := time.Now()
	if t.stalled(now) {
		return errSilent
	}
	if s.w.Compactions != nil {
		t.idle.rules = s.w.Idle.Within(s.w.Compactions())
	}
	if t.askNow(now) {
		if err := raw.Send(progressRequest()); err != nil {
			return err
		}
	}
	switch t.idle.step(now) {
	case idleSample:
		if head, err := s.w.head(ctx); err == nil {
			t.idle.sampledAt(time.Now(), head.Rev)
		}
	case idleAdvance:
		return s.advance(ctx, t)
	}
	return nil
}

// take puts what a message released into the queue, or holds it while the queue is full.
func (s *stream) take(r received) (moved, answered bool, err error) {
	if s.reshape(r) {
		return false, false, errReshape
	}
	if r.err != nil {
		return false, false, r.err
	}
	step, err := s.cur.Apply(r.resp)
	if err != nil || step.Events == nil && step.Progress == 0 {
		return false, false, err
	}
	if step.Progress > 0 {
		s.held = append(s.held, Item{Kind: Progress, Rev: s.cur.Position(), Header: r.resp.GetHeader()})
	} else {
		s.held = append(s.held, s.items(step.Events, r.resp.GetHeader())...)
	}
	s.flush()
	return true, step.Progress > 0 && r.resp.GetWatchId() == -1, nil
}

// items makes items of the events of whole revisions: one, or, where that is asked for, several of bounded size. Each has a
// slice of its own, so that what is handled is free although its message is not.
func (s *stream) items(events []*clientv3.Event, h *pb.ResponseHeader) (all []Item) {
	it := Item{Kind: Events, Rev: s.cur.Position(), Header: h}
	if s.w.ItemBytes <= 0 {
		it.Events = s.inRange(events)
		return []Item{it}
	}
	first, bytes := 0, int64(0)
	for i, e := range events {
		rev := e.GetKv().GetModRevision()
		if bytes >= s.w.ItemBytes && rev != events[i-1].GetKv().GetModRevision() {
			part := it
			part.Rev, part.Events = events[i-1].GetKv().GetModRevision(), s.inRange(slices.Clone(events[first:i]))
			all, first, bytes = append(all, part), i, 0
		}
		bytes += sizeOf(e)
	}
	it.Events = s.inRange(slices.Clone(events[first:]))
	return append(all, it)
}

// errReshape ends a stream to open it again with messages of another shape.
var errReshape = errors.New("reopening the stream with messages of another shape")

// shape is how a stream's messages are cut. Up to 1,000 revisions come in one message, whatever their size, unless the
// server is asked for fragments of 1.5 MiB. But for these it measures the whole fragment anew for every event that it adds
// (server/etcdserver/api/v3rpc/watch.go, sendFragments, v3.7): with small events a single one takes it minutes. So messages
// come whole, until one is bigger than wholeBytes; then in fragments; and if these are of small events, whole again.
type shape int

const (
	whole shape = iota
	fragments
	wholeAnySize
)

const (
	wholeBytes  = 32 << 20
	smallEvents = 3000 // in one fragment
)

// limit is the size of the biggest message that the stream takes, in bytes.
func (s *stream) limit() int {
	if s.w.Fragment && s.w.shape == whole {
		return wholeBytes
	}
	return math.MaxInt32
}

// reshape says whether messages must come in another shape than r did. Nothing of r was taken then.
func (s *stream) reshape(r received) bool {
	switch {
	case !s.w.Fragment:
		return false
	case s.w.shape == whole && status.Code(r.err) == codes.ResourceExhausted:
		s.w.shape = fragments
		return true
	case s.w.shape == fragments && r.resp.GetFragment() && len(r.resp.GetEvents()) > smallEvents:
		s.w.shape = wholeAnySize
		return true
	}
	return false
}

func (s *stream) flush() {
	for len(s.held) > 0 && s.q.tryPush(s.held[0]) {
		s.held[0] = Item{} // let the collector have it
		s.held = s.held[1:]
	}
}

// inRange drops the keys of a server that shows more than was asked for (GHSA-xg4h-6gfc-h4m8).
func (s *stream) inRange(events []*clientv3.Event) []*clientv3.Event {
	outside := func(e *clientv3.Event) bool { return !s.w.Range.Contains(e.GetKv().GetKey()) }
	if !slices.ContainsFunc(events, outside) {
		return events
	}
	return slices.DeleteFunc(slices.Clone(events), outside)
}

// version returns the member's version, or "" if it does not say.
func (s *stream) version(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	v, err := s.member.Version(ctx)
	if err != nil {
		return ""
	}
	return v
}

// saw remembers the version of an endpoint, and returns the weakest of all that this watch has met. An endpoint that does
// not tell its own is not trusted now, but does not taint the others.
func (w *Watcher) saw(endpoint, version string) string {
	if _, _, _, ok := parseVersion(version); !ok {
		return ""
	}
	if w.versions == nil {
		w.versions = map[string]string{}
	}
	w.versions[endpoint] = version
	return weakest(slices.Collect(maps.Values(w.versions)))
}

// mendable says whether another member, or the same one later or after a new login, may do what this one refused.
func (e *CanceledError) mendable() bool {
	is := func(known error) bool { return errors.Is(e, known) }
	return is(rpctypes.ErrNoLeader) || slices.ContainsFunc(loginErrors(), is) || strings.Contains(e.Reason, "server stopped")
}
