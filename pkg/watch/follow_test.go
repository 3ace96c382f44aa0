package watch

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// script is a Source and a KV whose streams are functions: each stream that is opened plays the next one.
type script struct {
	version string
	streams []func(ctx context.Context, s *rawStream)
	starts  []int64
	rev     int64 // of Get
	created func(*pb.WatchCreateRequest)
	gets    func(key string, op clientv3.Op) *clientv3.GetResponse
	members []Member // of each stream; none: an endpoint without a name, of that version
}

func (s *script) Stream(ctx context.Context, work func(context.Context, Member) error) error {
	for {
		m := Member{Version: func(context.Context) (string, error) { return s.version, nil }}
		if len(s.members) > 0 {
			m, s.members = s.members[0], s.members[1:]
		}
		m.Open = s.open
		err := work(ctx, m)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *script) open(ctx context.Context, _ int) (pb.Watch_WatchClient, error) {
	if len(s.streams) == 0 {
		return nil, errors.New("no more streams")
	}
	play := s.streams[0]
	s.streams = s.streams[1:]
	raw := &rawStream{ctx: ctx, down: make(chan *pb.WatchResponse), up: make(chan *pb.WatchRequest, 100), script: s}
	go func() {
		defer close(raw.down)
		req := <-raw.up
		s.starts = append(s.starts, req.GetCreateRequest().GetStartRevision())
		if s.created != nil {
			s.created(req.GetCreateRequest())
		}
		play(ctx, raw)
	}()
	return raw, nil
}

func (s *script) Get(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if s.gets != nil {
		return s.gets(key, clientv3.OpGet(key, opts...)), nil
	}
	return &clientv3.GetResponse{Header: header(s.rev)}, nil
}

func (s *script) Commit(context.Context, []clientv3.Cmp, []clientv3.Op, []clientv3.Op) (*clientv3.TxnResponse, error) {
	return nil, errors.New("not here")
}

type rawStream struct {
	grpc.ClientStream
	ctx    context.Context
	down   chan *pb.WatchResponse
	up     chan *pb.WatchRequest
	script *script
	fail   error // when it is over; nil: io.EOF
}

func (r *rawStream) Send(req *pb.WatchRequest) error { r.up <- req; return nil }

func (r *rawStream) Recv() (*pb.WatchResponse, error) {
	select {
	case resp, ok := <-r.down:
		if !ok && r.fail != nil {
			return nil, r.fail
		}
		if !ok {
			return nil, io.EOF
		}
		return resp, nil
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
}

// say sends messages, unless the stream is given up.
func (r *rawStream) say(resps ...*pb.WatchResponse) {
	for _, resp := range resps {
		select {
		case r.down <- resp:
		case <-r.ctx.Done():
			return
		}
	}
}

// asked waits for a progress request and says whether one came within d.
func (r *rawStream) asked(d time.Duration) bool {
	select {
	case req := <-r.up:
		return req.GetProgressRequest() != nil
	case <-time.After(d):
		return false
	}
}

var errEnough = errors.New("enough")

// follow collects items until one of them is at position end.
func follow(t *testing.T, w *Watcher, cur *Cursor, end int64) (items []Item) {
	t.Helper()
	err := w.Follow(t.Context(), cur, func(_ context.Context, it Item) error {
		items = append(items, it)
		if it.Rev >= end {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("follow: %v", err)
	}
	return items
}

func delivered(items []Item) (all []string) {
	for _, it := range items {
		all = append(all, names(it.Events)...)
	}
	return all
}

func allKeys() Range { return Range{Key: []byte{0}, End: []byte{0}} }

func TestFollowReliableAcrossStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{streams: []func(context.Context, *rawStream){
			func(_ context.Context, r *rawStream) {
				r.say(created(), events(9, false, ev(6, "a")), events(9, true, ev(7, "b")))
			},
			func(_ context.Context, r *rawStream) {
				r.say(created(), events(9, false, ev(6, "a"), ev(7, "b"), ev(7, "c"), ev(8, "d")))
			},
		}}
		items := follow(t, &Watcher{Source: s, KV: s, Config: Config{Range: allKeys()}}, After(5), 8)
		if got := delivered(items); !slices.Equal(got, []string{"6:a", "7:b", "7:c", "8:d"}) {
			t.Errorf("delivered %v", got)
		}
		if !slices.Equal(s.starts, []int64{5, 6}) {
			t.Errorf("streams began at %v", s.starts)
		}
	})
}

func TestFollowFixesNowBeforeItOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{rev: 41, streams: []func(context.Context, *rawStream){
			func(_ context.Context, r *rawStream) { r.say(created()) },
			func(_ context.Context, r *rawStream) { r.say(created(), events(50, false, ev(41, "old"), ev(42, "a"))) },
		}}
		items := follow(t, &Watcher{Source: s, KV: s, Config: Config{Range: allKeys()}}, Since(0), 42)
		if !slices.Equal(s.starts, []int64{41, 41}) || !slices.Equal(delivered(items), []string{"42:a"}) {
			t.Errorf("streams began at %v, so that revision 42 could have been missed; delivered %v", s.starts, delivered(items))
		}
	})
}

