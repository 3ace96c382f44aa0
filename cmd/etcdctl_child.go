package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

// asVariable makes a process behave as if it had been called under the name in it. Only "etcdctl" means something.
const asVariable = "ETCDX_AS"

// supervise runs a command of etcdctl in a process of its own, because it ends its process when it fails, with a code that
// says little. What it says last is turned into an error that has its cause, exit code and hint.
func (g *globals) supervise(cmd *cobra.Command, args []string) error {
	self, err := ownProgram()
	if err != nil {
		return err
	}
	stdout, format, finish, err := g.convert(commandWords(cmd), g.streams.Out)
	if err != nil {
		return err
	}
	// Also where it is what was asked for: by -o, which etcdctl does not have.
	if err := cmd.Flags().Set("write-out", string(format)); err != nil {
		return err
	}
	if isTerminal(stdout) {
		// Values, names of members and roles: etcdctl writes them as they are.
		safe := output.NewTerminalWriter(stdout)
		defer func() { _ = safe.Close() }()
		stdout = safe
	}
	child := exec.CommandContext(g.process, self, childArgs(cmd, args)...)
	child.Args[0] = os.Args[0]
	child.Env = g.childEnv(cmd)
	child.Stdin, child.Stdout = g.streams.In, stdout
	child.Cancel = func() error {
		if err := child.Process.Signal(syscall.SIGTERM); err == nil {
			return nil
		}
		return child.Process.Kill() // there is no SIGTERM on Windows
	}
	stderr, err := child.StderrPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	last := g.passOn(stderr)
	err = child.Wait()
	if err := finish(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(commandWords(cmd), " "), err)
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err == nil || !ok {
		return err
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		if code := stoppedBy(g.process); code != 0 {
			return codeError{code: code} // by the signal that was sent here, whichever ended the child
		}
		return codeError{code: exitSignal + int(s.Signal())}
	}
	return verdict(commandWords(cmd), exit.ExitCode(), last)
}

// childArgs writes the command line of cmd without the global flags: their values go by childEnv.
func childArgs(cmd *cobra.Command, args []string) []string {
	line := commandWords(cmd)
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				line = append(line, "--"+f.Name+"="+v)
			}
			return
		}
		line = append(line, "--"+f.Name+"="+f.Value.String())
	})
	return append(append(line, "--"), args...)
}

// childEnv is the environment with every global setting in it that is not its default.
func (g *globals) childEnv(cmd *cobra.Command) []string {
	set := map[string]string{asVariable: "etcdctl"}
	gone := map[string]bool{}
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		gone[config.Variable("ETCDX", f.Name)], gone[config.Variable("ETCDCTL", f.Name)] = true, true
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		if f.Changed && f.Name != "output" && f.Name != "password-file" && f.Name != "jq" {
			set[config.Variable("ETCDX", f.Name)] = value
		}
	})
	env := make([]string, 0, len(set))
	for _, kv := range os.Environ() {
		if key, _, _ := strings.Cut(kv, "="); !gone[key] {
			env = append(env, kv)
		}
	}
	for key, value := range set {
		env = append(env, key+"="+value)
	}
	return env
}

// passOn copies what a command of etcdctl says, except its last word, "Error: TEXT", which it returns without the "Error: ",
// and the client's own log of retries unless --debug asks for it.
func (g *globals) passOn(stderr io.Reader) (last string) {
	in := bufio.NewReader(stderr)
	errs := g.streams.Err
	if isTerminal(errs) {
		errs = output.NewTerminalWriter(errs)
	}
	for {
		line, err := in.ReadBytes('\n')
		text, isError := bytes.CutPrefix(line, []byte("Error: "))
		switch {
		case isError:
			last = strings.TrimSpace(string(text))
		case bytes.HasPrefix(line, []byte("Failed to defragment ")):
			// For each endpoint such a line, and no last word.
			if _, known := serverError(string(bytes.TrimSpace(line))); known {
				last = string(bytes.TrimSpace(line))
			}
			_, _ = errs.Write(line)
		case bytes.Contains(line, []byte(`"msg":"retrying of unary invoker failed"`)) && !g.settings.Debug:
		case len(line) > 0:
			_, _ = errs.Write(line)
		}
		if err != nil {
			return last
		}
	}
}

// verdict turns etcdctl's exit code and last word into an error that classify understands.
func verdict(words []string, code int, text string) error {
	if code == etcdctlArgs || code == etcdctlFeature && text == "unsupported output format" {
		return usageError{text: text, hint: "etcdx " + strings.Join(words, " ") + " --help shows its arguments and flags"}
	}
	doing := strings.Join(words, " ")
	if known, ok := serverError(text); ok {
		switch passing, open := conn.Passing(known); {
		case passing && open && changes(words):
			return fmt.Errorf("%s: %w", doing, &conn.UnknownOutcomeError{Err: known})
		case passing:
			return fmt.Errorf("%s: %w: %w", doing, errNoAnswer, known)
		}
		return fmt.Errorf("%s: %w", doing, known)
	}
	switch broken := strings.Contains(text, "code = Unavailable"); {
	case text == "":
		return codeError{code: exitFailed}
	case text == "unhealthy cluster":
		return fmt.Errorf("%s: %w", doing, errUnhealthy)
	case broken && strings.Contains(text, "Error while dialing"):
		return fmt.Errorf("%s: %w: %s", doing, errNotSent, text)
	case !broken && text != context.DeadlineExceeded.Error():
		return fmt.Errorf("%s: %s", doing, text)
	case changes(words):
		return fmt.Errorf("%s: %w", doing, &conn.UnknownOutcomeError{Err: errors.New(text)})
	}
	return fmt.Errorf("%s: %w: %s", doing, errNoAnswer, text)
}

// serverError returns the error of etcd's that a text is, or has in brackets.
func serverError(text string) (rpctypes.EtcdError, bool) {
	if _, inner, ok := strings.Cut(text, "("); ok {
		text = strings.TrimSuffix(inner, ")")
	}
	// What a stream ends with is printed as gRPC has it.
	if _, desc, ok := strings.Cut(text, "rpc error: code = PermissionDenied desc = "); ok {
		text = desc
	}
	return errors.AsType[rpctypes.EtcdError](rpctypes.Error(status.Error(codes.Unknown, text)))
}

// errUnhealthy says that an endpoint is not well; etcdctl has said which one, and why.
var errUnhealthy = errors.New("unhealthy cluster")

var (
	// errNoAnswer says that a question which changes nothing was not answered: not in time, or the connection broke.
	errNoAnswer = errors.New("not answered")
	// errNotSent says that there was no connection to send a request on.
	errNotSent = errors.New("no connection")
)
