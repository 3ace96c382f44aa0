package cmd

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

const getHelp = `Gets the key or a range of keys.

A range is read at one revision and printed as it arrives, in memory that does not
grow with it; when a member dies meanwhile, another one continues. For a range,
--command-timeout bounds the wait for the first keys and for every next ones.

A key that does not exist prints nothing and is no error, unless --exit-not-found.

Formats of -w (or -o) for programs: jsonl (a record per line), yaml, value (only the
bytes of the value). Keys that are not UTF-8 have their bytes in key_b64.`

const getExamples = `  etcdx get config/port
  etcdx get --prefix config/ -o jsonl
  etcdx get --prefix config/ --keys-only -o value --print0 | xargs -0 -n1 echo`

func newGet(g *globals) *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:     "get [options] <key> [range_end]",
		Short:   "Gets the key or a range of keys",
		Long:    getHelp,
		Example: getExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.format = output.Format(g.settings.Output)
			q, err := o.query(args)
			if err != nil {
				return err
			}
			p, err := g.printer(output.Options{ValueOnly: o.valueOnly, KeysOnly: o.keysOnly, ShowLease: o.showLease, Zero: o.zero})
			if err != nil {
				return err
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), g, c, q, p)
		},
	}
	o.addFlags(cmd.Flags())
	for flag, values := range map[string][]string{
		"consistency": {"l", "s"}, "order": {"ASCEND", "DESCEND"}, "sort-by": sortTargets(),
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// getOptions are the flags of get, etcdctl's first.
type getOptions struct {
	consistency, order, sortBy                       string
	limit, rev                                       int64
	minCreateRev, maxCreateRev, minModRev, maxModRev int64
	prefix, fromKey, keysOnly, countOnly             bool
	valueOnly, stream                                bool

	showLease, notFound, zero bool

	format output.Format
}

func (o *getOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.consistency, "consistency", "l", "Linearizable(l) or Serializable(s)")
	fs.StringVar(&o.order, "order", "", "Order of results; ASCEND or DESCEND (ASCEND by default)")
	fs.StringVar(&o.sortBy, "sort-by", "", "Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION")
	fs.Int64Var(&o.limit, "limit", 0, "Maximum number of results")
	fs.BoolVar(&o.prefix, "prefix", false, "Get keys with matching prefix")
	fs.BoolVar(&o.fromKey, "from-key", false, "Get keys that are greater than or equal to the given key using byte compare")
	fs.Int64Var(&o.rev, "rev", 0, "Specify the kv revision")
	fs.BoolVar(&o.keysOnly, "keys-only", false, "Get only the keys")
	fs.BoolVar(&o.countOnly, "count-only", false, "Get only the count (formats fields, jsonl, yaml, value)")
	fs.BoolVar(&o.valueOnly, "print-value-only", false, `Only write values when using the "simple" output format`)
	fs.Int64Var(&o.minCreateRev, "min-create-rev", 0, "Minimum create revision")
	fs.Int64Var(&o.maxCreateRev, "max-create-rev", 0, "Maximum create revision")
	fs.Int64Var(&o.minModRev, "min-mod-rev", 0, "Minimum modification revision")
	fs.Int64Var(&o.maxModRev, "max-mod-rev", 0, "Maximum modification revision")
	fs.BoolVar(&o.stream, "stream", false, "Accepted for etcdctl; large ranges are always streamed where the server can")
	fs.BoolVar(&o.showLease, "show-lease", false, `Print a line with the lease of each key in the "simple" output format`)
	fs.BoolVar(&o.notFound, "exit-not-found", false, "Exit with code 66 when there is no such key")
	fs.BoolVarP(&o.zero, "print0", "0", false, `End keys and values with a NUL byte (formats simple and value)`)
}

func sortTargets() []string { return []string{"CREATE", "KEY", "MODIFY", "VALUE", "VERSION"} }

