package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// limits are how long a class may take: one time for all, and others for some.
type limits struct {
	every time.Duration
	of    map[string]time.Duration
}

// Set implements flag.Value.
func (l *limits) Set(text string) error {
	l.of = map[string]time.Duration{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, named := strings.Cut(part, "=")
		if !named {
			value = name
		}
		d, err := time.ParseDuration(value)
		switch {
		case err != nil:
			return err
		case !named:
			l.every = d
		case !slices.ContainsFunc(faults(), func(f fault) bool { return f.name == name }):
			return fmt.Errorf("there is no class %q", name)
		default:
			l.of[name] = d
		}
	}
	return nil
}

// String implements flag.Value.
func (l *limits) String() string { return l.every.String() }

func (l *limits) get(class string) time.Duration {
	if d, ok := l.of[class]; ok {
		return d
	}
	return l.every
}

// chosen returns the classes that are to run.
func (o options) chosen() (all []fault, err error) {
	wanted := strings.Split(o.only, ",")
	for _, f := range faults() {
		named := slices.Contains(wanted, f.name)
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == f.name })
		if o.only != "" && !named || o.tool == "etcdctl" && f.keeper {
			continue
		}
		all = append(all, f)
	}
	if o.only != "" && len(wanted) > 0 {
		return nil, fmt.Errorf("there is no class %q", wanted)
	}
	return all, nil
}

// proof is the results so far.
type proof struct {
	o   options
	mu  sync.Mutex
	sum result
	err error
}

// prove runs the classes, each on a cluster of its own, prints a line for each, and returns how much was not as it must be.
func prove(ctx context.Context, o options) (bad int, err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return 0, err
	}
	classes, err := o.chosen()
	if err != nil {
		return 0, err
	}
	p := &proof{o: o}
	fmt.Printf("%-24s %6s %12s %8s %7s %6s %7s %8s  %s\n", "fault ("+o.tool+")", "faults", "acquisitions", "overlaps", "tokens", "fenced", "counter", "lost(79)", "seconds")
	began := time.Now()
	p.run(ctx, slices.DeleteFunc(slices.Clone(classes), func(f fault) bool { return f.alone }), o.parallel)
	p.run(ctx, slices.DeleteFunc(classes, func(f fault) bool { return !f.alone }), 1)
	p.sum.print("all")
	fmt.Printf("%.0f seconds in all\n", time.Since(began).Seconds())
	if p.err == nil && p.sum.acquisitions == 0 {
		p.err = errors.New("nothing was acquired: nothing was shown")
	}
	return p.sum.bad(), p.err
}

// run runs classes, so many at a time. One that cannot be judged does not keep the others from running.
func (p *proof) run(ctx context.Context, classes []fault, parallel int) {
	next := make(chan fault)
	var wg sync.WaitGroup
	for range max(parallel, 1) {
		wg.Go(func() {
			for f := range next {
				r, err := runClass(ctx, p.o, f)
				p.add(f, r, err)
			}
		})
	}
	for _, f := range classes {
		if ctx.Err() != nil {
			break
		}
		next <- f
	}
	close(next)
	wg.Wait()
}

func (p *proof) add(f fault, r result, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.print(f.name)
	p.sum = p.sum.add(r)
	if err == nil && p.o.write != "" {
		err = writeResult(p.o, f.name, r)
	}
	if err != nil {
		p.err = errors.Join(p.err, fmt.Errorf("%s: %w", f.name, err))
	}
}

// result is what one class has shown.
type result struct {
	faults, acquisitions, overlaps, unordered, fenced, counter, miscounted, lost int

	took time.Duration
}

func (r result) add(o result) result {
	return result{
		r.faults + o.faults, r.acquisitions + o.acquisitions, r.overlaps + o.overlaps, r.unordered + o.unordered, r.fenced + o.fenced,
		r.counter + o.counter, r.miscounted + o.miscounted, r.lost + o.lost, r.took + o.took,
	}
}

// bad returns how much was not as it must be.
func (r result) bad() int { return r.overlaps + r.unordered + r.miscounted }

// tokens says whether the fencing tokens rose from holder to holder.
func (r result) tokens() string {
	if r.unordered > 0 {
		return fmt.Sprintf("%d bad", r.unordered)
	}
	return "rise"
}

// counted says how far the fenced counter got, or how many of its updates were lost.
func (r result) counted() string {
	if r.miscounted > 0 {
		return fmt.Sprintf("%d off", r.miscounted)
	}
	return fmt.Sprint(r.counter)
}

func (r result) print(name string) {
	fmt.Printf("%-24s %6d %12d %8d %7s %6d %7s %8d  %.0f\n",
		name, r.faults, r.acquisitions, r.overlaps, r.tokens(), r.fenced, r.counted(), r.lost, r.took.Seconds())
}
