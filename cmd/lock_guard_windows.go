package cmd

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/etcdx/etcdx/pkg/lock"
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

// There are no detached locks here.
func (l *lockRun) launch() error       { return errors.ErrUnsupported }
func (l *lockRun) detached() lock.Work { return nil }
