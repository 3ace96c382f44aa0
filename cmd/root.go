// Package cmd is etcdx's command line: one file per command.
package cmd

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

// Streams are a command's standard input, output and error.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs etcdx, with extras added, as a process and returns its exit code.
func Main(extras ...Extra) int {
	ctx, stop := signal.NotifyContext(context.Background(), append(hangup(), os.Interrupt, syscall.SIGTERM)...)
	defer stop()
	// A second signal ends the process at once: whoever sends it does not want to wait for clean-up.
	context.AfterFunc(ctx, stop)
	g := &globals{
		streams: Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, env: os.LookupEnv,
		process: ctx, asEtcdctl: calledEtcdctl(os.Args[0]) || os.Getenv(asVariable) == "etcdctl", ignoreSignals: stop, extras: extras,
	}
	return g.run(os.Args[1:])
}

// hangup returns SIGHUP, if this process is to hear of it: not under nohup.
func hangup() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	return []os.Signal{syscall.SIGHUP}
}

// Run is the whole program as a function: it runs the command line args and returns the exit code.
// ctx ends when the process is asked to stop.
func Run(ctx context.Context, args []string, env func(string) (string, bool), s Streams, extras ...Extra) int {
	g := &globals{streams: s, env: env, process: ctx, ignoreSignals: func() {}, extras: extras}
	return g.run(args)
}

// NewRootForDocs returns the whole command tree, for a program that writes documentation and never runs a command.
func NewRootForDocs() *cobra.Command {
	g := &globals{streams: Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, env: func(string) (string, bool) { return "", false }}
	root := newRoot(g)
	g.mount(root)
	appendExitCodes(root)
	return root
}

// globals is what every command gets from the root: the streams, the settings and the cluster.
type globals struct {
	streams  Streams
	env      func(string) (string, bool)
	settings config.Settings
	cluster  *conn.Cluster
	// filter is the expression of --jq; nil: none.
	filter *output.Filter

	// process ends when the process is asked to stop. Commands use their own context, which is derived from it.
	process context.Context
	// asEtcdctl says that the program was called under etcdctl's name: errors and exit codes are etcdctl's then.
	asEtcdctl bool
	// ignoreSignals gives signals back their effect on a process that does not handle them.
	ignoreSignals func()
	// extras are the commands that this program has beside etcdx's.
	extras []Extra
	// parsed says that the command line was understood: what fails from then on is no wrong usage of it.
	parsed bool
}

// calledEtcdctl says whether a program name, such as that of a symbolic link, is etcdctl's.
func calledEtcdctl(arg0 string) bool {
	return strings.TrimSuffix(filepath.Base(arg0), ".exe") == "etcdctl"
}

// run runs one command line and returns the exit code.
func (g *globals) run(args []string) int {
	root := newRoot(g)
	addExtras(root, g, g.extras)
	args = expand(root, args)
	// A lock may have any name, also one that begins a subcommand's.
	cobra.EnablePrefixMatching = false
	if !isOwn(root, firstWord(root.PersistentFlags(), args)) {
		g.mount(root)
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(g.process)
	g.close()
	if err != nil && !g.parsed {
		err = misuse(root, cmd, err)
	} else if e, ok := errors.AsType[usageError](err); ok && e.hint == "" {
		err = hinted{err, cmd.CommandPath() + " --help shows its arguments and flags"}
	}
	return g.report(err)
}

// connect returns the cluster named by the settings; every call returns the same one.
func (g *globals) connect() (*conn.Cluster, error) {
	if g.cluster != nil {
		return g.cluster, nil
	}
	if err := g.complete(); err != nil {
		return nil, err
	}
	o := g.settings.Conn
	if g.asEtcdctl && !o.Pin {
		// etcdctl spreads its calls over the endpoints, where etcdx prefers the first.
		o.Endpoints = slices.Clone(o.Endpoints)
		rand.Shuffle(len(o.Endpoints), func(i, j int) { o.Endpoints[i], o.Endpoints[j] = o.Endpoints[j], o.Endpoints[i] })
	}
	c, err := conn.Open(o)
	if err != nil {
		return nil, err
	}
	g.cluster = c
	return c, nil
}

// complete finds out what is still missing to connect: the password, endpoints from the DNS.
func (g *globals) complete() error {
	return g.settings.Complete(g.process, g.access())
}

func (g *globals) close() {
	if g.cluster != nil {
		_ = g.cluster.Close()
	}
}

// short bounds a command that should answer soon: --command-timeout covers it as a whole, retries included.
func (g *globals) short(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, g.settings.CommandTimeout)
}

// newRoot returns the root with etcdx's own commands. The ones mounted from etcdctl are added only for a command line that
// needs them: see mount.
func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:               "etcdx",
		Short:             "etcdctl that does not let go",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			g.parsed = true
			var err error
			if g.settings, err = config.Resolve(cmd.Flags(), g.env); err != nil {
				return err
			}
			if err := g.useFilter(cmd, g.settings.Filter); err != nil {
				return err
			}
			return g.refuseIfProtected(cmd)
		},
	}
	if g.asEtcdctl {
		root.Use, root.Short = "etcdctl", "A simple command line client for etcd3."
	}
	root.SetIn(g.streams.In)
	root.SetOut(g.streams.Out)
	root.SetErr(g.streams.Err)
	config.AddFlags(root.PersistentFlags())
	root.AddCommand(
		newGet(g), newPut(g), newDel(g),
		newWatch(g), newResume(g), newCompactCheck(g), newCheckpoint(g), newVerify(g),
		newLock(g), newElect(g), newUnlock(g),
		newContext(g), newCheckEndpoints(g), newVersion(g),
	)
	addCompletions(g, root)
	dressHelp(g, root)
	return root
}
