package conn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// noticeAfter is how long a call waits before people are told what for.
	noticeAfter = time.Second
	// firstPause and longestPause bound the wait before an endpoint that failed is asked again by the same call.
	firstPause, longestPause = 50 * time.Millisecond, 400 * time.Millisecond
)

// race asks one endpoint, and after a short delay, or at once when it fails, the next one too; the first answer wins.
// Endpoints that failed are asked again until ctx ends, unless waiting cannot mend what ails them.
type race[T any] struct {
	names    []string
	order    []int                                           // whom to ask first
	patience func(i int) time.Duration                       // how long i may be out alone
	try      func(ctx context.Context, i int) (T, error)     // one attempt
	judge    func(i int, err error) (verdict, Reason, error) // what a failed attempt means
	answered func(i int, took time.Duration)
	failed   func(i int, why Reason)
	notice   func(text string)
}

// lane is the state of one endpoint in a race.
type lane struct {
	out      bool
	since    time.Time // when the latest attempt began
	again    time.Time // not before this
	failures int
	last     Attempt
	hopeless bool
}

type finish[T any] struct {
	i   int
	v   T
	err error
}

// run returns the winner's answer and its number. It returns when every attempt has ended.
func (r race[T]) run(ctx context.Context) (v T, winner int, err error) {
	s := &runner[T]{race: r, lanes: make([]lane, len(r.names)), done: make(chan finish[T], len(r.names)), begun: time.Now()}
	inner, cancel := context.WithCancel(ctx)
	v, winner, err = s.loop(ctx, inner)
	cancel()
	s.over = true
	for s.outs > 0 {
		_ = s.land(ctx, <-s.done)
	}
	if errors.Is(err, errTimeUp) {
		err = s.unavailable(context.Cause(ctx))
	}
	return v, winner, err
}

// errTimeUp says that ctx ended before anything was decided.
var errTimeUp = errors.New("time is up")

type runner[T any] struct {
	race[T]
	lanes  []lane
	done   chan finish[T]
	outs   int
	newest int // the lane started last
	begun  time.Time
	told   string
	over   bool // decided: attempts that end now were cancelled
}

func (s *runner[T]) loop(ctx, inner context.Context) (v T, winner int, err error) {
	s.start(inner)
	for {
		timer := time.NewTimer(s.untilNext())
		select {
		case f := <-s.done:
			timer.Stop()
			if f.err == nil {
				s.won(f.i)
				s.outs--
				s.lanes[f.i].out = false
				return f.v, f.i, nil
			}
			if ctx.Err() != nil {
				_ = s.land(ctx, f)
				return v, 0, errTimeUp
			}
			if err := s.land(ctx, f); err != nil {
				return v, 0, err
			}
			s.start(inner)
		case <-timer.C:
			s.start(inner)
		case <-ctx.Done():
			timer.Stop()
			return v, 0, errTimeUp
		}
		s.tell()
	}
}

// untilNext returns the time until another attempt may begin or there is something to tell.
func (s *runner[T]) untilNext() time.Duration {
	now := time.Now()
	next := now.Add(time.Hour)
	if s.notice != nil {
		if at := s.begun.Add(noticeAfter); at.After(now) {
			next = at
		}
	}
	hedge := now
	if s.outs > 0 {
		l := s.lanes[s.newest]
		if l.out {
			hedge = l.since.Add(s.patience(s.newest))
		}
	}
	for _, l := range s.lanes {
		if l.out || l.hopeless {
			continue
		}
		at := hedge
		if l.again.After(at) {
			at = l.again
		}
		if at.Before(next) {
			next = at
		}
	}
	return max(next.Sub(now), 0)
}

// start begins one attempt if it is time for one: when nobody is out, or the one started last has failed or used up its
// patience.
func (s *runner[T]) start(ctx context.Context) {
	now := time.Now()
	if l := s.lanes[s.newest]; l.out && now.Sub(l.since) < s.patience(s.newest) {
		return
	}
	for _, i := range s.order {
		l := &s.lanes[i]
		if l.out || l.hopeless || l.again.After(now) {
			continue
		}
		l.out, l.since = true, now
		s.newest = i
		s.outs++
		go func() {
			v, err := s.try(ctx, i)
			s.done <- finish[T]{i, v, err}
		}()
		return
	}
}

// land takes note of a failed attempt. It returns an error when there is nothing left to try.
func (s *runner[T]) land(ctx context.Context, f finish[T]) error {
	s.outs--
	l := &s.lanes[f.i]
	l.out = false
	if f.err == nil {
		return nil
	}
	v, why, cause := s.judge(f.i, f.err)
	if v == final {
		return f.err
	}
	l.last = Attempt{Endpoint: s.names[f.i], Reason: why, Err: cause}
	if !s.over && ctx.Err() == nil {
		s.failed(f.i, why)
	}
	l.hopeless = v == hopeless
	l.again = time.Now().Add(min(firstPause<<min(l.failures, 8), longestPause))
	l.failures++
	for _, l := range s.lanes {
		if !l.hopeless {
			return nil
		}
	}
	return s.unavailable(nil)
}

// won tells about the winner, and about those who have been out too long at this moment and were overtaken.
func (s *runner[T]) won(i int) {
	now := time.Now()
	w := s.lanes[i]
	s.answered(i, now.Sub(w.since))
	for k, l := range s.lanes {
		if k != i && l.out && l.since.Before(w.since) && now.Sub(l.since) >= s.patience(k) {
			s.failed(k, Silent)
		}
	}
}

func (s *runner[T]) unavailable(cause error) error {
	if cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause // cancelled: nothing is known about the endpoints
	}
	e := &UnavailableError{Cause: cause}
	for i, l := range s.lanes {
		if l.last.Err == nil {
			l.last = Attempt{Endpoint: s.names[i], Reason: Silent, Err: context.DeadlineExceeded}
		}
		e.Attempts = append(e.Attempts, l.last)
	}
	return e
}

// tell says what is being waited for, once that takes long, and again when it changes.
func (s *runner[T]) tell() {
	now := time.Now()
	if s.notice == nil || now.Sub(s.begun) < noticeAfter {
		return
	}
	var parts []string
	for i, l := range s.lanes {
		switch {
		case l.out && now.Sub(l.since) >= noticeAfter:
			sentence, _ := Silent.Explain()
			parts = append(parts, s.names[i]+" "+sentence)
		case l.last.Err != nil:
			sentence, _ := l.last.Reason.Explain()
			parts = append(parts, s.names[i]+" "+sentence)
		case l.out:
			parts = append(parts, "trying "+s.names[i])
		}
	}
	if text := fmt.Sprint("waiting: ", strings.Join(parts, "; ")); text != s.told {
		s.told = text
		s.notice(text)
	}
}
