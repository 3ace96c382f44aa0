package watch

import (
	"context"
	"errors"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// stream is one raw watch on one member.
type stream struct {
	w      *Watcher
	cur    *Cursor
	q      *queue
	member Member
	held   []Item // released by the cursor, but not yet in the queue
}

type received struct {
	resp *pb.WatchResponse
	err  error
}

// errSilent ends a stream that no longer answers although its member does.
var errSilent = errors.New("the watch stream fell silent")

// run watches until the stream ends or ctx does.
func (s *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.cur.Reopen()
	raw, err := s.member.Open(ctx)
	if err != nil {
		cancel()
		return err
	}
	in := make(chan received)
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(ctx, raw, in)
	}()
	defer func() { <-done }()
	defer cancel()
	if err := raw.Send(s.create()); err != nil {
		return firstError(ctx, in, err)
	}
	return s.loop(ctx, raw, in)
}

func (s *stream) create() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: s.w.Range.Key, RangeEnd: s.w.Range.End, StartRevision: s.cur.Start(),
		PrevKv: s.w.PrevKV, ProgressNotify: s.w.ProgressNotify, Fragment: s.w.Fragment,
	}}}
}

// receive reads raw until it fails. Not reading is what slows the server down: gRPC's flow control does the rest.
func receive(ctx context.Context, raw pb.Watch_WatchClient, in chan<- received) {
	for {
		resp, err := raw.Recv()
		select {
		case in <- received{resp, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// firstError prefers what the server said over the bare end of the stream that Send reports.
func firstError(ctx context.Context, in <-chan received, sendErr error) error {
	for {
		select {
		case r := <-in:
			if r.err != nil {
				return r.err
			}
		case <-ctx.Done():
			return sendErr
		}
	}
}

// loop takes messages, asks for progress while there are none, and stops reading while the queue is full.
func (s *stream) loop(ctx context.Context, raw pb.Watch_WatchClient, in <-chan received) error {
	ask := s.w.ProgressEvery
	if ask <= 0 || !s.soundProgress(ctx) {
		ask = 0
	}
	tick := time.NewTicker(cmpOr(ask, time.Hour))
	defer tick.Stop()
	heard, full := time.Now(), time.Time{}
	for {
		from := in
		if len(s.held) > 0 {
			from = nil
		}
		var space <-chan struct{}
		var giveUp <-chan time.Time
		if len(s.held) > 0 {
			space = s.q.popped
			giveUp = time.After(time.Until(full.Add(fullFor)))
		}
		select {
		case r := <-from:
			heard = time.Now()
			if err := s.take(r); err != nil {
				return err
			}
			full = time.Now()
		case <-space:
			s.flush()
		case <-giveUp:
			return errFull
		case <-tick.C:
			if ask == 0 || time.Since(heard) < ask || len(s.held) > 0 {
				continue
			}
			if s.w.StallAfter > 0 && time.Since(heard) > s.w.StallAfter {
				return errSilent
			}
			if err := raw.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
				return firstError(ctx, in, err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take puts what a message released into the queue, or holds it while the queue is full.
func (s *stream) take(r received) error {
	if r.err != nil {
		return r.err
	}
	step, err := s.cur.Apply(r.resp)
	if err != nil {
		return err
	}
	if step.Events == nil && step.Progress == 0 {
		return nil
	}
	it := Item{Kind: Events, Rev: s.cur.Position(), Header: r.resp.GetHeader(), Events: s.inRange(step.Events)}
	if step.Progress > 0 {
		it.Kind = Progress
	}
	s.held = append(s.held, it)
	s.flush()
	return nil
}

func (s *stream) flush() {
	for len(s.held) > 0 && s.q.tryPush(s.held[0]) {
		s.held = s.held[1:]
	}
}

// inRange drops the keys of a server that shows more than was asked for (GHSA-xg4h-6gfc-h4m8).
func (s *stream) inRange(events []*clientv3.Event) []*clientv3.Event {
	for i, e := range events {
		if !s.w.Range.Contains(e.GetKv().GetKey()) {
			kept := append([]*clientv3.Event(nil), events[:i]...)
			for _, e := range events[i:] {
				if s.w.Range.Contains(e.GetKv().GetKey()) {
					kept = append(kept, e)
				}
			}
			return kept
		}
	}
	return events
}

// soundProgress says whether this member's answers to progress requests can be believed.
func (s *stream) soundProgress(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	v, err := s.member.Version(ctx)
	return err == nil && SoundProgress(v)
}

// mendable says whether another member, or the same one later, may do what this one refused.
func (e *CanceledError) mendable() bool {
	return strings.Contains(e.Reason, "no leader") || strings.Contains(e.Reason, "server stopped")
}

func cmpOr(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
