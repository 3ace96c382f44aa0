// Package cmd is etcdx's command line: one file per command.
package cmd

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
)

// Streams are a command's standard input, output and error.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs etcdx, with extras added, as a process and returns its exit code.
func Main(extras ...Extra) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A second signal ends the process at once: whoever sends it does not want to wait for clean-up.
	context.AfterFunc(ctx, stop)
	return Run(ctx, os.Args[1:], os.LookupEnv, Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, extras...)
}

// Run is the whole program as a function: it runs the command line args and returns the exit code.
// ctx ends when the process is asked to stop.
func Run(ctx context.Context, args []string, env func(string) (string, bool), s Streams, extras ...Extra) int {
	g := &globals{streams: s, env: env}
	root := newRoot(g)
	addExtras(root, g, extras)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	g.close()
	return report(s.Err, err)
}

// globals is what every command gets from the root: the streams, the settings and the cluster.
type globals struct {
	streams  Streams
	env      func(string) (string, bool)
	settings config.Settings
	cluster  *conn.Cluster
}

// connect returns the cluster named by the settings; every call returns the same one.
func (g *globals) connect() (*conn.Cluster, error) {
	if g.cluster != nil {
		return g.cluster, nil
	}
	c, err := conn.Open(g.settings.Conn)
	if err != nil {
		return nil, err
	}
	g.cluster = c
	return c, nil
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

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:           "etcdx",
		Short:         "etcdctl that does not let go",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			g.settings, err = config.Resolve(cmd.Flags(), g.env)
			return err
		},
	}
	root.SetIn(g.streams.In)
	root.SetOut(g.streams.Out)
	root.SetErr(g.streams.Err)
	config.AddFlags(root.PersistentFlags())
	root.AddCommand(newGet(g), newPut(g), newDel(g))
	return root
}
