// Command measure puts etcdx beside etcdctl on real clusters with etcd's default election timings, in the same run and
// on the same faults, and prints its results as Markdown tables. It builds both programs itself, in the checkout it is
// run from:
//
//	go run ./scripts/measure leaderless election outage setups gap get start
//
// Every figure is median [min..max]. Read ratios, not milliseconds: both columns had the same machine at the same time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// bench is what the measurements share: the two programs, how often to measure, and where the programs keep their state.
type bench struct {
	etcdx, etcdctl program
	n              int // measurements of etcdx; each measurement says what share of it etcdctl gets
	dir            string
}

// measurement is one table. It prints it to standard output, and what goes on to standard error.
type measurement func(context.Context, *bench) error

func measurements() map[string]measurement {
	return map[string]measurement{
		"leaderless": leaderless, "election": election, "outage": outage, "setups": setups,
		"gap": gap, "get": wholeGet, "start": start,
	}
}

func main() {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	var b bench
	flag.IntVar(&b.n, "n", 60, "measurements of etcdx per row; leaderless does 16 times as many")
	flag.StringVar(&b.etcdx.path, "etcdx", "", "measure this `program` instead of building one")
	flag.StringVar(&b.etcdctl.path, "etcdctl", "", "compare with this `program` instead of building the one of go.mod")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &b, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, names []string) error {
	for _, name := range names {
		if measurements()[name] == nil {
			return fmt.Errorf("there is no measurement %q", name)
		}
	}
	dir, err := os.MkdirTemp("", "etcdx-measure-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	if err := b.build(ctx); err != nil {
		return err
	}
	for _, name := range names {
		began := time.Now()
		fmt.Printf("\n<!-- measure -n %d %s, %s -->\n", b.n, name, began.UTC().Format(time.DateOnly))
		if err := measurements()[name](ctx, b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.logf("%s took %.0f s", name, time.Since(began).Seconds())
	}
	return nil
}

func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// cluster starts three members with etcd's own election timings, which the lab's other users shorten.
func (b *bench) cluster(ctx context.Context, cfg lab.Config) (*lab.Cluster, error) {
	cfg.Heartbeat, cfg.Election = 100*time.Millisecond, time.Second
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	return lab.Start(ctx, cfg)
}

// follower returns a member that does not lead.
func follower(ctx context.Context, c *lab.Cluster) (int, error) {
	leader, err := c.Leader(ctx)
	return (leader + 1) % c.Len(), err
}