// getQuery is what a get asks for: either ops for one Get call, or, if streamed, a range to scan.
type getQuery struct {
	name     string // the key as it was given
	key, end string
	ops      []clientv3.OpOption
	streamed bool
}

// query checks the command line, with etcdctl's words, and turns it into a request.
func (o *getOptions) query(args []string) (getQuery, error) {
	if err := o.check(args); err != nil {
		return getQuery{}, err
	}
	q := getQuery{name: args[0], key: args[0]}
	if len(args) > 1 {
		q.end = args[1]
	}
	switch {
	case o.prefix && q.key != "":
		q.end = clientv3.GetPrefixRangeEnd(q.key)
	case o.prefix, o.fromKey:
		if q.key == "" {
			q.key = "\x00"
		}
		q.end = "\x00"
	}
	order, target, err := o.sorting()
	if err != nil {
		return getQuery{}, err
	}
	filtered := o.minCreateRev > 0 || o.maxCreateRev > 0 || o.minModRev > 0 || o.maxModRev > 0
	// A target without an order means ascending to the server, so only keys are in their order without sorting.
	inKeyOrder := target == clientv3.SortByKey && order != clientv3.SortDescend
	q.streamed = q.end != "" && inKeyOrder && !filtered && !o.countOnly
	q.ops = o.ops(q.end, target, order)
	return q, nil
}

