package conn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// store is one key with its history, behind a network that can lose or delay.
type store struct {
	mu      sync.Mutex // guards all but begun
	begun   time.Time
	head    int64
	history []write // of the key, oldest first
	log     []string
	copies  []copyPlan // what happens to the first, second, ... copy
	sent    int
	reads   []error // what the reads return, in order; then nil
	change  change[string]
	err     error // of first
}

type write struct {
	rev   int64
	value string
}

type copyPlan struct {
	arrives time.Duration // after it was sent; <0: never
	answers time.Duration // after it arrived; <0: never
	err     error         // instead of being applied
	after   error         // the answer, though it was applied
	unsent  bool
	before  string // what another client writes right before it arrives
}

func newStore() *store {
	return &store{begun: time.Now(), head: 10, history: []write{{7, "before"}}}
}

// rev returns the key's mod revision, with mu held.
func (s *store) rev() int64 { return s.history[len(s.history)-1].rev }

func (s *store) write(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeLocked(value)
}

func (s *store) writeLocked(value string) {
	s.head++
	s.history = append(s.history, write{s.head, value})
}

func (s *store) guarded() guarded[string] {
	ms := func() int64 { return time.Since(s.begun).Milliseconds() }
	return guarded[string]{
		read: func(ctx context.Context) (guard, int, error) {
			if !sleep(ctx, time.Millisecond) {
				return guard{}, 0, ctx.Err()
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.log = append(s.log, fmt.Sprintf("+%d read", ms()))
			if len(s.reads) > 0 {
				err := s.reads[0]
				s.reads = s.reads[1:]
				if err != nil {
					return guard{}, 0, err
				}
			}
			return guard{s.rev(), s.head}, s.sent, nil
		},
		send: func(ctx context.Context, m int, g guard) reply[string] {
			s.mu.Lock()
			s.log = append(s.log, fmt.Sprintf("+%d send to %d", ms(), m))
			plan := copyPlan{}
			if s.sent < len(s.copies) {
				plan = s.copies[s.sent]
			}
			s.sent++
			s.mu.Unlock()
			return s.deliver(ctx, m, g, plan)
		},
		first: func(ctx context.Context, g guard) (change[string], error) {
			if !sleep(ctx, time.Millisecond) {
				return change[string]{}, ctx.Err()
			}
			if c, err, ok := s.firstAfter(g); ok {
				return c, err
			}
			<-ctx.Done()
			return change[string]{}, ctx.Err()
		},
		judge: func(_ int, err error) (verdict, Reason, error) {
			if errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return final, Other, err
			}
			return elsewhere, Silent, err
		},
		failed: func(int, Reason) {},
	}
}

func (s *store) firstAfter(g guard) (c change[string], err error, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return c, s.err, true
	}
	for _, w := range s.history {
		if w.rev > g.head && w.value == "mine" {
			return change[string]{own, "mine"}, nil, true
		}
		if w.rev > g.head {
			return s.change, nil, true // others by default
		}
	}
	return c, nil, false
}

// deliver follows the plan: the copy arrives although the caller may have given up.
func (s *store) deliver(ctx context.Context, m int, g guard, p copyPlan) reply[string] {
	r := reply[string]{member: m, guard: g, sent: !p.unsent, err: p.err}
	answered := make(chan struct{})
	if p.arrives >= 0 {
		time.AfterFunc(p.arrives, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if p.before != "" {
				s.writeLocked(p.before)
			}
			if p.err == nil {
				if r.applied = s.rev() == g.rev; r.applied {
					s.writeLocked("mine")
					r.resp = "mine"
				}
				r.now = guard{s.rev(), s.head}
				r.err = p.after
			}
			if p.answers >= 0 {
				time.AfterFunc(p.answers, func() { close(answered) })
			}
		})
	}
	select {
	case <-answered:
		return r
	case <-ctx.Done():
		return reply[string]{member: m, guard: g, sent: !p.unsent, err: ctx.Err()}
	}
}

