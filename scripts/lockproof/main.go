// Command lockproof shows whether two holders of a lock ever work at the same time, while the cluster and the lock commands
// themselves are broken on purpose. It needs no clock for that: every holder's command takes a flock on one local file,
// with a descendant that has left its session holding it, too; whoever cannot get it has met another one.
//
//	go run ./scripts/lockproof -bin ./etcdx -each 250
//	go run ./scripts/lockproof -bin etcdctl -tool etcdctl -each 50     # the same on etcdctl: it has to report overlaps
//	go run ./scripts/lockproof -bin ./etcdx -parallel 4 -longest 10m,all-stopped=30m -write docs/guarantees.md
//
// -hosts, -waiters and -measure show other things: see their help.
//
// With -write, a table in a Markdown file takes up the results, class by class: those of classes that did not run stay.
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

// options are the command line.
type options struct {
	bin, tool string
	each      int
	long      int
	longest   limits
	ttl       int
	only      string
	workers   int
	parallel  int
	write     string
	measure   int
	beside    string
	waiters   int
	hosts     int
	periods   int
	period    time.Duration
}

func main() {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == "job" {
		os.Exit(job(os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.bin, "bin", "etcdx", "program to test")
	flag.StringVar(&o.tool, "tool", "etcdx", "what it is: etcdx or etcdctl")
	flag.IntVar(&o.each, "each", 250, "acquisitions for each class of faults")
	flag.IntVar(&o.long, "long", 0, "let one command in so many work for some seconds; 0: one in 25, or as the class says")
	o.longest = limits{every: time.Minute}
	flag.Var(&o.longest, "longest", "time limit for each class; CLASS=TIME, after a comma, is for that class alone")
	flag.IntVar(&o.ttl, "ttl", 3, "time to live of the leases, in seconds")
	flag.StringVar(&o.only, "only", "", "run only these classes, separated by commas")
	flag.IntVar(&o.workers, "workers", 4, "contenders")
	flag.IntVar(&o.parallel, "parallel", 1, "classes that run at the same time, each on a cluster of its own")
	flag.StringVar(&o.write, "write", "", "Markdown file whose table of results is brought up to date")
	flag.IntVar(&o.measure, "measure", 0, "measure so many hand-overs instead")
	flag.StringVar(&o.beside, "beside", "etcdctl", "the etcdctl to measure beside")
	flag.IntVar(&o.waiters, "waiters", 0, "measure hand-overs with 10, 100, ... up to so many waiters instead")
	flag.IntVar(&o.hosts, "hosts", 0, "start the same line on so many hosts instead, with --at-most-every and --once")
	flag.IntVar(&o.periods, "periods", 2, "with -hosts: how often, in each of 12 ways")
	flag.DurationVar(&o.period, "period", 30*time.Second, "with -hosts: the time from one start to the next")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var bad int
	var err error
	switch {
	case o.measure > 0:
		err = measure(ctx, o)
	case o.waiters > 0:
		err = waiters(ctx, o.waiters)
	case o.hosts > 0:
		bad, err = hosts(ctx, o)
	default:
		bad, err = prove(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lockproof:", err)
		os.Exit(1)
	}
	if bad > 0 {
		os.Exit(3)
	}
}
