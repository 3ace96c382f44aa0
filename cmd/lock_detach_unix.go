//go:build unix

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/etcdx/etcdx/pkg/child"
	"github.com/etcdx/etcdx/pkg/lock"
)

// A detached lock has a front and a keeper like any other, but they are in a session of their own, and what they guard is no
// command but the process that the lock is for. The process that people start launches them, and ends when the lock is held.

// launch starts the front, and passes on what it says until the lock is held or cannot be had.
func (l *lockRun) launch() error {
	self, err := ownProgram()
	if err != nil {
		return err
	}
	front := exec.Command(self, os.Args[1:]...)
	front.Args[0] = os.Args[0]
	front.Env = append(os.Environ(), keeperVariable+"="+detachedFront)
	front.Stderr = l.g.streams.Err
	front.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, err := front.StdoutPipe()
	if err != nil {
		return err
	}
	heardEnd, acknowledge, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = acknowledge.Close() }()
	front.ExtraFiles = []*os.File{heardEnd}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	err = front.Start()
	_ = heardEnd.Close()
	if err != nil {
		return fmt.Errorf("start the process that keeps the lock: %w", err)
	}
	heard := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(said)
		heard <- text
	}()
	for {
		select {
		case sig := <-signals:
			_ = front.Process.Signal(sig)
		case text := <-heard:
			if len(text) == 0 {
				return codeOf(front.Wait())
			}
			// It is said before the shell is told: of the two mistakes that dying in between makes, a lock that is held for
			// a process that does not know is the one that does no harm.
			if _, err := acknowledge.Write([]byte{'\n'}); err != nil {
				if err := codeOf(front.Wait()); err != nil {
					return err
				}
				return &keeperLostError{why: "has let go of it already", held: true} // no success: the shell has no lock
			}
			_, err := l.g.streams.Out.Write(text)
			return err
		}
	}
}

// heardFd is the front's end of the pipe in which its launcher says that it has heard of the lock.
const heardFd = 3

// acknowledged tells whether the launcher has heard of the lock, or has died before.
func acknowledged() (<-chan bool, error) {
	pipe, err := inherited(heardFd)
	if err != nil {
		return nil, err
	}
	heard := make(chan bool, 1)
	go func() {
		n, _ := pipe.Read(make([]byte, 1))
		heard <- n > 0
	}()
	return heard, nil
}

// codeOf returns the code with which a process of this program has ended.
func codeOf(err error) error {
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.Exited() {
		return codeError{code: e.ExitCode()}
	}
	return err
}

// exports prints what the shell that took a detached lock needs to know of it. That is the end of the output. That nobody is there
// to read it shows in the front's other pipe.
func (l *lockRun) exports(r guardReport) {
	var b strings.Builder
	for _, v := range [][2]string{
		{"ETCDX_LOCK_NAME", l.o.name},
		{"ETCDX_LOCK_KEY", r.Key},
		{"ETCD_LOCK_KEY", r.Key},
		{"ETCDX_FENCE", fmt.Sprintf("%s@%d", r.Key, r.Token)},
		{"ETCDX_LEASE", fmt.Sprintf("%x", r.Lease)},
	} {
		fmt.Fprintf(&b, "export %s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	_, _ = io.WriteString(l.g.streams.Out, b.String())
	if c, ok := l.g.streams.Out.(io.Closer); ok {
		_ = c.Close()
	}
}

// detached is the work of a lock that is for another process: it lives as long as that one does. When the lock is lost, that
// process is asked to end, and then killed.
func (l *lockRun) detached() lock.Work {
	return func(soft, hard context.Context) error {
		user, err := os.FindProcess(l.o.whilePID)
		if err != nil {
			return err
		}
		for {
			select {
			case <-soft.Done():
				if left := endProcess(user, hard.Done()); len(left) > 0 {
					l.say.warn(fmt.Sprintf("process %d is still alive after SIGKILL", user.Pid))
				}
				return context.Cause(soft)
			case <-l.signals:
				return nil
			case <-time.After(100 * time.Millisecond):
				if !child.Lives(user) {
					return nil
				}
			}
		}
	}
}

// endUser ends the process that the lock is for, in place of a keeper that has ended.
func (f *front) endUser() (left []int) {
	now := lock.Now()
	t := lock.NewTenure(f.last.Sent, f.last.TTL, f.l.o.grace)
	hard, cancel := context.WithTimeout(context.Background(), max(t.Killing(now).Sub(now), 0))
	defer cancel()
	return endProcess(f.user, hard.Done())
}

// killTime is how long a killed process may take to vanish before it is reported.
const killTime = 5 * time.Second

// endProcess asks a process to end, and kills it when hard is closed, at once if it is. It returns its ID if it does not die.
func endProcess(p *os.Process, hard <-chan struct{}) (left []int) {
	select {
	case <-hard:
	default:
		_ = p.Signal(syscall.SIGTERM)
	}
	var killed time.Time
	for child.Lives(p) {
		select {
		case <-hard:
			hard, killed = nil, time.Now()
			_ = p.Kill()
		case <-time.After(5 * time.Millisecond):
		}
		if !killed.IsZero() && time.Since(killed) > killTime {
			return []int{p.Pid}
		}
	}
	return nil
}
