package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/child"
	"github.com/etcdx/etcdx/pkg/lock"
	"github.com/etcdx/etcdx/pkg/output"
)

// lockRun is one lock command in the process that talks to etcd and runs the command.
type lockRun struct {
	g       *globals
	o       *lockOptions
	store   lockStore
	printer *output.Printer
	// signals are those that people send to the lock command.
	signals <-chan os.Signal
	// alone ends when the process that people see has died.
	alone context.Context
	// tell reports to that process; it may be nil.
	tell func(guardReport)
	say  *lockVoice
	// terminal says that the command shares the process group, and so gets the terminal's signals by itself.
	terminal bool
}

// signalError is a signal that ended a wait.
type signalError struct{ sig os.Signal }

func (e signalError) Error() string { return "ended by " + e.sig.String() }

// errAlone is the end of a command whose lock command was killed.
var errAlone = errors.New("the lock command was killed")

func (l *lockRun) run() error {
	r, err := l.o.request(l.g)
	if err != nil {
		return err
	}
	r.Notice = func(n lock.Notice) {
		if l.tell != nil && n.Event == "waiting" {
			l.tell(guardReport{Key: n.Key, Token: n.Token, Lease: n.Lease})
		}
		l.say.notice(n)
	}
	held, err := l.acquire(r)
	if err != nil {
		return l.notAcquired(err)
	}
	l.say.held(held)
	stop := l.report(held)
	var result error
	if l.o.detach {
		result = held.Run(l.alone, l.detached())
	} else if len(l.o.command) == 0 {
		result = held.Run(l.alone, l.untilSignal(held))
	} else {
		result = held.Run(l.alone, l.command(held))
	}
	stop()
	if l.tell != nil {
		l.tell(guardReport{Over: lock.Now()})
	}
	return l.release(held, result)
}

// acquire waits for the lock. A signal, or the death of the process that people see, ends the wait.
func (l *lockRun) acquire(r lock.Request) (*lock.Held, error) {
	ctx, cancel := context.WithCancelCause(l.alone)
	defer cancel(nil)
	if l.o.limited && l.o.wait > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, l.o.wait, lock.ErrBusy)
		defer stop()
	}
	var watcher sync.WaitGroup
	done := make(chan struct{})
	watcher.Go(func() {
		select {
		case sig := <-l.signals:
			cancel(signalError{sig})
		case <-done:
		}
	})
	held, err := lock.Acquire(ctx, l.store, lock.Now, r)
	close(done)
	watcher.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil {
		_ = held.Release(ctx, cause) // the signal came in the same moment
		return nil, cause
	} else if err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return held, err
}

// notAcquired turns the reason into the exit code that the flags ask for.
func (l *lockRun) notAcquired(err error) error {
	if e, ok := errors.AsType[signalError](err); ok {
		return codeError{code: exitSignal + signalNumber(e.sig)}
	}
	if _, ok := errors.AsType[*lock.SkippedError](err); ok {
		l.say.event("skipped", err.Error())
		return codeError{code: l.o.skip}
	}
	if _, named := errors.AsType[*lock.BusyError](err); l.o.cron && named {
		l.say.event("busy", err.Error())
		return codeError{code: exitOK}
	}
	_, named := errors.AsType[*lock.BusyError](err)
	if errors.Is(err, lock.ErrBusy) && (named || l.say.reached()) {
		if !named {
			err = fmt.Errorf("lock %q: not acquired within %v", l.o.name, l.o.wait)
		}
		if l.o.quiet {
			err = nil
		}
		return codeError{code: l.o.busyCode, err: err}
	}
	if !l.say.reached() && (errors.Is(err, lock.ErrBusy) || errors.Is(err, context.DeadlineExceeded)) {
		return &unreachedError{err}
	}
	return err
}

// unreachedError says that no member answered in the time that was given.
type unreachedError struct{ err error }

func (e *unreachedError) Error() string { return "no member answered in time: " + e.err.Error() }

func (e *unreachedError) Unwrap() error { return e.err }

// release gives the lock up and decides how the lock command ends.
func (l *lockRun) release(held *lock.Held, result error) error {
	err := held.Release(context.Background(), result)
	switch {
	case errors.Is(result, lock.ErrLost):
		l.say.hook(l.o.onLost, "lost", held)
		return codeError{code: l.o.lostCode, err: result}
	case errors.Is(err, lock.ErrLost):
		l.say.hook(l.o.onLost, "lost", held)
		return codeError{code: l.o.lostCode, err: err}
	case err != nil:
		l.say.warn(fmt.Sprintf("%v; it ends by itself within %v", err, held.Tenure().TTL()))
	}
	if e, ok := errors.AsType[*child.ExitError](result); ok {
		if len(e.Left) > 0 {
			l.say.warn(e.Error())
		}
		return codeError{code: e.Code}
	}
	if e, ok := errors.AsType[*child.StartError](result); ok {
		return codeError{code: e.Code, err: e}
	}
	return result
}

// untilSignal is what is done under a lock without a command: it prints the key, and waits.
func (l *lockRun) untilSignal(held *lock.Held) lock.Work {
	return func(soft, _ context.Context) error {
		ctx, cancel := context.WithTimeout(soft, l.g.settings.CommandTimeout)
		resp, err := l.store.Get(ctx, held.Key())
		cancel()
		if err == nil {
			err = l.printer.Get(resp)
		}
		if err != nil {
			return err
		}
		select {
		case <-soft.Done():
			if cause := context.Cause(soft); !errors.Is(cause, lock.ErrAsked) {
				return cause
			}
			return nil
		case sig := <-l.signals:
			if n := signalNumber(sig); n != 2 && n != 15 { // INT and TERM are how one lets go
				return codeError{code: exitSignal + n}
			}
			return nil
		}
	}
}

