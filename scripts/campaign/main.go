//go:build linux

// Command campaign runs etcdx against a real etcd cluster that is broken on purpose, at random but repeatably, and checks
// what etcdx promises: docs/campaign.md says what is checked and what has been run.
//
//	go run ./scripts/campaign --seed 7 --duration 2m
//
// It ends with 1 if a promise was seen broken, and then shows when, with a chart of clients, members and faults over time.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

func main() {
	if code, was := runIfOther(); was {
		os.Exit(code)
	}
	os.Exit(command(os.Args[1:]))
}

// runIfOther runs this process as what a campaign started it for, if it is not the campaign itself.
func runIfOther() (code int, was bool) {
	for _, run := range []func() (int, bool){lab.RunIfMember, runIfHolder, runIfCoprocess} {
		if code, was = run(); was {
			break
		}
	}
	return code, was
}

// The exit codes.
const (
	exitKept   = 0
	exitBroken = 1
	exitFailed = 2
)

func command(args []string) int {
	cfg, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return exitKept
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
		return exitFailed
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	v, err := once(ctx, cfg)
	if err == nil && v.breaks(cfg.breaks) && cfg.shrink > 0 {
		err = shrink(ctx, cfg, v)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
		return exitFailed
	}
	if v.breaks(cfg.breaks) {
		return exitBroken
	}
	return exitKept
}

// once runs one campaign and prints its report.
func once(ctx context.Context, cfg config) (verdict, error) {
	c, err := open(ctx, cfg)
	var v verdict
	if err == nil {
		fmt.Println(c.title())
		v, err = c.run(ctx)
	}
	if err == nil {
		fmt.Print(c.report(v))
	}
	if c != nil {
		err = errors.Join(err, c.close(len(v.violations) > 0))
	}
	return v, err
}

// shrink runs parts of a plan that broke a promise, and says which is the smallest that broke the same one again: the one that is asked
// for, or else the first.
func shrink(ctx context.Context, cfg config, v verdict) error {
	before := cfg.only
	if before == nil {
		before = make([]int, len(v.plan))
		for i := range before {
			before[i] = i
		}
	}
	promise := cmp.Or(cfg.breaks, v.violations[0].name())
	var failed error
	least := Shrink(len(before), cfg.shrink, func(some []int) bool {
		if failed != nil || ctx.Err() != nil {
			return false
		}
		cfg.only = nil
		for _, i := range some {
			cfg.only = append(cfg.only, before[i])
		}
		fmt.Printf("\n%d of %d faults: ", len(some), len(v.plan))
		var again verdict
		again, failed = once(ctx, cfg)
		return again.breaks(promise)
	})
	fmt.Printf("\nthe smallest part that broke %s again has %d of %d faults:\n", promise, len(least), len(v.plan))
	for i, n := range least {
		least[i] = before[n]
		fmt.Printf("  %8.3fs  %s\n", v.plan[before[n]].At.Seconds(), v.plan[before[n]])
	}
	fmt.Printf("run it again with --seed %d --duration %v --only %s\n", cfg.seed, cfg.duration, formatOnly(least))
	if cfg.save != "" {
		failed = errors.Join(failed, os.WriteFile(cfg.save, []byte(cfg.schedule(promise, part(v.plan, least)).String()), 0o600))
	}
	return errors.Join(failed, ctx.Err())
}

func parse(args []string) (config, error) {
	var cfg config
	fs := flag.NewFlagSet("campaign", flag.ContinueOnError)
	fs.Uint64Var(&cfg.seed, "seed", uint64(time.Now().UnixNano()%1e6), "decides the faults and the calls; the same seed gives the same ones")
	fs.DurationVar(&cfg.duration, "duration", 2*time.Minute, "how long the workloads run")
	fs.StringVar(&cfg.server, "server", "", "etcd `executable` (default: the one that go.mod names, linked in)")
	fs.StringVar(&cfg.tool, "tool", "etcdx", "what is tested: etcdx or etcdctl, built from this module, or the `path` of either")
	workloads := fs.String("workloads", "kv,watch,lock", "which of kv, watch, lock to run")
	faults := fs.String("faults", "all", "classes of faults, separated by commas; a leading - takes one out: all,-compact")
	fs.StringVar(&cfg.security, "security", "plain", "plain, tls, mtls, auth (tokens of 5 s) or jwt (the same)")
	fs.DurationVar(&cfg.ttl, "ttl", 6*time.Second, "the TTL of the locks, in whole seconds")
	fs.BoolVar(&cfg.defaults, "defaults", false, "etcd's own election timings instead of faster ones")
	fs.BoolVar(&cfg.keep, "keep", false, "keep the directory with the logs")
	only := fs.String("only", "", "carry out only these faults of the plan, by number: 3,17")
	fs.IntVar(&cfg.shrink, "shrink", 0, "spend up to this many more runs on finding fewer faults that break the same promise")
	fs.StringVar(&cfg.save, "save", "", "with --shrink: write what is left to this `file`, for --replay")
	fs.StringVar(&cfg.breaks, "breaks", "", "the only `promise` that counts, such as lock/fenced (default: all)")
	schedule := fs.String("replay", "", "carry out the faults of this `file`, with the arguments in it; those beside it count more")
	if err := fs.Parse(args); err != nil {
		return cfg, err
	}
	if *schedule != "" {
		kept, err := readSchedule(*schedule)
		if err != nil {
			return cfg, err
		}
		cfg.plan = kept.plan
		if err := fs.Parse(slices.Concat(kept.args, []string{"--breaks", kept.breaks}, args)); err != nil {
			return cfg, err
		}
	}
	if fs.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	cfg.workloads = strings.Split(*workloads, ",")
	var errs [2]error
	cfg.classes, errs[0] = parseClasses(*faults)
	cfg.only, errs[1] = parseOnly(*only)
	return cfg, errors.Join(errs[:]...)
}

// parseClasses reads a list of classes of faults.
func parseClasses(text string) ([]Class, error) {
	var chosen []Class
	for word := range strings.SplitSeq(text, ",") {
		word, minus := strings.CutPrefix(word, "-")
		class := Class(word)
		switch {
		case word == "all":
			chosen = allClasses()
		case word == "none":
			chosen = nil
		case !slices.Contains(allClasses(), class):
			return nil, fmt.Errorf("there is no class of faults %q: %v", word, allClasses())
		case minus:
			chosen = slices.DeleteFunc(chosen, func(c Class) bool { return c == class })
		default:
			chosen = append(chosen, class)
		}
	}
	return chosen, nil
}