func TestGuardedWrite(t *testing.T) {
	const ms, lost = time.Millisecond, -1 * time.Millisecond
	cases := []struct {
		name   string
		copies []copyPlan
		reads  []error
		change change[string]
		first  error
		theirs time.Duration // when another client writes; 0: never
		err    string        // part of the error; empty: none
		maybe  bool          // outcome unknown
		mine   int           // how often our value is in the history, a minute later
		last   string        // the key's value then
		log    string
	}{
		{name: "at once", mine: 1, last: "mine", log: "+1 read; +1 send to 0"},
		{
			name: "the first copy is lost", copies: []copyPlan{{arrives: lost}}, mine: 1, last: "mine",
			log: "+1 read; +1 send to 0; +302 read; +302 send to 1",
		},
		{
			name: "two are lost: patience doubles", copies: []copyPlan{{arrives: lost}, {arrives: lost}}, mine: 1, last: "mine",
			log: "+1 read; +1 send to 0; +302 read; +302 send to 1; +903 read; +903 send to 2",
		},
		{
			name: "only the answer is lost", copies: []copyPlan{{answers: lost}}, mine: 1, last: "mine",
			log: "+1 read; +1 send to 0; +302 read",
		},
		{
			name: "the first copy is slow, and then too late", copies: []copyPlan{{arrives: 20 * time.Second}}, theirs: 10 * time.Second, mine: 1, last: "theirs",
			log: "+1 read; +1 send to 0; +302 read; +302 send to 1",
		},
		{
			name: "its answer comes while the key is looked at", copies: []copyPlan{{answers: 300*ms + 500*time.Microsecond}}, mine: 1, last: "mine",
			log: "+1 read; +1 send to 0",
		},
		{
			name: "another client writes before a lost copy", copies: []copyPlan{{arrives: lost}}, theirs: 100 * ms, mine: 1, last: "mine",
			log: "+1 read; +1 send to 0; +302 read; +303 send to 1",
		},
		{
			name: "the connection breaks behind it", copies: []copyPlan{{after: errors.New("EOF")}}, mine: 1, last: "mine",
			log: "+1 read; +1 send to 0; +27 read",
		},
		{name: "a lease that is gone", copies: []copyPlan{{err: rpctypes.ErrLeaseNotFound}}, err: "lease not found", mine: 0, last: "before"},
		{name: "a lease that is gone, after a copy is lost", copies: []copyPlan{{arrives: lost}, {err: rpctypes.ErrLeaseNotFound}}, err: "lease not found", maybe: true, last: "before"},
		{
			name: "not sent", copies: []copyPlan{{unsent: true, err: errRefused}}, mine: 1, last: "mine",
			log: "+1 read; +1 send to 0; +27 read; +27 send to 1",
		},
		{
			name: "deleted by whom? the late answer tells", copies: []copyPlan{{arrives: lost}}, theirs: 100 * ms, change: change[string]{whose: unclear},
			err: "by somebody else", maybe: true, last: "theirs",
		},
		{name: "compacted", copies: []copyPlan{{arrives: lost}}, theirs: 100 * ms, first: rpctypes.ErrCompacted, err: "compacted", maybe: true, last: "theirs"},
		{name: "nobody answers after it was sent", copies: []copyPlan{{arrives: lost}}, reads: []error{nil, context.DeadlineExceeded}, err: "deadline", maybe: true, last: "before"},
		{name: "nobody answers before it was sent", reads: []error{context.DeadlineExceeded}, err: "deadline", last: "before"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				s.copies, s.reads, s.change, s.err = c.copies, c.reads, c.change, c.first
				if c.theirs > 0 {
					time.AfterFunc(c.theirs, func() { s.write("theirs") })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				resp, err := s.guarded().run(ctx)
				if c.err == "" && (err != nil || resp != "mine") {
					t.Errorf("got %q, %v", resp, err)
				}
				if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || MaybeApplied(err) != c.maybe {
					t.Errorf("got %v, want %q, maybe applied: %v", err, c.err, c.maybe)
				}
				if got := strings.Join(s.log, "; "); c.log != "" && got != c.log {
					t.Errorf("got  %s\nwant %s", got, c.log)
				}
				time.Sleep(time.Minute)
				s.mu.Lock()
				defer s.mu.Unlock()
				mine := 0
				for _, w := range s.history {
					if w.value == "mine" {
						mine++
					}
				}
				if last := s.history[len(s.history)-1].value; mine != c.mine || last != c.last {
					t.Errorf("applied %d times, the key is %q; want %d times, %q: %v", mine, last, c.mine, c.last, s.history)
				}
			})
		})
	}
}

// Every copy meets another client's write right before it: the next one goes out after a short random pause, on the state
// that the refusal told, without another read.
func TestGuardedWriteUnderContention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		for i := range 5 {
			s.copies = append(s.copies, copyPlan{before: fmt.Sprint("theirs ", i)})
		}
		if _, err := s.guarded().run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.log) != 7 || s.history[len(s.history)-1].value != "mine" {
			t.Errorf("%d steps, %v", len(s.log), s.history)
		}
		if took := time.Since(s.begun); took > 160*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// A write that nothing was sent of says so, however its time went by.
func TestAGuardedWriteThatIsOverWasNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Not at the instant in which a pause ends: which of the two is seen first would be up to chance.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second+time.Millisecond)
		defer cancel()
		w := guarded[string]{
			read: func(ctx context.Context) (guard, int, error) { return guard{rev: 7, head: 10}, 0, ctx.Err() },
			send: func(context.Context, int, guard) reply[string] {
				return reply[string]{guard: guard{rev: 7, head: 10}, err: errors.New("refused")}
			},
			judge:  func(int, error) (verdict, Reason, error) { return elsewhere, Refused, nil },
			failed: func(int, Reason) {},
		}
		_, err := w.run(ctx)
		if e, ok := errors.AsType[*UnavailableError](err); !ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v (%v), want an UnavailableError with the deadline", err, e)
		}
	})
}

// A write whose time ends while the guard is read is not sent any more: its outcome would be unknown for nothing.
func TestAGuardedWriteIsNotSentLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := guarded[string]{
			read: func(ctx context.Context) (guard, int, error) {
				<-ctx.Done()
				return guard{rev: 7, head: 10}, 0, nil // answered in the last instant
			},
			send: func(context.Context, int, guard) reply[string] {
				t.Error("sent")
				return reply[string]{applied: true}
			},
		}
		_, err := w.run(ctx)
		if e, ok := errors.AsType[*UnavailableError](err); !ok {
			t.Errorf("got %v (%v), want an UnavailableError", err, e)
		}
	})
}
