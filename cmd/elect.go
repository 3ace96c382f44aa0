package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lock"
	"github.com/etcdx/etcdx/pkg/output"
)

const electHelp = `Observes and participates in leader election.

With a proposal it waits to be elected, prints the key with the proposal, and leads until
SIGINT or SIGTERM. With a command after "--", the command runs while this process leads, on
the same terms as that of etcdx lock: it is dead before anybody else can be elected.

etcdctl elect and the elections of etcd's client libraries take part in the same elections.`

const electExamples = `  etcdx elect cluster-manager $(hostname) -- manager --serve
  etcdx elect -l cluster-manager        # every leader, as they come
  etcdx elect --who cluster-manager     # the one of now; exit code 66: nobody`

func newElect(g *globals) *cobra.Command {
	o := lockOptions{}
	var listen, who bool
	cmd := &cobra.Command{
		Use:     "elect <election-name> [proposal] [-- command arg1 arg2 ...]",
		Short:   "Observes and participates in leader election",
		Long:    electHelp,
		Example: electExamples,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args, o.command = args[:n], args[n:]
			}
			switch {
			case len(args) != 1 && len(args) != 2:
				return badArgs("elect takes one election name argument and an optional proposal argument")
			case len(args) == 1 && !listen && !who:
				return badArgs("no proposal argument but -l not set")
			case len(args) == 2 && (listen || who):
				return badArgs("proposal given but -l is set")
			}
			o.name = args[0]
			if listen || who {
				return o.observe(cmd.Context(), g, who)
			}
			o.proposal = &args[1]
			return o.start(cmd.Context(), g)
		},
	}
	o.addFlags(cmd.Flags())
	for _, name := range []string{"shared", "slots", "weight", "at-most-every", "once", "once-keep", "mark", "skip-code", "cron", "note", "show-args", "anonymous"} {
		cmd.Flags().Lookup(name).Hidden = true
		_ = cmd.Flags().MarkDeprecated(name, "it is for locks")
	}
	cmd.Flags().BoolVarP(&listen, "listen", "l", false, "observation mode")
	cmd.Flags().BoolVar(&who, "who", false, "print the leader, and exit with 66 if there is none")
	return cmd
}

// observe prints the leader, or every one from now on.
func (o *lockOptions) observe(ctx context.Context, g *globals, once bool) error {
	p, err := g.printer(output.Options{})
	if err != nil {
		return err
	}
	c, err := g.connect()
	if err != nil {
		return err
	}
	s := lockStore{c}
	var shown int64 // the mod revision that was printed last
	for {
		resp, err := firstOf(ctx, g, s, o.name)
		if err != nil {
			return fmt.Errorf("elect %q: %w", o.name, err)
		}
		if once && len(resp.Kvs) == 0 {
			return notFoundError{fmt.Sprintf("election %q has no leader", o.name)}
		}
		leader := ""
		if len(resp.Kvs) > 0 {
			leader = string(resp.Kvs[0].Key)
			if resp.Kvs[0].ModRevision > shown {
				shown = resp.Kvs[0].ModRevision
				if err := p.Get(resp); err != nil || once {
					return err
				}
			}
		}
		if err := o.awaitLeader(ctx, s, leader, resp.Header.Revision+1, func(ev *clientv3.Event) error {
			if ev.Kv.ModRevision <= shown {
				return nil
			}
			shown = ev.Kv.ModRevision
			return p.Get(&clientv3.GetResponse{Header: resp.Header, Kvs: []*mvccpb.KeyValue{ev.Kv}, Count: 1})
		}); err != nil {
			return err
		}
	}
}

// firstOf reads who leads.
func firstOf(ctx context.Context, g *globals, s lockStore, name string) (*clientv3.GetResponse, error) {
	ctx, cancel := g.short(ctx)
	defer cancel()
	return s.Get(ctx, lock.Prefix(name), clientv3.WithFirstCreate()...)
}

// awaitLeader hands out the leader's new proposals, and returns when somebody else may lead, or the watch broke.
func (o *lockOptions) awaitLeader(ctx context.Context, s lockStore, leader string, rev int64, show func(*clientv3.Event) error) error {
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	err := s.Watch(wctx, []string{lock.Prefix(o.name)}, rev, func(ev *clientv3.Event) {
		switch {
		case wctx.Err() != nil:
		case leader == "", ev.Type == clientv3.EventTypeDelete && string(ev.Kv.Key) == leader:
			cancel()
		case string(ev.Kv.Key) == leader:
			if failed = show(ev); failed != nil {
				cancel()
			}
		}
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case failed != nil:
		return failed
	case wctx.Err() == nil && err != nil: // compacted or cut off: what is true now is read again
		return sleep(ctx, 200*time.Millisecond)
	}
	return nil
}
