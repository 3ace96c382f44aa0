package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/status"

	"github.com/etcdx/etcdx/pkg/output"
	"github.com/etcdx/etcdx/pkg/watch"
)

const watchHelp = `Watches events stream on keys or prefixes.

Without --checkpoint this is etcdctl's watch, except that it moves to another member
when its own falls silent or loses its leader. It ends when it is compacted away.

With --checkpoint it remembers up to which revision every event was handled, and
continues there when it is started again, or with "etcdx resume NAME". The first time,
the present state is sent before the changes (--start sync). What was handled is not
sent again; what was not, is. After a compaction it sends what changed and what
vanished meanwhile.

A NAME becomes a file in the state directory; a name with a slash is a file's path.

Handlers (with --checkpoint):
  none           events go to standard output; written means handled
  -- cmd         cmd runs once per event: etcdctl's environment, the event as JSON on stdin
  --batch        cmd runs once per batch of revisions: JSON lines on stdin
  --coprocess    cmd runs once: JSON lines on stdin, acknowledgements on its file descriptor 3`

const watchExamples = `  etcdx watch --prefix orders/
  etcdx watch --prefix orders/ --checkpoint orders -o jsonl
  etcdx watch --prefix orders/ --checkpoint orders -- ./handle-order
  etcdx resume orders`

func newWatch(g *globals) *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:     "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
		Short:   "Watches events stream on keys or prefixes",
		Long:    watchHelp,
		Example: watchExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseWatch(args, cmd.ArgsLenAtDash(), g.env)
			if o.interactive {
				return o.interact(cmd.Context(), g)
			}
			if err != nil {
				return err
			}
			if o.keep.name != "" {
				return o.runKept(cmd, g, t)
			}
			if flag := o.keep.needsCheckpoint(cmd.Flags()); flag != "" {
				return usageError{text: "--" + flag + " needs --checkpoint", hint: "only a watch that remembers its position can do that"}
			}
			return o.run(cmd.Context(), g, t)
		},
	}
	o.addFlags(cmd.Flags())
	o.keep.addFlags(cmd.Flags())
	return cmd
}

// watchOptions are the flags of watch that etcdctl has, and those of a watch with a checkpoint.
type watchOptions struct {
	interactive, prefix, prevKV, progressNotify bool
	rev                                         int64

	keep keepOptions
}

func (o *watchOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVarP(&o.interactive, "interactive", "i", false, "Interactive mode")
	fs.BoolVar(&o.prefix, "prefix", false, "Watch on a prefix if prefix is set")
	fs.Int64Var(&o.rev, "rev", 0, "Revision to start watching")
	fs.BoolVar(&o.prevKV, "prev-kv", false, "get the previous key-value pair before the event happens")
	fs.BoolVar(&o.progressNotify, "progress-notify", false, "get periodic watch progress notification from server")
}

// watchTarget is what a watch's arguments name: keys, and a command.
type watchTarget struct {
	keys []string // a key and perhaps a range end; further ones are ignored, as etcdctl does
	exec []string
}

// parseWatch sorts the arguments; dash is how many stand before "--", negative without one. The key may come from the
// environment instead.
func parseWatch(args []string, dash int, env func(string) (string, bool)) (watchTarget, error) {
	key, _ := env("ETCDCTL_WATCH_KEY")
	end, _ := env("ETCDCTL_WATCH_RANGE_END")
	if key == "" && end != "" {
		return watchTarget{}, badArgs(fmt.Sprintf("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=%q", end))
	}
	t := watchTarget{keys: args}
	if dash >= 0 {
		t = watchTarget{keys: args[:dash], exec: args[dash:]}
		if len(t.exec) == 0 {
			return t, badArgs("bad number of arguments (found separator --, but no commands)")
		}
	}
	if key != "" {
		if len(t.keys) > 0 {
			return t, badArgs("bad number of arguments (found conflicting environment key)")
		}
		t.keys = []string{key}
		if end != "" {
			t.keys = append(t.keys, end)
		}
	}
	if len(t.keys) < 1 {
		return t, badArgs("bad number of arguments")
	}
	return t, nil
}

// rangeOf returns the range that the target and --prefix name.
func (o *watchOptions) rangeOf(t watchTarget) (watch.Range, error) {
	end := ""
	if len(t.keys) == 2 {
		if o.prefix {
			return watch.Range{}, badArgs("`range_end` and `--prefix` are mutually exclusive")
		}
		end = t.keys[1]
	}
	return watchRange(t.keys[0], end, o.prefix), nil
}

func (o *watchOptions) run(ctx context.Context, g *globals, t watchTarget) error {
	r, err := o.rangeOf(t)
	if err != nil {
		return err
	}
	if len(t.exec) > 0 && g.filter != nil {
		return badArgs("--jq changes what is printed: the command of a watch gets every event as it is")
	}
	p, err := g.printer(output.Options{})
	if err != nil {
		return err
	}
	w, err := o.plainWatcher(g, r)
	if err != nil {
		return err
	}
	plain := plainWatch{g: g, p: p, exec: t.exec, progress: o.progressNotify}
	return plain.run(ctx, w, o.rev)
}

