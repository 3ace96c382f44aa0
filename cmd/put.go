package cmd

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

const putHelp = `Puts the given key into the store.

If <value> isn't given as an argument or with --value, and '--ignore-value' is not
specified, this command reads the value from standard input:

$ cat file | etcdx put <key>

A <value> that begins with '-' would be taken for a flag. Any of these passes it:

$ etcdx put <key> -- <value>
$ etcdx put -- <key> <value>
$ etcdx put <key> --value=<value>

With --ttl the key is put under a new lease, and is gone when nobody renews that lease for
so long.`

func newPut(g *globals) *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put [options] <key> <value> (<value> can also be given from stdin)",
		Short: "Puts the given key into the store",
		Long:  putHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.hasValue, o.hasLease = cmd.Flags().Changed("value"), cmd.Flags().Changed("lease")
			w, err := o.write(args, g.streams.In)
			if err != nil {
				return err
			}
			if w.fence, err = g.parseFence(o.fence); err != nil {
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
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			return w.run(ctx, c, p)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// putOptions are the flags of put, etcdctl's first.
type putOptions struct {
	lease                            string
	prevKV, ignoreValue, ignoreLease bool

	value, ttl, fence  string
	hasValue, hasLease bool
}

func (o *putOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.lease, "lease", "0", "lease ID (in hexadecimal) to attach to the key")
	fs.BoolVar(&o.prevKV, "prev-kv", false, "return the previous key-value pair before modification")
	fs.BoolVar(&o.ignoreValue, "ignore-value", false, "updates the key using its current value")
	fs.BoolVar(&o.ignoreLease, "ignore-lease", false, "updates the key using its current lease")
	fs.StringVar(&o.value, "value", "", "the value, for one that begins with '-'")
	fs.StringVar(&o.ttl, "ttl", "", "put the key under a new lease that ends after this time, such as 30s; a number is seconds")
	addFenceFlag(fs, &o.fence)
}

// putWrite is what a put is to do.
type putWrite struct {
	key, value string
	ttl        time.Duration // 0: no new lease
	lease      int64         // given with --lease
	ops        []clientv3.OpOption
	fence      *fence // nil: none
}

// write checks the command line, with etcdctl's words, and reads the value.
func (o *putOptions) write(args []string, stdin io.Reader) (putWrite, error) {
	const want = "put command needs 1 argument and input from stdin or 2 arguments"
	switch {
	case len(args) == 0:
		return putWrite{}, badArgs(want)
	case o.ignoreValue && (len(args) > 1 || o.hasValue):
		return putWrite{}, badArgs("put command needs only 1 argument when 'ignore-value' is set")
	case o.hasValue && len(args) > 1:
		return putWrite{}, badArgs("put command needs only 1 argument when 'value' is set")
	case o.ttl != "" && (o.hasLease || o.ignoreLease):
		return putWrite{}, badArgs("--ttl grants a lease of its own: leave out --lease and --ignore-lease")
	}
	w := putWrite{key: args[0], value: o.value}
	var err error
	if w.lease, err = strconv.ParseInt(o.lease, 16, 64); err != nil {
		return putWrite{}, badArgs(fmt.Sprintf("bad lease ID (%v), expecting ID in Hex", err))
	}
	if w.ttl, err = parseTTL(o.ttl); err != nil {
		return putWrite{}, err
	}
	if !o.ignoreValue && !o.hasValue {
		if w.value, err = argOrStdin(args, stdin, 1); err != nil {
			return putWrite{}, usageError{text: want, hint: err.Error()}
		}
	}
	for _, op := range []struct {
		when bool
		op   clientv3.OpOption
	}{{o.prevKV, clientv3.WithPrevKV()}, {o.ignoreValue, clientv3.WithIgnoreValue()}, {o.ignoreLease, clientv3.WithIgnoreLease()}} {
		if op.when {
			w.ops = append(w.ops, op.op)
		}
	}
	return w, nil
}

// parseTTL reads a --ttl; an empty one is 0. Leases last whole seconds, at least one, so the rest is rounded up.
func parseTTL(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.ParseInt(text, 10, 32); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 || d > maxSeconds*time.Second {
		return 0, badArgs(fmt.Sprintf("bad --ttl %q: expecting a time above zero, such as 30s", text))
	}
	return (d + time.Second - 1).Truncate(time.Second), nil
}

func (w putWrite) run(ctx context.Context, c *conn.Cluster, p *output.Printer) error {
	lease := w.lease
	if w.ttl > 0 {
		lease = c.NewLease()
		if err := c.Grant(ctx, lease, w.ttl); err != nil {
			return fmt.Errorf("put %q: grant a lease: %w", w.key, err)
		}
	}
	ops := w.ops
	if lease != 0 {
		ops = append(ops, clientv3.WithLease(clientv3.LeaseID(lease)))
	}
	resp, err := w.put(ctx, c, ops)
	if err != nil {
		err = fmt.Errorf("put %q: %w", w.key, err)
		if w.ttl > 0 && !conn.MaybeApplied(err) {
			err = w.undo(ctx, c, lease, err)
		}
		return err
	}
	if err := p.Put(output.PutAnswer{Key: w.key, Lease: lease, Response: resp}); err != nil {
		return fmt.Errorf("put %q: stored, but %w", w.key, err)
	}
	return nil
}

// put writes the key, if need be only while a lock is held.
func (w putWrite) put(ctx context.Context, c *conn.Cluster, ops []clientv3.OpOption) (*clientv3.PutResponse, error) {
	if w.fence == nil {
		return c.Put(ctx, w.key, w.value, ops...)
	}
	resp, err := w.fence.do(ctx, c, clientv3.OpPut(w.key, w.value, ops...))
	return resp.Put(), err
}

// undo revokes the lease of a put that was certainly not applied, and returns why that was. If revoking fails too, the
// lease ends by itself.
func (w putWrite) undo(ctx context.Context, c *conn.Cluster, lease int64, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := c.Revoke(ctx, lease); err != nil {
		return fmt.Errorf("%w (its lease %x stays until it ends after %v)", why, lease, w.ttl)
	}
	return why
}
