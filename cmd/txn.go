package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3/command"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

// addTxn gives etcdctl's txn a --fence, and under etcdx's own name this program's connections, exit codes and formats.
func (g *globals) addTxn(txn *cobra.Command) {
	var text string
	addFenceFlag(txn.Flags(), &text)
	plain := txn.RunE
	txn.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := g.parseFence(text)
		if err != nil {
			return err
		}
		if f == nil && g.asEtcdctl {
			return plain(cmd, args)
		}
		return g.txn(cmd, args, f)
	}
}

// txn runs the transaction that standard input describes, if need be only while a lock is held.
func (g *globals) txn(cmd *cobra.Command, args []string, f *fence) error {
	if len(args) != 0 {
		return badArgs("txn command does not accept argument")
	}
	show, err := g.txnPrinter()
	if err != nil {
		return err
	}
	prompt := func(string) {}
	if interactive, err := cmd.Flags().GetBool("interactive"); err == nil && interactive {
		prompt = func(text string) { fmt.Fprintln(g.streams.Out, text) }
	}
	t, err := readTxn(bufio.NewReader(g.streams.In), prompt)
	if err != nil {
		return fmt.Errorf("txn: nothing was written: %w", err)
	}
	c, err := g.connect()
	if err != nil {
		return err
	}
	ctx, cancel := g.short(cmd.Context())
	defer cancel()
	resp, err := t.run(ctx, c, f)
	if err != nil {
		return fmt.Errorf("txn: %w", err)
	}
	if err := show(resp); err != nil {
		return fmt.Errorf("txn: done, but %w", err)
	}
	return nil
}

// txnPrinter returns what prints an answer. A format that cannot show one is refused here.
func (g *globals) txnPrinter() (func(*clientv3.TxnResponse) error, error) {
	to, format, finish, err := g.convert([]string{"txn"}, g.streams.Out)
	if err != nil {
		return nil, err
	}
	if format == output.JSON {
		return func(r *clientv3.TxnResponse) error {
			if err := json.NewEncoder(to).Encode(command.TxnResponseJSONFromProto((*pb.TxnResponse)(r))); err != nil {
				return err
			}
			return finish()
		}, nil
	}
	p, err := g.anyPrinter(output.Options{})
	if err != nil {
		return nil, err
	}
	return p.Txn, nil
}

// txnRequest is a transaction as it stands in etcdctl's notation.
type txnRequest struct {
	cmps         []clientv3.Cmp
	then, orElse []clientv3.Op
}

// run runs the transaction; with a fence inside another one, so that its second list is not run either when the lock is not held.
func (t txnRequest) run(ctx context.Context, c *conn.Cluster, f *fence) (*clientv3.TxnResponse, error) {
	if f == nil {
		return c.Commit(ctx, t.cmps, t.then, t.orElse)
	}
	resp, err := c.Commit(ctx, []clientv3.Cmp{f.guards()}, []clientv3.Op{clientv3.OpTxn(t.cmps, t.then, t.orElse)}, nil)
	if err != nil {
		return nil, err
	}
	if !resp.Succeeded {
		return nil, &fencedError{f.key, f.token}
	}
	inner := resp.Responses[0].GetResponseTxn()
	return &clientv3.TxnResponse{Header: resp.Header, Succeeded: inner.GetSucceeded(), Responses: inner.GetResponses()}, nil
}

// readTxn reads three lists, each of which ends with an empty line.
func readTxn(in *bufio.Reader, prompt func(string)) (t txnRequest, err error) {
	prompt("compares:")
	if err := eachLine(in, func(line string) error {
		cmp, err := parseCompare(line)
		if err == nil {
			t.cmps = append(t.cmps, *cmp)
		}
		return err
	}); err != nil {
		return t, err
	}
	for _, list := range []struct {
		name string
		ops  *[]clientv3.Op
	}{{"success", &t.then}, {"failure", &t.orElse}} {
		prompt(list.name + " requests (get, put, del):")
		if err := eachLine(in, func(line string) error {
			op, err := parseOp(line)
			if err == nil {
				*list.ops = append(*list.ops, op)
			}
			return err
		}); err != nil {
			return t, err
		}
	}
	return t, nil
}

func eachLine(in *bufio.Reader, do func(string) error) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return badLine{fmt.Errorf("a list of a transaction ends with an empty line: %w", err)}
		}
		line = strings.TrimSpace(line)
		if line == "" {
			return nil
		}
		if err := do(line); err != nil {
			return badLine{err}
		}
	}
}

// parseCompare is etcdctl's, which panics at an operator that does not exist, and at every comparison of a lease: here its ID
// is written as all commands write it.
func parseCompare(line string) (cmp *clientv3.Cmp, err error) {
	malformed := fmt.Errorf("malformed comparison: %s", line)
	defer func() {
		if recover() != nil {
			cmp, err = nil, malformed
		}
	}()
	rest, ok := strings.CutPrefix(line, "lease(")
	if !ok {
		return command.ParseCompare(line)
	}
	var key, op, text string
	if _, err := fmt.Sscanf(rest, "%q) %s %q", &key, &op, &text); err != nil {
		return nil, malformed
	}
	id, err := strconv.ParseInt(text, 16, 64)
	if err != nil {
		return nil, malformed
	}
	lease := clientv3.Compare(clientv3.LeaseValue(key), op, id)
	return &lease, nil
}

// parseOp reads a get, put or del with the flags that these commands have.
func parseOp(line string) (clientv3.Op, error) {
	args := words(line)
	if len(args) < 2 {
		return clientv3.Op{}, fmt.Errorf("invalid txn request: %s", line)
	}
	fs := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var op func([]string) (clientv3.Op, error)
	switch args[0] {
	case "get":
		o := getOptions{format: output.Fields}
		o.addFlags(fs)
		op = o.op
	case "put":
		var o putOptions
		o.addFlags(fs)
		op = func(args []string) (clientv3.Op, error) {
			o.hasValue, o.hasLease = fs.Changed("value"), fs.Changed("lease")
			return o.op(args)
		}
	case "del":
		var o delOptions
		o.addFlags(fs)
		op = o.op
	default:
		return clientv3.Op{}, fmt.Errorf("invalid txn request: %s", line)
	}
	if err := fs.Parse(args[1:]); err != nil {
		return clientv3.Op{}, fmt.Errorf("invalid txn request: %s: %w", line, err)
	}
	return op(fs.Args())
}

// op returns the get as a part of a transaction.
func (o *getOptions) op(args []string) (clientv3.Op, error) {
	o.valueOnly = false // etcdctl does not look at it here
	q, err := o.query(args)
	return clientv3.OpGet(q.key, q.ops...), err
}

// op returns the put as a part of a transaction.
func (o *putOptions) op(args []string) (clientv3.Op, error) {
	if o.ttl != "" || o.fence != "" {
		return clientv3.Op{}, errors.New("a put in a transaction has neither --ttl nor --fence")
	}
	w, err := o.write(args, strings.NewReader(""))
	if w.lease != 0 {
		w.ops = append(w.ops, clientv3.WithLease(clientv3.LeaseID(w.lease)))
	}
	return clientv3.OpPut(w.key, w.value, w.ops...), err
}

// op returns the delete as a part of a transaction.
func (o *delOptions) op(args []string) (clientv3.Op, error) {
	if o.fenceText != "" {
		return clientv3.Op{}, errors.New("a del in a transaction has no --fence")
	}
	if err := o.check(args); err != nil {
		return clientv3.Op{}, err
	}
	key, ops := o.target(args)
	return clientv3.OpDelete(key, ops...), nil
}