// How often a silent stream is asked for its progress, and how long one that used to answer may stay silent.
const (
	progressEvery = 5 * time.Second
	stallAfter    = 30 * time.Second
)

// plainWatcher is a watch as etcdctl's: the server's messages as they come.
func (o *watchOptions) plainWatcher(g *globals, r watch.Range) (*watch.Watcher, error) {
	c, err := g.connect()
	if err != nil {
		return nil, err
	}
	w := &watch.Watcher{
		Config: watch.Config{Range: r, PrevKV: o.prevKV, ProgressNotify: o.progressNotify}, Source: watchSource{c, g.notice}, KV: c,
	}
	// Progress keeps a quiet watch's position ahead of compactions. Where marks are printed, only those asked for come.
	if !o.progressNotify && !o.interactive {
		w.ProgressEvery, w.StallAfter = progressEvery, stallAfter
	}
	return w, nil
}

// plainWatch prints a watch as etcdctl does, and runs its command.
type plainWatch struct {
	g        *globals
	p        *output.Printer
	exec     []string
	progress bool
}

// run watches from revision rev on, 0 being now, until the watch ends or ctx does.
func (w plainWatch) run(ctx context.Context, watcher *watch.Watcher, rev int64) error {
	cur := watch.Since(max(rev, 0)) // a negative one makes old servers skip events of other watches (etcd #20693)
	err := watcher.Follow(ctx, cur, w.show)
	if ctx.Err() != nil {
		return context.Canceled // asked to stop: the signal decides the exit code, as it does for etcdctl
	}
	var end *pb.WatchResponse
	if e, ok := errors.AsType[*watch.CompactedError](err); ok {
		end = e.Response
	} else if e, ok := errors.AsType[*watch.CanceledError](err); ok {
		end = e.Response
	}
	if end == nil {
		return err
	}
	resp := clientv3.WatchResponse{
		Header: end.GetHeader(), CompactRevision: end.GetCompactRevision(), Canceled: end.GetCanceled(), CancelReason: end.GetCancelReason(),
	}
	why := resp.Err()
	if st, ok := status.FromError(why); ok {
		why = errors.New(st.Message()) // a reason that the client has no name for
	}
	fmt.Fprintf(w.g.streams.Err, "watch was canceled (%v)\n", why)
	if printErr := w.p.Watch(&resp); printErr != nil {
		return printErr
	}
	return &watchEndedError{err}
}

// watchEndedError is the end of a plain watch, in etcdctl's words.
type watchEndedError struct{ err error }

func (e *watchEndedError) Error() string { return "watch is canceled by the server" }
func (e *watchEndedError) Unwrap() error { return e.err }

func (w plainWatch) show(ctx context.Context, it watch.Item) error {
	if it.Kind == watch.Progress {
		if !w.progress {
			return nil // the answer to a request of etcdx's own
		}
		if _, err := fmt.Fprintf(w.g.streams.Out, "progress notify: %d\n", it.Rev); err != nil {
			return &output.WriteError{Err: err}
		}
	}
	if err := w.p.Watch(&clientv3.WatchResponse{Header: it.Header, Events: it.Events}); err != nil {
		return err
	}
	for _, e := range it.Events {
		if len(w.exec) == 0 {
			break
		}
		if err := w.command(ctx, it, e); err != nil {
			return err
		}
	}
	return nil
}

// command runs the command for one event with etcdctl's environment, to the letter.
func (w plainWatch) command(ctx context.Context, it watch.Item, e *clientv3.Event) error {
	env := append(os.Environ(), etcdctlEnv(it.Header.GetRevision(), e)...)
	err := runChild(ctx, childSpec{args: w.exec, env: env, out: w.g.streams.Out, err: w.g.streams.Err, grace: time.Second})
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(w.g.streams.Err, "command %q error (%v)\n", w.exec, err)
		return codeError{code: exitFailed}
	}
	return nil
}

// etcdctlEnv is what etcdctl tells the command of a watch. A value that the kernel does not take as one string is left out.
func etcdctlEnv(rev int64, e *clientv3.Event) []string {
	env := []string{
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", rev),
		fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", e.GetType()),
		fmt.Sprintf("ETCD_WATCH_KEY=%q", e.GetKv().GetKey()),
	}
	const maxString = 128<<10 - 64 // Linux, MAX_ARG_STRLEN
	if value := fmt.Sprintf("ETCD_WATCH_VALUE=%q", e.GetKv().GetValue()); len(value) < maxString {
		return append(env, value)
	}
	return append(env, "ETCDX_VALUE_OMITTED=1")
}
