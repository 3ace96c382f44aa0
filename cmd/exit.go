package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lock"
	"github.com/etcdx/etcdx/pkg/output"
	"github.com/etcdx/etcdx/pkg/watch"
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
	exitCannotRun   = 126
	exitNoCommand   = 127
	exitSignal      = 128 // + n
)

// The exit codes of etcdctl 3.7 that are used under its name.
const (
	etcdctlFailed     = 1
	etcdctlConnection = 2
	etcdctlFeature    = 4
	etcdctlArgs       = 128
)

// meanings says what each exit code means, as the help texts and docs/exit-codes.md do.
func meanings() map[int]string {
	return map[int]string{
		exitOK:          "done",
		exitFailed:      "failed",
		exitUsage:       "wrong usage",
		exitBadData:     "bad data: checkpoint corrupt or newer, malformed input",
		exitNotFound:    "not found, or condition false, where asked for",
		exitUnavailable: "unavailable: nothing was applied, trying again is safe",
		exitCantSave:    "the checkpoint cannot be written",
		exitBusy:        "busy, or not acquired in time",
		exitUnknown:     "outcome unknown: a write was sent and not answered",
		exitDenied:      "denied: authentication, permission, TLS",
		exitImpossible:  "impossible configuration",
		exitLost:        "lock or leadership lost while held, command stopped",
		exitCompacted:   "compacted: the history needed is gone",
		exitOther:       "another cluster, or its history went back",
		exitHandler:     "the handler failed",
		exitCannotRun:   "the command cannot be run",
		exitNoCommand:   "the command was not found",
		exitSignal:      "128+n: ended by signal n",
	}
}

// outcome is one way in which a command can end: how its error is recognised, its exit code, and the next step.
type outcome struct {
	is   func(error) bool
	code int
	hint string
	// etcdctl is the exit code under etcdctl's name; 0: the 1 of most failures.
	etcdctl int
}

