package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

const delHelp = `Removes the specified key or range of keys [key, range_end), and prints how many there were.

Two keys mean a range. Because that is easily typed by mistake, such a delete waits for
2 seconds, in which it can be interrupted, unless --range says that a range is meant.`

// delGrace is how long a range that was not asked for with --range can be saved; etcdctl's value.
const delGrace = 2 * time.Second

func newDel(g *globals) *cobra.Command {
	var o delOptions
	cmd := &cobra.Command{
		Use:   "del [options] <key> [range_end]",
		Short: "Removes the specified key or range of keys [key, range_end)",
		Long:  delHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			var err error
			if o.fence, err = g.parseFence(o.fenceText); err != nil {
				return err
			}
			p, err := g.printer(output.Options{})
			if err != nil {
				return err
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			if len(args) == 2 && !o.isRange {
				fmt.Fprintf(g.streams.Err, "etcdx: warning: keys between %q and %q will be deleted in 2 seconds: interrupt to cancel; --range skips the wait\n", args[0], args[1])
				if err := sleep(cmd.Context(), delGrace); err != nil {
					return fmt.Errorf("del %q: nothing was deleted: %w", args[0], err)
				}
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			return o.run(ctx, c, args, p)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// delOptions are the flags of del.
type delOptions struct {
	prefix, prevKV, fromKey, isRange bool

	fenceText string
	fence     *fence // nil: none
}

func (o *delOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.prefix, "prefix", false, "delete keys with matching prefix")
	fs.BoolVar(&o.prevKV, "prev-kv", false, "return deleted key-value pairs")
	fs.BoolVar(&o.fromKey, "from-key", false, "delete keys that are greater than or equal to the given key using byte compare")
	fs.BoolVar(&o.isRange, "range", false, "delete range of keys")
	addFenceFlag(fs, &o.fenceText)
}

// check refuses what etcdctl refuses, in its words.
func (o *delOptions) check(args []string) error {
	switch {
	case len(args) == 0 || len(args) > 2:
		return badArgs("del command needs one argument as key and an optional argument as range_end")
	case o.prefix && o.fromKey:
		return badArgs("`--prefix` and `--from-key` cannot be set at the same time, choose one")
	case len(args) > 1 && (o.prefix || o.fromKey):
		return badArgs("too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
	}
	return nil
}

// target returns what to delete, and how.
func (o *delOptions) target(args []string) (key string, ops []clientv3.OpOption) {
	key = args[0]
	switch {
	case len(args) > 1:
		ops = append(ops, clientv3.WithRange(args[1]))
	case key == "" && (o.prefix || o.fromKey):
		key, ops = "\x00", append(ops, clientv3.WithFromKey())
	case o.prefix:
		ops = append(ops, clientv3.WithPrefix())
	case o.fromKey:
		ops = append(ops, clientv3.WithFromKey())
	}
	if o.prevKV {
		ops = append(ops, clientv3.WithPrevKV())
	}
	return key, ops
}

func (o *delOptions) run(ctx context.Context, c *conn.Cluster, args []string, p *output.Printer) error {
	key, ops := o.target(args)
	resp, err := o.delete(ctx, c, key, ops)
	if err != nil {
		return fmt.Errorf("del %q: %w", args[0], err)
	}
	if err := p.Delete(resp); err != nil {
		return fmt.Errorf("del %q: deleted, but %w", args[0], err)
	}
	return nil
}

// delete deletes keys, if need be only while a lock is held.
func (o *delOptions) delete(ctx context.Context, c *conn.Cluster, key string, ops []clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	if o.fence == nil {
		return c.Delete(ctx, key, ops...)
	}
	resp, err := o.fence.do(ctx, c, clientv3.OpDelete(key, ops...))
	return resp.Del(), err
}

// sleep waits for d, or until ctx ends, whose cause it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