// command is the work of a lock with a command.
func (l *lockRun) command(held *lock.Held) lock.Work {
	return func(soft, hard context.Context) error {
		term, err := l.o.termSignal()
		if err != nil {
			return err
		}
		c := child.Command{
			Args: l.o.command, Env: l.environment(held), Stdin: l.g.streams.In, Stdout: l.g.streams.Out, Stderr: l.g.streams.Err,
			Term: term, Grace: time.Hour, Kill: hard.Done(), Terminal: l.terminal, Sole: true, Others: l.say.isHook,
			Leftovers: child.Leftovers(l.o.leftovers),
		}
		if l.o.shell {
			c.Args = []string{"/bin/sh", "-c", strings.Join(l.o.command, " ")}
		}
		if l.o.noStdin {
			c.Stdin = nil
		}
		show, err := l.capture(&c)
		if err != nil {
			return err
		}
		p, err := c.Start()
		if err != nil {
			return show(err)
		}
		l.running(p)
		stop := l.forward(p)
		err = p.Wait(soft)
		stop()
		if left := p.Left(); err == nil && len(left) > 0 && l.o.leftovers == "ignore" && !l.o.cron {
			l.say.warn(fmt.Sprintf("%d processes of the command go on without the lock (--leftovers=wait or kill)", len(left)))
		}
		return show(err)
	}
}

// running tells the other process what to end if this one cannot.
func (l *lockRun) running(p *child.Process) {
	if l.tell != nil {
		l.tell(guardReport{Child: p.Pid(), Group: !l.terminal})
	}
}

// forward sends signals on to the command until the returned function is called.
func (l *lockRun) forward(p *child.Process) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			case sig := <-l.signals:
				if _, has := sig.(keySignal); !has {
					_ = p.Signal(sig)
				}
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}

// capture keeps the command's output back, for --cron, until it is known to have failed.
func (l *lockRun) capture(c *child.Command) (show func(error) error, err error) {
	if !l.o.cron {
		return func(err error) error { return err }, nil
	}
	f, err := os.CreateTemp("", "etcdx-cron-")
	if err != nil {
		return nil, fmt.Errorf("keep the command's output: %w", err)
	}
	_ = os.Remove(f.Name()) // nobody else needs the name, and nothing is left behind
	c.Stdout, c.Stderr = f, f
	return func(result error) error {
		defer func() { _ = f.Close() }()
		if result == nil {
			return nil
		}
		if _, err := f.Seek(0, 0); err != nil {
			return errors.Join(result, err)
		}
		_, _ = f.WriteTo(l.g.streams.Err)
		return result
	}, nil
}

// environment returns the command's: the lock's variables replace those of a lock around this one.
func (l *lockRun) environment(held *lock.Held) []string {
	own := []string{
		"ETCD_LOCK_KEY=" + held.Key(),
		fmt.Sprintf("ETCD_LOCK_REV=%d", held.Rev()),
		"ETCDX_LOCK_NAME=" + l.o.name,
		"ETCDX_LOCK_KEY=" + held.Key(),
		fmt.Sprintf("ETCDX_FENCE=%s@%d", held.Key(), held.Token()),
		fmt.Sprintf("ETCDX_LEASE=%x", held.Lease()),
		fmt.Sprintf("ETCDX_LOCK_TTL=%d", int(held.Tenure().TTL()/time.Second)),
		fmt.Sprintf("ETCDX_CLUSTER_ID=%x", held.ClusterID()),
		"ETCDX_LOCKS_HELD=" + strings.Join(append(locksHeld(l.g.env), l.o.name), "\n"),
	}
	drop := map[string]bool{keeperVariable: true}
	for _, v := range own {
		name, _, _ := strings.Cut(v, "=")
		drop[name] = true
	}
	var env []string
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !drop[name] {
			env = append(env, v)
		}
	}
	return append(env, own...)
}

// locksHeld returns the names of the locks that commands around this one hold.
func locksHeld(env func(string) (string, bool)) []string {
	v, _ := env("ETCDX_LOCKS_HELD")
	if v == "" {
		return nil
	}
	return strings.Split(v, "\n")
}

// report keeps the other process informed about the lease until the returned function is called. It knows before any work
// begins: else it would take a keeper that is killed at once for one that held nothing.
func (l *lockRun) report(held *lock.Held) (stop func()) {
	told := l.renewed(held, -1)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(100 * time.Millisecond):
				told = l.renewed(held, told)
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}

// renewed tells of the last answered renewal, unless it is the one that was told already. It returns when that was sent.
func (l *lockRun) renewed(held *lock.Held, told lock.Instant) lock.Instant {
	t := held.Tenure()
	if t.Sent() == told {
		return told
	}
	if l.tell != nil {
		l.tell(guardReport{Sent: t.Sent(), TTL: t.TTL(), Key: held.Key(), Token: held.Token(), Lease: held.Lease()})
	}
	l.say.beat(held)
	return t.Sent()
}

// releaseFor lets go of a lock that another process held or waited for, and that has ended.
func releaseFor(ctx context.Context, s lockStore, name string, r guardReport) error {
	_, err := s.Commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(r.Key), "=", r.Token)},
		[]clientv3.Op{clientv3.OpDelete(r.Key), clientv3.OpDelete(lock.MarkerKey(name, r.Lease))}, nil)
	return errors.Join(err, s.Revoke(ctx, r.Lease))
}
