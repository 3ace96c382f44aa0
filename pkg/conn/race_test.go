package conn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// server is a fake endpoint: each attempt takes that long and ends with the next of errs, the last one for ever.
type server struct {
	takes time.Duration
	errs  []error
	deaf  bool // never answers
}

// field is a race among fakes that notes what happens.
type field struct {
	mu      sync.Mutex
	servers []server
	begun   time.Time
	log     []string // "+ms i" for attempts, "i reason" for failures, "won i"
	notices []string
}

func (f *field) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

func (f *field) race() race[string] {
	names := make([]string, len(f.servers))
	order := make([]int, len(f.servers))
	for i := range names {
		names[i], order[i] = fmt.Sprint("m", i), i
	}
	f.begun = time.Now()
	return race[string]{
		names: names, order: order,
		patience: func(int) time.Duration { return 100 * time.Millisecond },
		try: func(ctx context.Context, i int) (string, error) {
			f.note("+%d m%d", time.Since(f.begun).Milliseconds(), i)
			f.mu.Lock()
			s := &f.servers[i]
			var err error
			if len(s.errs) > 0 {
				err = s.errs[0]
				if len(s.errs) > 1 {
					s.errs = s.errs[1:]
				}
			}
			takes, deaf := s.takes, s.deaf
			f.mu.Unlock()
			if deaf {
				<-ctx.Done()
				return "", ctx.Err()
			}
			if !sleep(ctx, takes) {
				return "", ctx.Err()
			}
			return names[i], err
		},
		judge: func(_ int, err error) (verdict, Reason, error) {
			switch {
			case errors.Is(err, rpctypes.ErrCompacted):
				return final, Other, err
			case errors.Is(err, errWrongCA):
				return hopeless, WrongCA, err
			case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
				return elsewhere, Silent, err
			}
			return elsewhere, Refused, err
		},
		answered: func(i int, _ time.Duration) { f.note("won m%d", i) },
		failed:   func(i int, why Reason) { f.note("m%d %s", i, why) },
		notice: func(text string) {
			f.notices = append(f.notices, fmt.Sprintf("+%d %s", time.Since(f.begun).Milliseconds(), text))
		},
	}
}

var (
	errWrongCA = errors.New("wrong CA")
	errRefused = errors.New("refused")
)

func TestRace(t *testing.T) {
	const ms = time.Millisecond
	cases := []struct {
		name    string
		servers []server
		want    string        // the winner
		after   time.Duration // exactly
		log     string
	}{
		{"the first one is well", []server{{takes: ms}, {}}, "m0", ms, "+0 m0; won m0"},
		{"the first one refuses: the next at once", []server{{errs: []error{errRefused}}, {takes: ms}}, "m1", ms, "+0 m0; m0 refused; +0 m1; won m1"},
		{"the first one is silent: the next after its patience", []server{{deaf: true}, {takes: ms}, {}}, "m1", 101 * ms, "+0 m0; +100 m1; won m1; m0 silent"},
		{"two are silent", []server{{deaf: true}, {deaf: true}, {takes: ms}}, "m2", 201 * ms, "+0 m0; +100 m1; +200 m2; won m2; m0 silent; m1 silent"},
		{"slow, but first to answer", []server{{takes: 150 * ms}, {takes: 200 * ms}}, "m0", 150 * ms, "+0 m0; +100 m1; won m0"},
		{"refused, later well", []server{{errs: []error{errRefused, errRefused, nil}}}, "m0", 150 * ms, "+0 m0; m0 refused; +50 m0; m0 refused; +150 m0; won m0"},
		{
			"the pauses grow up to 400 ms",
			[]server{{errs: []error{errRefused, errRefused, errRefused, errRefused, errRefused, nil}}},
			"m0", 1150 * ms,
			"+0 m0; m0 refused; +50 m0; m0 refused; +150 m0; m0 refused; +350 m0; m0 refused; +750 m0; m0 refused; +1150 m0; won m0",
		},
		{"a hopeless one is not asked again", []server{{errs: []error{errWrongCA}}, {errs: []error{errRefused, nil}}}, "m1", 50 * ms, "+0 m0; m0 wrong-ca; +0 m1; m1 refused; +50 m1; won m1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &field{servers: c.servers}
				begun := time.Now()
				v, i, err := f.race().run(t.Context())
				if err != nil || v != c.want || v != fmt.Sprint("m", i) {
					t.Errorf("got %q from %d, %v", v, i, err)
				}
				if took := time.Since(begun); took != c.after {
					t.Errorf("took %v, want %v", took, c.after)
				}
				if got := strings.Join(f.log, "; "); got != c.log {
					t.Errorf("got  %s\nwant %s", got, c.log)
				}
			})
		})
	}
}

func TestRaceEnds(t *testing.T) {
	t.Run("an answer that every member would give", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &field{servers: []server{{errs: []error{rpctypes.ErrCompacted}}, {}}}
			begun := time.Now()
			_, _, err := f.race().run(t.Context())
			if !errors.Is(err, rpctypes.ErrCompacted) || time.Since(begun) != 0 {
				t.Errorf("got %v after %v", err, time.Since(begun))
			}
		})
	})
	t.Run("nothing that waiting could mend", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &field{servers: []server{{errs: []error{errWrongCA}}, {errs: []error{errWrongCA}}}}
			_, _, err := f.race().run(t.Context())
			e, ok := errors.AsType[*UnavailableError](err)
			if !ok || len(e.Attempts) != 2 || e.Cause != nil || e.Attempts[1].Endpoint != "m1" {
				t.Errorf("got %v", err)
			}
			if why, ok := e.Lasting(); why != WrongCA || !ok {
				t.Errorf("lasting: %q %v", why, ok)
			}
		})
	})
	t.Run("the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &field{servers: []server{{errs: []error{errWrongCA}}, {errs: []error{errRefused}}, {deaf: true}}}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			begun := time.Now()
			_, _, err := f.race().run(ctx)
			if time.Since(begun) != 5*time.Second {
				t.Errorf("took %v", time.Since(begun))
			}
			e, ok := errors.AsType[*UnavailableError](err)
			if !ok || !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "context deadline exceeded: ") {
				t.Fatalf("got %v", err)
			}
			var why []Reason
			for _, a := range e.Attempts {
				why = append(why, a.Reason)
			}
			if !slices.Equal(why, []Reason{WrongCA, Refused, Silent}) {
				t.Errorf("got %v", why)
			}
			if _, ok := e.Lasting(); ok {
				t.Error("waiting could have helped")
			}
			want := []string{"+1000 waiting: m0 its certificate is not trusted, or is not for this name; m1 refuses connections; m2 does not answer"}
			if !slices.Equal(f.notices, want) {
				t.Errorf("told %q, want %q", f.notices, want)
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &field{servers: []server{{deaf: true}}}
			ctx, cancel := context.WithCancelCause(t.Context())
			enough := errors.New("enough")
			time.AfterFunc(time.Second, func() { cancel(enough) })
			if _, _, err := f.race().run(ctx); !errors.Is(err, enough) {
				t.Errorf("got %v", err)
			}
		})
	})
}