// outcomes lists the special ends before the general ones.
func outcomes() []outcome {
	return []outcome{
		{is: as[*config.UsageError], code: exitUsage, etcdctl: etcdctlArgs},
		{is: as[*config.ImpossibleError], code: exitImpossible, etcdctl: etcdctlArgs},
		{is: as[*labMissingError], code: 127, hint: "go install github.com/etcdx/etcdx/cmd/etcdx-lab@latest"},
		{is: isFilterMisfit, code: exitFailed, hint: "the command did what it does; only what it printed is not complete"},
		{is: as[*output.WriteError], code: exitFailed, hint: "what was printed is not complete"},
		{is: as[notFoundError], code: exitNotFound},
		{is: as[*handlerError], code: exitHandler, hint: "the checkpoint stands before those events: mend the handler and resume"},
		{is: as[*checkpoint.WriteError], code: exitCantSave, hint: "what was handled since the last write will be sent again"},
		{is: as[*checkpoint.CorruptError], code: exitBadData, hint: "nothing was changed; put back a copy, or remove it and start anew"},
		{is: as[*checkpoint.NewerError], code: exitBadData, hint: "use the etcdx that wrote it, or a newer one"},
		{is: as[*checkpoint.UntrustedError], code: exitDenied, hint: "it names a command to run or a file to write: look at it with checkpoint show, then make it your own and chmod 600 it"},
		{is: as[*handlerLeftError], code: exitBusy, hint: "see what they wait for, such as a disk that does not answer"},
		{is: as[*checkpoint.InUseError], code: exitBusy, hint: "stop the watch that holds it, or use another checkpoint"},
		{is: as[*otherWatchError], code: exitUsage, hint: "resume takes range and filters from the checkpoint; for another watch, use another name"},
		{is: isCompactedWatch, code: exitCompacted, hint: "a watch with --checkpoint sends what changed meanwhile", etcdctl: 5},
		{is: as[*watchEndedError], code: exitFailed, etcdctl: 5},
		{is: as[badLine], code: exitUsage, etcdctl: 3},
		{is: as[*differedError], code: exitFailed},
		{is: as[*watch.OtherClusterError], code: exitOther, hint: "check --endpoints; for another cluster, use another checkpoint"},
		{is: as[*watch.RegressionError], code: exitOther, hint: "--on-regression=sync sends everything that differs"},
		{is: as[*watch.CompactedError], code: exitCompacted, hint: "a watch with --checkpoint and --on-compacted=sync sends what changed meanwhile"},
		{is: isMissingCheckpoint, code: exitNotFound, hint: "etcdx checkpoint ls lists those in the state directory"},
		{is: conn.MaybeApplied, code: exitUnknown, hint: "read the key before writing it again"},
		{is: is(rpctypes.ErrCompacted), code: exitCompacted, hint: "that revision is compacted away: read without --rev, or at a newer one"},
		{is: is(rpctypes.ErrFutureRev), code: exitBadData, hint: "the cluster has not reached that revision; was it restored from a backup?"},
		{is: is(rpctypes.ErrEmptyKey), code: exitUsage, hint: "a key cannot be empty; every key: --prefix \"\""},
		{is: is(rpctypes.ErrRequestTooLarge), code: exitBadData, hint: "the servers take 1.5 MiB per request by default (etcd --max-request-bytes)"},
		{is: tooLargeToSend, code: exitBadData, hint: "--max-request-bytes lets larger requests out; the servers take 1.5 MiB by default"},
		{is: is(rpctypes.ErrKeyNotFound), code: exitNotFound, hint: "--ignore-value and --ignore-lease update a key that exists"},
		{is: is(rpctypes.ErrLeaseNotFound), code: exitNotFound, hint: "the lease has expired or was revoked; put --ttl grants a new one"},
		{is: is(lock.ErrLost), code: exitLost},
		{is: as[*unreachedError], code: exitUnavailable, hint: "nothing was started: it is safe to try again"},
		{is: is(lock.ErrBusy), code: exitBusy},
		{is: as[*lock.TTLError], code: exitImpossible},
		{is: as[*lock.SlotsError], code: exitImpossible},
		{is: as[*deadlockError], code: exitImpossible},
		{is: as[protectedError], code: exitDenied, hint: "--write allows it"},
		{is: failedFor(conn.BadLogin, conn.NoPermission, conn.WrongCA, conn.NeedCert, conn.PlainPort, conn.TLSPort), code: exitDenied},
		{is: failedFor(conn.UnknownHost, conn.NotEtcd), code: exitImpossible},
		{is: isRefusedLogin, code: exitDenied, hint: "check --user and --password, or get a new token"},
		{is: isDenial, code: exitDenied, hint: "give a user who may do that, with --user"},
		{is: is(errOtherClusters), code: exitOther},
		{is: is(errEndpointsBad), code: exitUnavailable},
		{is: is(errUnhealthy), code: exitUnavailable, hint: "etcdx check-endpoints shows every endpoint and what is wrong with it"},
		{is: is(rpctypes.ErrRoleNotFound), code: exitNotFound, hint: "etcdx role list shows the roles"},
		{is: is(rpctypes.ErrUserNotFound), code: exitNotFound, hint: "etcdx user list shows the users"},
		{is: is(rpctypes.ErrMemberNotFound), code: exitNotFound, hint: "etcdx member list shows the members"},
		{is: is(errNoAnswer), code: exitUnavailable, hint: "it is safe to try again; --command-timeout allows more time"},
		{is: is(errNotSent), code: exitUnavailable, hint: "check-endpoints shows what is wrong with each endpoint"},
		{is: as[*conn.ScanError], code: exitUnavailable, hint: "what was printed is not the whole range: run it again"},
		{is: as[*conn.UnavailableError], code: exitUnavailable, hint: "nothing was applied: it is safe to try again"},
	}
}

// isMissingCheckpoint says whether a file that was to be opened is not there.
func isMissingCheckpoint(err error) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && errors.Is(e, fs.ErrNotExist) && e.Op == "open"
}

// isCompactedWatch says whether a watch as etcdctl's was ended by a compaction.
func isCompactedWatch(err error) bool {
	return as[*watchEndedError](err) && as[*watch.CompactedError](err)
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

// failedFor returns a function that says whether every endpoint failed for one of the reasons.
func failedFor(reasons ...conn.Reason) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*conn.UnavailableError](err)
		return ok && len(e.Attempts) > 0 && !slices.ContainsFunc(e.Attempts, func(a conn.Attempt) bool { return !slices.Contains(reasons, a.Reason) })
	}
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

// hinted is an error with a next step that it did not know itself.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }
