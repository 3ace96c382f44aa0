// Command lockproof shows whether two holders of a lock ever work at the same time, while the cluster and the lock commands
// themselves are broken on purpose. It needs no clock for that: every holder's command takes a flock on one local file,
// with a descendant that has left its session holding it, too; whoever cannot get it has met another one.
//
//	go run ./scripts/lockproof -bin ./etcdx -each 250
//	go run ./scripts/lockproof -bin etcdctl -tool etcdctl -each 50     # the same on etcdctl: it has to report overlaps
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// options are the command line.
type options struct {
	bin, tool string
	each      int
	longest   time.Duration
	ttl       int
	only      string
	workers   int
	measure   int
	beside    string
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
	flag.DurationVar(&o.longest, "longest", time.Minute, "time limit for each class")
	flag.IntVar(&o.ttl, "ttl", 3, "time to live of the leases, in seconds")
	flag.StringVar(&o.only, "only", "", "run only these classes, separated by commas")
	flag.IntVar(&o.workers, "workers", 4, "contenders")
	flag.IntVar(&o.measure, "measure", 0, "measure so many hand-overs instead")
	flag.StringVar(&o.beside, "beside", "etcdctl", "the etcdctl to measure beside")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if o.measure > 0 {
		if err := measure(ctx, map[string]string{"etcdx": o.bin, "etcdctl": o.beside}, o.measure); err != nil {
			fmt.Fprintln(os.Stderr, "lockproof:", err)
			os.Exit(1)
		}
		return
	}
	overlaps, err := prove(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lockproof:", err)
		os.Exit(1)
	}
	if overlaps > 0 {
		os.Exit(3)
	}
}

// prove runs every class on a cluster of its own, prints a line for each, and returns the number of overlaps.
func prove(ctx context.Context, o options) (overlaps int, err error) {
	bin, err := filepath.Abs(o.bin)
	if err == nil {
		o.bin = bin
	}
	fmt.Printf("%-24s %12s %9s %7s %7s %9s %8s  %s\n", "fault ("+o.tool+")", "acquisitions", "overlaps", "tokens", "fenced", "counter", "lost(79)", "seconds")
	total := result{}
	for _, f := range faults() {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+f.name+",") || o.tool == "etcdctl" && f.keeper {
			continue
		}
		r, err := runClass(ctx, o, f)
		if err != nil {
			return total.overlaps, fmt.Errorf("%s: %w", f.name, err)
		}
		r.print(f.name)
		total = total.add(r)
		if ctx.Err() != nil {
			break
		}
	}
	total.print("all")
	if total.acquisitions == 0 {
		return 0, errors.New("nothing was acquired: nothing was shown")
	}
	return total.overlaps + total.unordered + total.miscounted, nil
}

// result is what one class has shown.
type result struct {
	acquisitions, overlaps, unordered, fenced, miscounted, lost int
	counter                                                     int
	took                                                        time.Duration
}

func (r result) add(o result) result {
	return result{
		r.acquisitions + o.acquisitions, r.overlaps + o.overlaps, r.unordered + o.unordered, r.fenced + o.fenced,
		r.miscounted + o.miscounted, r.lost + o.lost, r.counter + o.counter, r.took + o.took,
	}
}

func (r result) print(name string) {
	tokens, counter := "rise", fmt.Sprint(r.counter)
	if r.unordered > 0 {
		tokens = fmt.Sprintf("%d bad", r.unordered)
	}
	if r.miscounted > 0 {
		counter = fmt.Sprintf("%d off", r.miscounted)
	}
	fmt.Printf("%-24s %12d %9d %7s %7d %9s %8d  %.0f\n", name, r.acquisitions, r.overlaps, tokens, r.fenced, counter, r.lost, r.took.Seconds())
}
