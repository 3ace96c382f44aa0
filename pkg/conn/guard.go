package conn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// The guarded write of one key.
//
// A write whose answer stays away may have been applied, may be applied later, or may be lost. Sending it again as it is
// could apply it twice, the second time over what another client has written meanwhile. So every copy carries a condition:
// that the key has not changed since it was read, at mod revision rev. Any write of the key ends this condition for good, since
// mod revisions only grow; so at most one of the copies with the same condition can ever take effect, and none
// after somebody else's write. Once the key has changed, its first change after the read tells whether it was ours.
//
// A key that does not exist is the exception: after it was made and deleted again, the condition holds once more. So a copy
// that would make a key is not sent again while an earlier one is open: its own answer, or the key's history, must tell.

// guard is what a read told about the key: its mod revision (0: there is no such key), at the cluster's revision head.
type guard struct {
	rev, head int64
}

// reply is what became of one copy.
type reply[R any] struct {
	member  int
	guard   guard
	applied bool  // the condition held
	resp    R     // then: the answer
	now     guard // when it did not hold: what the key looked like
	err     error
	sent    bool // when err is set: the request may have reached the server
}

// change is what is known of the first change of the key after the guard was read.
type change[R any] struct {
	whose whose
	resp  R // for an own change: the answer that the write would have got
}

type whose int

const (
	others  whose = iota // somebody else's: no copy of ours can take effect any more
	own                  // ours, or one that cannot be told from it and has the same effect
	unclear              // ours or somebody else's
)

// guarded is one guarded write. The functions do what they say once; each ends when its context does.
type guarded[R any] struct {
	read   func(ctx context.Context) (g guard, member int, err error) // from whichever member answers first
	send   func(ctx context.Context, member int, g guard) reply[R]
	first  func(ctx context.Context, after guard) (change[R], error)
	judge  func(member int, err error) (verdict, Reason, error)
	failed func(member int, why Reason)
}

const (
	// firstPatience is how long a copy may be out before the key is looked at again; it doubles up to longestPatience.
	firstPatience, longestPatience = 300 * time.Millisecond, 2400 * time.Millisecond
	// lateAnswer is how long answers are awaited that would tell an own change from another's.
	lateAnswer = time.Second
	// firstStep and longestStep bound the random wait of a writer that others have overtaken.
	firstStep, longestStep = 5 * time.Millisecond, 200 * time.Millisecond
)

var (
	errAmbiguous = errors.New("the key was changed meanwhile, by this command or by somebody else")
	errMadeOnce  = errors.New("the key did not exist, and a write that makes one is not sent twice")
	// errOver says that the context ended while nothing was open.
	errOver = errors.New("the context ended")
)

// attempts is the state of one run.
type attempts[R any] struct {
	guarded[R]
	ctx     context.Context
	replies chan reply[R]
	out     int
	// open says that a copy with the present guard may have been applied, or may yet be.
	open bool
}

// run returns when the write is applied; or certainly not, and never will be, with an error; or, with an
// *UnknownOutcomeError, when that cannot be found out.
func (w guarded[R]) run(ctx context.Context) (R, error) {
	inner, cancel := context.WithCancel(ctx)
	a := &attempts[R]{guarded: w, ctx: inner, replies: make(chan reply[R], 1)}
	resp, err := a.loop()
	cancel()
	for ; a.out > 0; a.out-- {
		<-a.replies
	}
	if errors.Is(err, errOver) {
		if err = context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) {
			err = &UnavailableError{Cause: err}
		}
	}
	return resp, err
}

func (a *attempts[R]) loop() (resp R, err error) {
	g, member, err := a.read(a.ctx)
	if err != nil {
		return resp, err
	}
	patience, step := firstPatience, firstStep
	for {
		if a.ctx.Err() != nil && !a.open {
			return resp, errOver
		}
		a.dispatch(member, g)
		r, ok := a.await(patience)
		switch {
		case ok && r.err == nil && r.applied:
			return r.resp, nil
		case ok && r.err == nil && r.guard.rev == g.rev && !a.open:
			// Another client was faster. Under contention everybody steps back for a random time that grows.
			g, member = r.now, r.member
			if !sleep(a.ctx, rand.N(step)) {
				return resp, errOver
			}
			step = min(2*step, longestStep)
			continue
		case ok && r.err != nil:
			if err := a.lost(r); err != nil {
				return resp, a.ended(err)
			}
		case !ok:
			a.open = true
			patience = min(2*patience, longestPatience)
		}
		var done bool
		if g, member, resp, done, err = a.review(g); done || err != nil {
			return resp, err
		}
	}
}

