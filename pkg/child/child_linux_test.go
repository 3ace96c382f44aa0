package child

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sh returns a command that runs a shell script, with the file pids writes to as $1.
func sh(t *testing.T, script string) (Command, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pids")
	return Command{Args: []string{"/bin/sh", "-c", script, "sh", file}}, file
}

// pids waits until want process IDs are in file.
func pids(t *testing.T, file string, want int) []int {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(file)
		if fields := strings.Fields(string(text)); len(fields) >= want {
			all := make([]int, len(fields))
			for i, f := range fields {
				all[i], _ = strconv.Atoi(f)
			}
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %q in %s", text, file)
		}
	}
}

func lives(pid int) bool {
	p, ok := processes()[pid]
	return ok && !p.zombie
}

// daemon leaves a process that is in another session and has no living ancestor of the command but the reaper.
const daemon = `(setsid sh -c 'echo $$ >>"$1"; exec sleep 60' sh "$1" &) ; `

func TestRunGivesTheShellsExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "kill -TERM $$": 143} {
		c, _ := sh(t, script)
		err, code := c.Run(t.Context()), 0
		if e, ok := errors.AsType[*ExitError](err); ok {
			code = e.Code
		}
		if code != want {
			t.Errorf("%q: code %d (%v), want %d", script, code, err, want)
		}
	}
	for program, want := range map[string]int{"no-such-program": 127, "/etc/passwd": 126, "/no/such/file": 127} {
		err := Command{Args: []string{program}}.Run(t.Context())
		if e, ok := errors.AsType[*StartError](err); !ok || e.Code != want {
			t.Errorf("%s: %v, want code %d", program, err, want)
		}
	}
}

func TestTheWholeTreeEndsWithTheContext(t *testing.T) {
	for name, sole := range map[string]bool{"sole": true, "one of several": false} {
		t.Run(name, func(t *testing.T) {
			c, file := sh(t, daemon+`echo $$ >>"$1"; sleep 60 & echo $! >>"$1"; wait`)
			c.Sole, c.Grace = sole, time.Second
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			all := pids(t, file, 3)
			cancel()
			err := <-done
			if e, ok := errors.AsType[*ExitError](err); !ok || e.Signal == "" || len(e.Left) > 0 {
				t.Errorf("ended with %v", err)
			}
			for _, pid := range all {
				if lives(pid) {
					t.Errorf("process %d outlives the command", pid)
				}
			}
		})
	}
}

func TestWhoIgnoresTermIsKilledAfterTheGrace(t *testing.T) {
	c, file := sh(t, `trap '' TERM; `+daemon+`echo $$ >>"$1"; while :; do sleep 1; done`)
	c.Sole, c.Grace = true, 300*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	all := pids(t, file, 2)
	began := time.Now()
	cancel()
	err := <-done
	if took := time.Since(began); took < c.Grace || took > c.Grace+time.Second {
		t.Errorf("ended after %v, want just over %v", took, c.Grace)
	}
	if e, ok := errors.AsType[*ExitError](err); !ok || e.Code != 137 {
		t.Errorf("ended with %v", err)
	}
	for _, pid := range all {
		if lives(pid) {
			t.Errorf("process %d outlives the command", pid)
		}
	}
}

func TestKillEndsTheGraceAtOnce(t *testing.T) {
	c, file := sh(t, `trap '' TERM; echo $$ >>"$1"; while :; do sleep 1; done`)
	kill := make(chan struct{})
	c.Sole, c.Grace, c.Kill = true, time.Minute, kill
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	pids(t, file, 1)
	cancel()
	close(kill)
	select {
	case <-done:
	case <-time.After(time.Second):
		t.Fatal("still running a second after Kill was closed")
	}
}

func TestATreeThatForksWithoutEndIsKilled(t *testing.T) {
	c, file := sh(t, `echo $$ >>"$1"; f() { while :; do (sleep 0.01; :) & echo $! >>"$1"; done; }; f "$1" & f "$1" & wait`)
	c.Sole = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	pids(t, file, 50)
	cancel()
	if e, ok := errors.AsType[*ExitError](<-done); !ok || len(e.Left) > 0 {
		t.Errorf("left: %v", e)
	}
}

func TestLeftovers(t *testing.T) {
	for what, want := range map[Leftovers]bool{LeaveThem: true, KillThem: false, WaitForThem: false} {
		t.Run(string(what), func(t *testing.T) {
			c, file := sh(t, `(setsid sh -c 'echo $$ >>"$1"; exec sleep 0.5' sh "$1" &); while ! test -s "$1"; do :; done`)
			c.Sole, c.Leftovers = true, what
			if err := c.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			pid := pids(t, file, 1)[0]
			if got := lives(pid); got != want {
				t.Errorf("the descendant lives: %v, want %v", got, want)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		})
	}
}

func TestSignalReachesTheWholeGroup(t *testing.T) {
	c, file := sh(t, `trap : USR1; sh -c 'trap "echo 1 >>\"$1\"; exit" USR1; echo 0 >>"$1"; while :; do sleep 0.02; done' sh "$1" & wait; wait`)
	p, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	pids(t, file, 1)
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	pids(t, file, 2)
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDescendantsOfACommandThatWasAskedToEndAreKilled(t *testing.T) {
	c, file := sh(t, `trap 'exit 5' TERM; `+daemon+`while :; do sleep 0.02; done`)
	c.Sole = true
	p, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	pid := pids(t, file, 1)[0]
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if e, ok := errors.AsType[*ExitError](p.Wait(t.Context())); !ok || e.Code != 5 {
		t.Errorf("ended with %v", e)
	}
	if lives(pid) {
		t.Errorf("process %d outlives the command", pid)
	}
}