func TestFollowAsksForProgressOnlyWhereItIsSound(t *testing.T) {
	for version, want := range map[string]bool{"3.7.3": true, "3.5.7": false, "3.4.23": false} {
		synctest.Test(t, func(t *testing.T) {
			asked := false
			s := &script{version: version, streams: []func(context.Context, *rawStream){func(_ context.Context, r *rawStream) {
				r.say(created())
				asked = r.asked(time.Minute)
				r.say(events(9, false, ev(9, "a")))
			}}}
			w := &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), ProgressEvery: 5 * time.Second}}
			follow(t, w, After(5), 9)
			if asked != want {
				t.Errorf("%s was asked: %v", version, asked)
			}
		})
	}
}

func TestFollowProgressQueuesBehindEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{streams: []func(context.Context, *rawStream){func(_ context.Context, r *rawStream) {
			r.say(created(), events(20, false, ev(6, "a")), events(20, false, ev(7, "b")), progress(20))
		}}}
		items := follow(t, &Watcher{Source: s, KV: s, Config: Config{Range: allKeys()}}, After(5), 20)
		var revs []int64
		for _, it := range items {
			revs = append(revs, it.Rev)
		}
		if !slices.Equal(revs, []int64{6, 7, 20}) {
			t.Errorf("positions %v", revs)
		}
	})
}

func TestFollowLeavesAStreamThatNoLongerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{version: "3.7.3", streams: []func(context.Context, *rawStream){
			func(ctx context.Context, r *rawStream) {
				r.say(created())
				r.asked(time.Minute)
				r.say(progress(6))
				<-ctx.Done() // and from now on nothing
			},
			func(_ context.Context, r *rawStream) { r.say(created(), events(9, false, ev(7, "a"))) },
		}}
		begun := time.Now()
		w := &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), ProgressEvery: 5 * time.Second, StallAfter: 30 * time.Second}}
		if got := delivered(follow(t, w, After(5), 7)); !slices.Equal(got, []string{"7:a"}) {
			t.Errorf("delivered %v", got)
		}
		if d := time.Since(begun); d < 30*time.Second || d > 46*time.Second {
			t.Errorf("the silent stream was left after %v", d)
		}
	})
}

// A handler that is slower than the watch: the stream is given up, so that the backlog waits in etcd's history and neither
// here nor in the member's memory, and everything still arrives.
func TestFollowBoundsItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := strings.Repeat("x", 1000)
		play := func(ctx context.Context, r *rawStream) {
			r.say(created())
			for rev := max(r.script.starts[len(r.script.starts)-1], 6); rev <= 40; rev++ {
				e := ev(rev, "k")
				e.Kv.Value = []byte(big)
				r.say(events(40, false, e))
			}
			<-ctx.Done()
		}
		s := &script{streams: slices.Repeat([]func(context.Context, *rawStream){play}, 40)}
		w := &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), QueueBytes: 5000}}
		var got []int64
		err := w.Follow(t.Context(), After(5), func(_ context.Context, it Item) error {
			time.Sleep(8 * time.Second)
			got = append(got, it.Rev)
			if it.Rev == 40 {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) || len(got) != 35 || !slices.IsSorted(got) {
			t.Errorf("%v after positions %v", err, got)
		}
		if len(s.starts) < 3 {
			t.Errorf("the stream was never given up: %v", s.starts)
		}
	})
}

func TestFollowDeliversWhatCameBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{streams: []func(context.Context, *rawStream){func(_ context.Context, r *rawStream) {
			r.say(created(), events(9, false, ev(6, "a")), &pb.WatchResponse{Canceled: true, CompactRevision: 30})
		}}}
		var got []string
		err := (&Watcher{Source: s, KV: s, Config: Config{Range: allKeys()}}).Follow(t.Context(), After(5), func(_ context.Context, it Item) error {
			got = append(got, names(it.Events)...)
			return nil
		})
		if !as[*CompactedError](err) || !slices.Equal(got, []string{"6:a"}) {
			t.Errorf("%v after %v", err, got)
		}
	})
}

func TestIdleAdvanceNeedsItsProof(t *testing.T) {
	for _, c := range []struct {
		name            string
		mode            IdleMode
		changed, before int64 // keys modified since; keys at the position (3 there are at the sample)
		want            string
	}{
		{"nothing changed", IdleProof, 0, 3, "advance"},
		{"a key was modified", IdleProof, 1, 3, "reopen"},
		{"a key was deleted", IdleProof, 0, 4, "reopen"},
		{"naive believes in time", IdleNaive, 1, 4, "advance"},
		{"strict never does", IdleStrict, 0, 3, "wait"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{version: "3.5.7"}
			s.gets = func(_ string, op clientv3.Op) *clientv3.GetResponse {
				r := &clientv3.GetResponse{Header: header(100), Count: 3}
				switch {
				case op.MinModRev() > 0:
					for range c.changed {
						r.Kvs = append(r.Kvs, ev(60, "k").Kv)
					}
				case op.Rev() == 5:
					r.Count = c.before
				}
				return r
			}
			idle := func(ctx context.Context, r *rawStream) { r.say(created()); <-ctx.Done() }
			s.streams = []func(context.Context, *rawStream){idle, func(_ context.Context, r *rawStream) { r.say(created(), events(99, false, ev(60, "k"))) }}
			w := &Watcher{Source: s, KV: s, Config: Config{
				Range: allKeys(), Idle: Idle{Mode: c.mode, After: 600 * time.Second, Lag: 60 * time.Second}, ProgressEvery: 5 * time.Second,
			}}
			got := "wait"
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
			defer cancel()
			_ = w.Follow(ctx, After(5), func(_ context.Context, it Item) error {
				if got = "reopen"; it.Kind == Progress && it.Rev == 100 {
					got = "advance"
				}
				return errEnough
			})
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		})
	}
}

func TestFollowReshapesItsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many []*clientv3.Event
		for range smallEvents + 1 {
			many = append(many, ev(6, "k"))
		}
		var asked []bool
		s := &script{}
		s.streams = []func(context.Context, *rawStream){
			func(_ context.Context, r *rawStream) {
				r.say(created())
				r.fail = status.Error(codes.ResourceExhausted, "grpc: received message larger than max")
			},
			func(_ context.Context, r *rawStream) { r.say(created(), events(9, true, many...)) },
			func(_ context.Context, r *rawStream) { r.say(created(), events(9, false, many...)) },
		}
		s.created = func(req *pb.WatchCreateRequest) { asked = append(asked, req.GetFragment()) }
		items := follow(t, &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), Fragment: true}}, After(5), 6)
		if len(delivered(items)) != len(many) || !slices.Equal(asked, []bool{false, true, false}) {
			t.Errorf("%d events; fragments asked for: %v", len(delivered(items)), asked)
		}
	})
}