// lost takes note of a copy that failed. It returns an error when trying again is of no use.
func (a *attempts[R]) lost(r reply[R]) error {
	v, why, _ := a.judge(r.member, r.err)
	switch {
	case r.sent && !refused(r.err):
		a.open = true
	case v == final:
		return r.err
	}
	if a.ctx.Err() == nil && v != final {
		a.failed(r.member, why)
	}
	if !sleep(a.ctx, firstPause/2) && !a.open {
		return errOver
	}
	return nil
}

// ended is the error to report when err ends the write.
func (a *attempts[R]) ended(err error) error {
	if a.open {
		return &UnknownOutcomeError{Err: err}
	}
	return err
}

func (a *attempts[R]) dispatch(member int, g guard) {
	a.out++
	go func() { a.replies <- a.send(a.ctx, member, g) }()
}

// await returns the next answer, if one comes in time.
func (a *attempts[R]) await(d time.Duration) (reply[R], bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case r := <-a.replies:
		a.out--
		return r, true
	case <-t.C:
	case <-a.ctx.Done():
	}
	return reply[R]{}, false
}

// review looks at the key again after a copy went without an answer. It returns done when the write turns out to be
// applied; else the guard for the next copy and the member that is to get it.
func (a *attempts[R]) review(old guard) (g guard, member int, resp R, done bool, err error) {
	var readErr error
	look := background(a.ctx, func(ctx context.Context) { g, member, readErr = a.read(ctx) })
	if r, ok := a.applied(look.done); ok {
		look.stop()
		return g, member, r.resp, true, nil
	}
	look.stop()
	switch {
	case readErr != nil:
		return g, member, resp, false, a.ended(readErr)
	case a.open && old.rev == 0:
		return a.reviewNew(old)
	case g.rev == old.rev, !a.open:
		return g, member, resp, false, nil
	}
	resp, done, err = a.settle(old)
	// If the change was somebody else's, no copy with the old guard can take effect any more.
	a.open = false
	return g, member, resp, done, err
}

// reviewNew waits until it is known what became of the one copy that would make the key.
func (a *attempts[R]) reviewNew(old guard) (g guard, member int, resp R, done bool, err error) {
	var c change[R]
	var lookErr error
	look := background(a.ctx, func(ctx context.Context) { c, lookErr = a.first(ctx, old) })
	defer look.stop()
	for {
		select {
		case r := <-a.replies:
			a.out--
			switch {
			case r.err == nil && r.applied:
				return g, member, r.resp, true, nil
			case r.guard != old:
			case r.err == nil:
				a.open = false
				return r.now, r.member, resp, false, nil
			case !r.sent || refused(r.err):
				a.open = false
				g, member, err = a.read(a.ctx)
				return g, member, resp, false, err
			}
		case <-look.done:
			switch {
			case lookErr != nil:
				return g, member, resp, false, &UnknownOutcomeError{Err: fmt.Errorf("%w: %w", errMadeOnce, lookErr)}
			case c.whose == own:
				return g, member, c.resp, true, nil
			}
			return g, member, resp, false, &UnknownOutcomeError{Err: errAmbiguous}
		}
	}
}

// settle finds out whether the key's first change after the guard was ours.
func (a *attempts[R]) settle(g guard) (resp R, mine bool, err error) {
	var c change[R]
	look := background(a.ctx, func(ctx context.Context) { c, err = a.first(ctx, g) })
	r, ok := a.applied(look.done)
	look.stop()
	switch {
	case ok:
		return r.resp, true, nil
	case err != nil:
		return resp, false, &UnknownOutcomeError{Err: err}
	case c.whose != unclear:
		return c.resp, c.whose == own, nil
	}
	late := background(a.ctx, func(ctx context.Context) { sleep(ctx, lateAnswer) })
	defer late.stop()
	if r, ok := a.applied(late.done); ok {
		return r.resp, true, nil
	}
	return resp, false, &UnknownOutcomeError{Err: errAmbiguous}
}

// applied receives answers until one says that its copy took effect, or until is closed.
func (a *attempts[R]) applied(until <-chan struct{}) (reply[R], bool) {
	for {
		select {
		case r := <-a.replies:
			a.out--
			if r.err == nil && r.applied {
				return r, true
			}
		case <-until:
			return reply[R]{}, false
		}
	}
}

// task is a function at work in the background. What it writes may be read after stop.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func background(ctx context.Context, do func(context.Context)) task {
	ctx, cancel := context.WithCancel(ctx)
	t := task{cancel, make(chan struct{})}
	go func() {
		defer close(t.done)
		do(ctx)
	}()
	return t
}

// stop ends the task and returns when it has ended.
func (t task) stop() {
	t.cancel()
	<-t.done
}