func (o *getOptions) check(args []string) error {
	switch {
	case len(args) == 0:
		return badArgs("get command needs one argument as key and an optional argument as range_end")
	case o.prefix && o.fromKey:
		return badArgs("`--prefix` and `--from-key` cannot be set at the same time, choose one")
	case o.keysOnly && o.countOnly:
		return badArgs("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
	case o.consistency != "l" && o.consistency != "s":
		return badFeature(fmt.Sprintf("unknown consistency flag %q", o.consistency))
	case len(args) > 1 && (o.prefix || o.fromKey):
		return badArgs("too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
	case o.maxCreateRev > 0 && o.minCreateRev > o.maxCreateRev:
		return badFeature(fmt.Sprintf("getMinCreateRev(=%v) > getMaxCreateRev(=%v)", o.minCreateRev, o.maxCreateRev))
	case o.maxModRev > 0 && o.minModRev > o.maxModRev:
		return badFeature(fmt.Sprintf("getMinModRev(=%v) > getMaxModRev(=%v)", o.minModRev, o.maxModRev))
	case o.countOnly && slices.Contains([]output.Format{output.Simple, output.JSON, output.Protobuf}, o.format):
		return badArgs("--count-only is only for `--write-out=fields`")
	case o.valueOnly && o.format != output.Simple:
		return badArgs("print-value-only is only for `--write-out=simple`")
	}
	return nil
}

// sorting returns what --order and --sort-by say.
func (o *getOptions) sorting() (clientv3.SortOrder, clientv3.SortTarget, error) {
	orders := map[string]clientv3.SortOrder{"": clientv3.SortNone, "ASCEND": clientv3.SortAscend, "DESCEND": clientv3.SortDescend}
	targets := map[string]clientv3.SortTarget{
		"": clientv3.SortByKey, "KEY": clientv3.SortByKey, "CREATE": clientv3.SortByCreateRevision,
		"MODIFY": clientv3.SortByModRevision, "VALUE": clientv3.SortByValue, "VERSION": clientv3.SortByVersion,
	}
	order, ok := orders[strings.ToUpper(o.order)]
	if !ok {
		return 0, 0, badFeature("bad sort order " + o.order)
	}
	target, ok := targets[strings.ToUpper(o.sortBy)]
	if !ok {
		return 0, 0, badFeature("bad sort target " + o.sortBy)
	}
	if order == clientv3.SortNone && target != clientv3.SortByKey {
		order = clientv3.SortAscend // as the server decides, which a range read in pages never asks
	}
	return order, target, nil
}

// onlyKeys says whether the server may leave the values out. It then leaves out the lease too (3.7).
func (o *getOptions) onlyKeys() bool { return o.keysOnly && !o.showLease }

func (o *getOptions) ops(end string, target clientv3.SortTarget, order clientv3.SortOrder) []clientv3.OpOption {
	ops := []clientv3.OpOption{clientv3.WithLimit(o.limit), clientv3.WithSort(target, order)}
	add := func(when bool, op clientv3.OpOption) {
		if when {
			ops = append(ops, op)
		}
	}
	add(end != "", clientv3.WithRange(end))
	add(o.consistency == "s", clientv3.WithSerializable())
	add(o.rev > 0, clientv3.WithRev(o.rev))
	add(o.onlyKeys(), clientv3.WithKeysOnly())
	add(o.countOnly, clientv3.WithCountOnly())
	add(o.minCreateRev > 0, clientv3.WithMinCreateRev(o.minCreateRev))
	add(o.maxCreateRev > 0, clientv3.WithMaxCreateRev(o.maxCreateRev))
	add(o.minModRev > 0, clientv3.WithMinModRev(o.minModRev))
	add(o.maxModRev > 0, clientv3.WithMaxModRev(o.maxModRev))
	return ops
}

func (o *getOptions) run(ctx context.Context, g *globals, c *conn.Cluster, q getQuery, p *output.Printer) error {
	get := o.once
	if q.streamed {
		get = o.scan
	}
	n, err := get(ctx, g, c, q, p)
	if err != nil {
		return fmt.Errorf("get %q: %w", q.name, err)
	}
	if n == 0 && o.notFound {
		return notFoundError{fmt.Sprintf("get %q: no such key", q.name)}
	}
	return nil
}

// once reads with one call, and returns how many keys it found.
func (o *getOptions) once(ctx context.Context, g *globals, c *conn.Cluster, q getQuery, p *output.Printer) (int64, error) {
	ctx, cancel := g.short(ctx)
	defer cancel()
	resp, err := c.Get(ctx, q.key, q.ops...)
	if err != nil {
		return 0, err
	}
	r := (*pb.RangeResponse)(resp)
	o.trim(r.GetKvs())
	if o.countOnly {
		return r.GetCount(), p.Count(resp)
	}
	return int64(len(r.GetKvs())), p.Get(resp)
}

// scanMemoryBytes is how much memory a scan may use before garbage is collected more often than usual. It is no hard limit.
const scanMemoryBytes = 32 << 20

// scan reads a range of any size.
func (o *getOptions) scan(ctx context.Context, g *globals, c *conn.Cluster, q getQuery, p *output.Printer) (int64, error) {
	so := conn.ScanOptions{
		Rev: max(o.rev, 0), Limit: max(o.limit, 0), KeysOnly: o.onlyKeys(), Serializable: o.consistency == "s", Wait: g.settings.CommandTimeout,
	}
	// Most of what a scan allocates is garbage at once: collecting it early costs nothing measurable (docs/performance.md)
	// and keeps the peak below 50 MiB. Whoever sets GOMEMLIMIT knows better.
	if old := debug.SetMemoryLimit(-1); old == math.MaxInt64 {
		debug.SetMemoryLimit(scanMemoryBytes)
		defer debug.SetMemoryLimit(old)
	}
	rg := p.Range()
	end, err := c.Scan(ctx, q.key, q.end, so, func(h *pb.ResponseHeader, kvs []*mvccpb.KeyValue) error {
		o.trim(kvs)
		return rg.Add(h, kvs)
	})
	if err != nil {
		return 0, err
	}
	return end.Count, rg.End(output.RangeEnd{Count: end.Count, More: end.More})
}

// trim drops the values that came only for the sake of the leases.
func (o *getOptions) trim(kvs []*mvccpb.KeyValue) {
	if o.keysOnly && o.showLease {
		for _, kv := range kvs {
			kv.Value = nil
		}
	}
}
