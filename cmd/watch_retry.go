package cmd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/etcdx/etcdx/pkg/child"
)

// What to do with events whose handler keeps failing.
const (
	failStop = "stop"
	failSkip = "skip"
	failDead = "dead-letter"
)

// retry runs a handler until it succeeds, and decides what becomes of events that it does not take.
type retry struct {
	attempts int // at most; 0: for ever
	first    time.Duration
	most     time.Duration
	onFail   string
	dead     string // the dead-letter file
	notice   func(string)
	stopping func() <-chan struct{}
}

// errStopping ends a handler's work before its next step when a stop was asked for.
var errStopping = errors.New("stopping")

// stopped says whether a stop was asked for.
func (r retry) stopped() bool {
	select {
	case <-r.stopping():
		return true
	default:
		return false
	}
}

const exitReject = 65 // of a handler: these events will never do

// do runs try. lines is what the handler was given. A nil error means that the events are done with.
func (r retry) do(ctx context.Context, name string, lines []byte, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			return nil
		}
		if gaveUp, err := r.after(ctx, n, name, lines, err); gaveUp || err != nil {
			return err
		}
	}
}

// after decides what follows on attempt n, which failed with err: it gives up, or waits until it is time for the next one.
func (r retry) after(ctx context.Context, n int, name string, lines []byte, err error) (gaveUp bool, _ error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if r.hopeless(err) || r.attempts > 0 && n >= r.attempts {
		return true, r.giveUp(name, lines, err)
	}
	if r.stopped() {
		return false, errStopping
	}
	wait := min(r.first<<min(n-1, 20), r.most)
	wait = wait/2 + rand.N(wait/2+1)
	if e, ok := errors.AsType[*nackError](err); ok {
		wait = max(wait, e.after)
	}
	r.notice(fmt.Sprintf("handler failed at %s (%v): trying again in %v", name, err, wait.Round(time.Millisecond)))
	select {
	case <-time.After(wait):
		return false, nil
	case <-r.stopping():
		return false, errStopping
	}
}

// hopeless says whether another attempt is in vain.
func (r retry) hopeless(err error) bool {
	if e, ok := errors.AsType[*child.ExitError](err); ok {
		return e.Code == exitReject
	}
	return as[*rejectedError](err) || as[*child.StartError](err)
}

// giveUp does what --on-fail says.
func (r retry) giveUp(name string, lines []byte, err error) error {
	switch r.onFail {
	case failSkip:
		r.notice(fmt.Sprintf("handler failed at %s (%v): skipped", name, err))
		return nil
	case failDead:
		if err := appendDurably(r.dead, lines); err != nil {
			return &handlerError{name, fmt.Errorf("write dead letters: %w", err)}
		}
		r.notice(fmt.Sprintf("handler failed at %s (%v): written to %s", name, err, r.dead))
		return nil
	}
	return &handlerError{name, err}
}

// appendDurably appends lines to a file, and returns when they would survive a loss of power: only then may the
// checkpoint move past them.
func appendDurably(path string, lines []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	return errors.Join(err, f.Sync(), f.Close())
}

// rejectedError is a coprocess's word that it will never take a revision.
type rejectedError struct{ reason string }

func (e *rejectedError) Error() string {
	if e.reason == "" {
		return "rejected"
	}
	return "rejected: " + e.reason
}

// nackError is a coprocess's word that it wants a revision once more.
type nackError struct {
	seq    int64
	reason string
	after  time.Duration
}

func (e *nackError) Error() string {
	text := fmt.Sprintf("the coprocess asked for %d again", e.seq)
	if e.reason != "" {
		text += ": " + e.reason
	}
	return text
}
