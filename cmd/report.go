package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

// report tells people how a command ended, and returns the exit code.
func (g *globals) report(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[codeError](err); ok && e.err == nil {
		if g.asEtcdctl && stoppedBy(g.process) == 0 {
			fmt.Fprintf(g.streams.Err, "Error: %v\n", e) // as etcdctl says of the command under its lock
		}
		return e.code
	}
	if code := stoppedBy(g.process); code != 0 && errors.Is(err, context.Canceled) {
		return code
	}
	if g.asEtcdctl {
		return reportAsEtcdctl(g.streams.Err, err)
	}
	code, hint := classify(err)
	text := err.Error()
	hints := []string{hint}
	if e, ok := errors.AsType[*conn.UnavailableError](err); ok {
		var attempts string
		attempts, hints = explain(e, hint)
		if len(e.Attempts) > 1 {
			text = strings.Replace(text, e.Error(), "no endpoint served the request", 1) + attempts
		}
	}
	// What a server or another holder says is part of it, and people read it on a terminal, now or later.
	fmt.Fprintf(g.streams.Err, "etcdx: %s\n", output.Escape(text, false))
	for _, h := range hints {
		if h != "" {
			fmt.Fprintf(g.streams.Err, "etcdx: hint: %s\n", output.Escape(h, false))
		}
	}
	return code
}

// explain returns a line for each endpoint, and the hints: one for each kind of failure, then general.
func explain(e *conn.UnavailableError, general string) (lines string, hints []string) {
	for _, a := range e.Attempts {
		sentence, hint := a.Reason.Explain()
		if a.Reason == conn.Other {
			sentence = a.Err.Error()
		}
		lines += "\netcdx: " + a.Endpoint + " " + sentence
		if !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	return lines, append(hints, general)
}

// classify returns the exit code and the hint for err.
func classify(err error) (code int, hint string) {
	if e, ok := errors.AsType[codeError](err); ok {
		return e.code, ""
	}
	if e, ok := errors.AsType[usageError](err); ok {
		if h, ok := errors.AsType[hinted](err); ok {
			return exitUsage, h.hint
		}
		return exitUsage, e.hint
	}
	for _, o := range outcomes() {
		if !o.is(err) {
			continue
		}
		if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok && o.hint == "" {
			return o.code, h.Hint()
		}
		return o.code, o.hint
	}
	return exitFailed, ""
}

// reportAsEtcdctl ends a command with etcdctl's line and exit code.
func reportAsEtcdctl(w io.Writer, err error) int {
	fmt.Fprintf(w, "Error: %s\n", etcdctlText(err))
	if e, ok := errors.AsType[misuseError](err); ok {
		fmt.Fprintln(w, e.usage)
		return etcdctlFailed
	}
	if e, ok := errors.AsType[codeError](err); ok {
		if e.code == exitCannotRun || e.code == exitNoCommand {
			return etcdctlFailed
		}
		return e.code
	}
	if e, ok := errors.AsType[usageError](err); ok {
		if e.feature {
			return etcdctlFeature
		}
		return etcdctlArgs
	}
	for _, o := range outcomes() {
		if o.is(err) && o.etcdctl != 0 {
			return o.etcdctl
		} else if o.is(err) {
			break
		}
	}
	return etcdctlFailed
}

// etcdctlText returns what etcdctl says of a failure: the server's words, without what etcdx adds to them.
func etcdctlText(err error) string {
	if e, ok := errors.AsType[*conn.UnavailableError](err); ok {
		for _, a := range e.Attempts {
			if a.Reason == conn.BadLogin || a.Reason == conn.NoPermission {
				return etcdctlText(a.Err)
			}
		}
		return context.DeadlineExceeded.Error() // all that etcdctl learns
	}
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded.Error()
	}
	if e, ok := errors.AsType[*config.ImpossibleError](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// misuseError is a command line that cobra refused, with the usage that etcdctl prints after it.
type misuseError struct {
	usageError
	usage string
}

func (e misuseError) Unwrap() error { return e.usageError }

// misuse turns cobra's refusal of a command line into a usageError with the next step.
func misuse(root, cmd *cobra.Command, err error) error {
	text, suggestions, _ := strings.Cut(err.Error(), "\n")
	e := misuseError{usageError: usageError{text: text}, usage: cmd.UsageString()}
	switch near := strings.Fields(suggestions); {
	case len(near) > 3: // "Did you mean this?" and the names
		e.hint = "did you mean " + strings.Join(near[4:], " or ") + "?"
	case cmd == root:
		e.hint = root.Name() + " --help lists the commands"
	default:
		e.hint = cmd.CommandPath() + " --help shows its arguments and flags"
	}
	if cmd == root && strings.HasPrefix(text, "unknown command") {
		e.usage = "Run '" + root.Name() + " --help' for usage."
	}
	return e
}

// stoppedBy returns the exit code for the signal that ended the process' context; 0: none did.
func stoppedBy(process context.Context) int {
	if process == nil || process.Err() == nil {
		return 0
	}
	// signal.NotifyContext gives the signal's name only.
	cause := context.Cause(process).Error()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if strings.HasPrefix(cause, os.Signal(s).String()+" ") {
			return exitSignal + int(s)
		}
	}
	return exitFailed
}

// protectedError says that the context in force does not allow changes.
type protectedError struct{ context, command string }

func (e protectedError) Error() string {
	return fmt.Sprintf("context %q is protected: %s changes the cluster", e.context, e.command)
}

// refuseIfProtected stops a command that changes the cluster, in a context that asks for --write.
func (g *globals) refuseIfProtected(cmd *cobra.Command) error {
	if g.settings.Protected && !g.settings.Write && changes(commandWords(cmd)) {
		return protectedError{context: g.settings.Context, command: strings.Join(commandWords(cmd), " ")}
	}
	return nil
}

// changes says whether a command changes the cluster: its keys, its members or who may use it.
func changes(words []string) bool {
	if len(words) == 0 {
		return false
	}
	sub := ""
	if len(words) > 1 {
		sub = words[1]
	}
	switch words[0] {
	case "put", "del", "txn", "compaction", "defrag", "move-leader", "make-mirror", "lock", "elect", "unlock":
		return true
	case "lease":
		return sub == "grant" || sub == "revoke" || sub == "keep-alive"
	case "member":
		return sub != "list"
	case "user", "role":
		return sub != "get" && sub != "list"
	case "auth":
		return sub != "status"
	case "alarm":
		return sub == "disarm"
	case "check":
		return sub == "perf" || sub == "datascale"
	case "downgrade":
		return sub != "validate"
	}
	return false
}
