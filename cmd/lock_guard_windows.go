package cmd

import (
	"context"
	"errors"
	"os"
	"syscall"
)

// canGuard is false: a job object ends the command with this process, and nothing stops a process here.
const canGuard = false

func (l *lockRun) asFront(context.Context) error          { return errors.ErrUnsupported }
func (l *lockRun) asKeeper(context.Context, string) error { return errors.ErrUnsupported }

func forwarded() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

func signalNumber(sig os.Signal) int {
	n, _ := sig.(syscall.Signal)
	return int(n)
}

// termSignal returns what asks a command to end: there is nothing but killing.
func (o *lockOptions) termSignal() (os.Signal, error) { return os.Kill, nil }

// processRuns is not needed here: there are no detached locks.
func processRuns(int) bool { return false }
