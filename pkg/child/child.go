// Package child runs a command that ends, with everything it started, when its context does.
//
// # What is guaranteed
//
// On Linux the whole tree is found through /proc, whatever process group, session or parent its members gave themselves:
// orphans come to this process, which makes itself a subreaper. If this process dies, the kernel kills the command itself.
// On Windows the tree is a job object, which the kernel ends with this process. On other Unix systems, and on Linux
// without /proc, the tree is the command's process group.
//
// # What is not
//
// A process in uninterruptible sleep dies when its system call returns. A command that shares its parent's process group
// (Terminal) on a Unix system other than Linux is ended alone. A program that changes its user is not killed with this process.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// Leftovers says what happens to descendants that outlive a command which ended by itself. Those of a command that a signal
// ended, or that was sent one that asks it to end, are always killed, as they are when the context ends.
type Leftovers string

// What can be done with descendants that outlive their command.
const (
	LeaveThem   Leftovers = "ignore" // the default
	WaitForThem Leftovers = "wait"
	KillThem    Leftovers = "kill"
)

// Command is what to run, and how it ends.
type Command struct {
	// Args are the program, looked up in PATH, and its arguments.
	Args []string
	// Env is the whole environment; nil: this process's.
	Env []string
	Dir string
	// Streams that are *os.File are passed on as they are. For others, output after the command's own end is cut off.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Files become descriptors 3, 4, ... (Unix).
	Files []*os.File
	// Mark, if not empty, is a word by which KillMarked finds all that the command started, after this process was killed.
	Mark string

	// Term is sent to the tree when the context ends; nil: SIGTERM.
	Term os.Signal
	// Grace is how long the tree may live after Term. 0: it is killed at once.
	Grace time.Duration
	// Kill, when closed, ends the grace at once. It may be nil.
	Kill <-chan struct{}
	// Terminal leaves the command in this process's group, so that it can read from the terminal. Otherwise it gets a
	// group of its own, and signals go to all of that group.
	Terminal bool
	// Sole says that this process runs nothing else: every orphan that comes to it belongs to the command, and is reaped.
	Sole bool
	// Others, if not nil, says which children of this process are none of the command's all the same.
	Others    func(pid int) bool
	Leftovers Leftovers
}

// ExitError says how a command ended that did not end with code 0.
type ExitError struct {
	// Code is the shell's: the command's own, or 128+n after signal n.
	Code int
	// Signal is the name of the signal that ended it, if one did.
	Signal string
	// Left are processes that were still there some seconds after SIGKILL, such as those that wait for a dead disk.
	Left []int
}

// Error says it in the shell's words.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != "" {
		text = "signal: " + e.Signal
	}
	if len(e.Left) > 0 {
		text += fmt.Sprintf("; still alive after SIGKILL: %v", e.Left)
	}
	return text
}

// StartError says that a command could not be run.
type StartError struct {
	// Code is the shell's: 127 not found, 126 found but not executable.
	Code int
	Err  error
}

// Error names the program and the reason.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *StartError) Unwrap() error { return e.Err }

// Process is a running command.
type Process struct {
	c    Command
	cmd  *exec.Cmd
	tree *tree
	done chan struct{} // closed when the command itself has ended
	err  error         // of Wait, once done is closed

	asked atomic.Bool // a signal was sent that asks it to end
}

// settle is how long the tree has to vanish after SIGKILL before it is reported as left.
const settle = 5 * time.Second

// Run starts the command and waits for its end. It returns nil, a *StartError, an *ExitError, or an error of the streams.
func (c Command) Run(ctx context.Context) error {
	p, err := c.Start()
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Start runs the command. Wait must be called.
func (c Command) Start() (*Process, error) {
	t, err := newTree(&c)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = t.env(c.Env), c.Dir, c.Files
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	// For streams that are not files: whoever inherited them does not hold up the end of the command.
	cmd.WaitDelay = 100 * time.Millisecond
	t.prepare(cmd)

	p := &Process{c: c, cmd: cmd, tree: t, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel watches the thread that started the command, not the process: it has to live as long as the command.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			err = t.started(cmd)
		}
		started <- err
		if err != nil {
			return
		}
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		t.close()
		return nil, startError(err)
	}
	return p, nil
}

