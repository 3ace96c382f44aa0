package cmd

import (
	"errors"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

// The exit codes, as docs/exit-codes.md explains them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 64
	exitBadData     = 65
	exitNotFound    = 66
	exitUnavailable = 69
	exitCantSave    = 73
	exitBusy        = 75
	exitUnknown     = 76
	exitDenied      = 77
	exitImpossible  = 78
	exitLost        = 79
	exitCompacted   = 80
	exitOther       = 81
	exitHandler     = 82
)

// outcome is one way in which a command can end: how its error is recognised, its exit code, and the next step.
type outcome struct {
	is   func(error) bool
	code int
	hint string
}

// outcomes lists the special ends before the general ones.
func outcomes() []outcome {
	return []outcome{
		{is: as[*labMissingError], code: 127, hint: "go install github.com/etcdx/etcdx/cmd/etcdx-lab@latest"},
		{is: as[*output.WriteError], code: exitFailed, hint: "what was printed is not complete"},
		{is: as[notFoundError], code: exitNotFound},
		{is: conn.MaybeApplied, code: exitUnknown, hint: "read the key before writing it again"},
		{is: is(rpctypes.ErrCompacted), code: exitCompacted, hint: "that revision is compacted away: read without --rev, or at a newer one"},
		{is: is(rpctypes.ErrFutureRev), code: exitBadData, hint: "the cluster has not reached that revision; was it restored from a backup?"},
		{is: is(rpctypes.ErrEmptyKey), code: exitUsage, hint: "a key cannot be empty; every key: --prefix \"\""},
		{is: is(rpctypes.ErrRequestTooLarge), code: exitBadData, hint: "the servers take 1.5 MiB per request by default (etcd --max-request-bytes)"},
		{is: tooLargeToSend, code: exitBadData, hint: "--max-request-bytes lets larger requests out; the servers take 1.5 MiB by default"},
		{is: is(rpctypes.ErrLeaseNotFound), code: exitNotFound, hint: "the lease has expired or was revoked; put --ttl grants a new one"},
		{is: as[*conn.UnavailableError], code: exitUnavailable, hint: "nothing was applied: it is safe to try again"},
	}
}

// as says whether err is or wraps an E.
func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// is returns a function that says whether an error is or wraps target.
func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// codeError ends a command with a code of its own, such as that of the command run under a lock.
// A nil err ends it silently.
type codeError struct {
	code int
	err  error
}

func (e codeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e codeError) Unwrap() error { return e.err }

// usageError is a command line that cannot be run.
type usageError struct {
	text, hint string
	// feature marks what etcdctl calls an unsupported feature (code 4 there) rather than wrong arguments (128).
	feature bool
}

func (e usageError) Error() string { return e.text }

// report tells people how a command ended, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := classify(err)
	if e, ok := errors.AsType[codeError](err); ok && e.err == nil {
		return code
	}
	fmt.Fprintf(stderr, "etcdx: %v\n", err)
	if hint != "" {
		fmt.Fprintf(stderr, "etcdx: hint: %s\n", hint)
	}
	return code
}

// classify returns the exit code and the hint for err.
func classify(err error) (code int, hint string) {
	if e, ok := errors.AsType[codeError](err); ok {
		return e.code, ""
	}
	if e, ok := errors.AsType[usageError](err); ok {
		return exitUsage, e.hint
	}
	for _, o := range outcomes() {
		if o.is(err) {
			return o.code, o.hint
		}
	}
	return exitFailed, ""
}
