package cmd

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// childSpec is a command that a watch runs.
type childSpec struct {
	args, env []string
	in        io.Reader
	out, err  io.Writer
	extra     []*os.File // its file descriptors from 3 on
	// grace is what the command gets between the request to stop and its end.
	grace time.Duration
}

// command prepares the command with a process group of its own, all of which ends with ctx.
func (s childSpec) command(ctx context.Context) *exec.Cmd {
	c := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr, c.ExtraFiles = s.env, s.in, s.out, s.err, s.extra
	ownGroup(c)
	c.Cancel = func() error { return signalGroup(c, syscall.SIGTERM) }
	c.WaitDelay = s.grace
	return c
}

// runChild runs the command to its end.
func runChild(ctx context.Context, s childSpec) error {
	c := s.command(ctx)
	if err := c.Start(); err != nil {
		return err
	}
	err := c.Wait()
	if ctx.Err() != nil {
		_ = signalGroup(c, syscall.SIGKILL) // whoever of the group outlived the grace
	}
	// A command that does not read all of its input may still have handled it: its own verdict counts.
	if errors.Is(err, syscall.EPIPE) && c.ProcessState.Success() {
		return nil
	}
	return err
}