func startError(err error) error {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	return &StartError{Code: code, Err: err}
}

// Pid returns the process ID of the command itself.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the command itself has ended; descendants may still run.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends sig to the command, and to its process group if it has one of its own.
func (p *Process) Signal(sig os.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
		if slices.Contains([]os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGKILL}, sig) {
			p.asked.Store(true)
		}
		return p.tree.signal(p.cmd, sig)
	}
}

// Wait returns when the command has ended, and, if ctx or Kill ended it, when its tree has too.
func (p *Process) Wait(ctx context.Context) error {
	defer p.tree.close()
	reaper := p.tree.reap(p.cmd)
	defer reaper()
	var left []int
	select {
	case <-p.done:
		left = p.leftovers(ctx)
	case <-p.c.Kill:
		left = p.kill()
	case <-ctx.Done():
		left = p.end()
	}
	return p.result(left)
}

// end ends the tree: it is asked first, and killed when it is not gone after the grace.
func (p *Process) end() (left []int) {
	select {
	case <-p.c.Kill:
		return p.kill()
	default:
	}
	if p.c.Grace > 0 {
		term := p.c.Term
		if term == nil {
			term = syscall.SIGTERM
		}
		p.tree.signalAll(p.cmd, term)
		p.awaitEmpty(p.c.Grace)
	}
	return p.kill()
}

// awaitEmpty waits until no process of the tree is left, for at most limit, and not after Kill is closed.
func (p *Process) awaitEmpty(limit time.Duration) {
	over := time.NewTimer(limit)
	defer over.Stop()
	done := p.done
	for {
		select {
		case <-done:
			done = nil
			if p.tree.empty(p.cmd) {
				return
			}
		case <-over.C:
			return
		case <-p.c.Kill:
			return
		case <-time.After(20 * time.Millisecond):
			if done == nil && p.tree.empty(p.cmd) {
				return
			}
		}
	}
}

// kill ends the tree now. It returns the processes that do not die.
func (p *Process) kill() (left []int) {
	_ = p.Signal(syscall.SIGKILL) // most of the tree dies while the rest is being looked for
	for deadline := time.Now().Add(settle); ; {
		left = p.tree.killAll(p.cmd)
		ended := false
		select {
		case <-p.done:
			ended = true
		case <-time.After(2 * time.Millisecond):
		}
		if ended && len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// leftovers deals with what outlives a command that ended by itself.
func (p *Process) leftovers(ctx context.Context) (left []int) {
	_, signal := status(p.cmd.ProcessState)
	switch {
	case p.c.Leftovers == KillThem, signal != "", p.asked.Load():
		return p.kill()
	case p.c.Leftovers == WaitForThem:
		for !p.tree.empty(p.cmd) {
			select {
			case <-p.c.Kill:
				return p.kill()
			case <-ctx.Done():
				return p.end()
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// Left returns the living descendants of a command that has ended.
func (p *Process) Left() []int { return p.tree.members(p.cmd) }

func (p *Process) result(left []int) error {
	select {
	case <-p.done:
	default: // it does not die
		return &ExitError{Code: 128 + int(syscall.SIGKILL), Signal: syscall.SIGKILL.String(), Left: left}
	}
	exit, ok := errors.AsType[*exec.ExitError](p.err)
	switch {
	case ok:
		code, signal := status(exit.ProcessState)
		return &ExitError{Code: code, Signal: signal, Left: left}
	case errors.Is(p.err, exec.ErrWaitDelay): // somebody else still holds the output: not this command's failure
		p.err = nil
	}
	if len(left) > 0 {
		return &ExitError{Left: left}
	}
	return p.err
}
