package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/lab"
)

// leaderless: one of three members is cut from its peers, so that it has no leader, and clients still reach it.
func leaderless(ctx context.Context, b *bench) error {
	c, err := b.cluster(ctx, lab.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	victim, err := follower(ctx, c)
	if err != nil {
		return err
	}
	if err := c.Cut(victim, lab.Peers); err != nil {
		return err
	}
	if err := c.NoLeader(ctx, victim); err != nil {
		return err
	}
	header("one member without leader", "failed", "took, s", "99 % within, s", "slowest failure, s")
	for _, verb := range []string{"get", "put"} {
		for _, kind := range []struct {
			name  string
			p     program
			n     int
			fresh bool
		}{{"etcdx", b.etcdx, 16 * b.n, false}, {"etcdx, its first call ever", b.etcdx, b.n, true}, {"etcdctl", b.etcdctl, b.n, false}} {
			var s sample
			for i := range kind.n {
				p := kind.p
				if kind.fresh {
					if p, err = b.forgetful(p); err != nil {
						return err
					}
				}
				o, err := p.call(ctx, slices.Concat([]string{verb, "k" + strconv.Itoa(i)}, value(verb), endpoints(c, victim, i))...)
				if err != nil {
					return err
				}
				s.add(o)
			}
			row(verb+", "+kind.name, fmt.Sprintf("%d of %d", len(s.failed), s.n()), spread(s.ok), quantileOf(s.ok, 0.99), spread(s.failed))
		}
	}
	return nil
}

func value(verb string) []string {
	if verb == "put" {
		return []string{"v"}
	}
	return nil
}

// endpoints names all members, the victim in turn first, second and last.
func endpoints(c *lab.Cluster, victim, turn int) []string {
	var all []string
	for i := range c.Len() {
		all = append(all, c.Endpoint((victim+i+turn)%c.Len()))
	}
	return []string{"--endpoints", strings.Join(all, ",")}
}

// putsPerElection is how many puts of etcdx begin in the second after one fault.
const putsPerElection = 4

// election: puts that begin in the second after the leader was killed or stopped.
func election(ctx context.Context, b *bench) error {
	c, err := b.cluster(ctx, lab.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	type result struct {
		x, ctl sample
		beyond []time.Duration // from the new leader, or the put's begin if later, to the put's end
		took   []time.Duration // elections
	}
	results := map[string]*result{"killed": {}, "stopped": {}}
	for i := range (b.n + putsPerElection - 1) / putsPerElection * 2 {
		fault := []string{"killed", "stopped"}[i%2]
		res := results[fault]
		r := round{b: b, c: c, serial: i}
		if err := r.run(ctx, fault); err != nil {
			return err
		}
		res.took = append(res.took, r.elected.Sub(r.fault))
		for _, p := range r.puts {
			if p.program == b.etcdctl.name {
				res.ctl.add(p.outcome)
				continue
			}
			res.x.add(p.outcome)
			from := r.elected
			if p.began.After(from) {
				from = p.began
			}
			res.beyond = append(res.beyond, p.began.Add(p.took).Sub(from))
		}
		b.logf("leader %s: elected after %.2f s", fault, r.elected.Sub(r.fault).Seconds())
	}
	header("put begun 0-1 s after the leader was", "failed", "took, s", "after the election, s", "elections, s")
	for _, fault := range []string{"killed", "stopped"} {
		r := results[fault]
		row(fault+", etcdx", fmt.Sprintf("%d of %d", len(r.x.failed), r.x.n()), spread(r.x.ok), spread(r.beyond), spread(r.took))
		row(fault+", etcdctl", fmt.Sprintf("%d of %d, after %s s", len(r.ctl.failed), r.ctl.n(), spread(r.ctl.failed)), spread(r.ctl.ok), "", "")
	}
	return nil
}

// round is one end of a leader.
type round struct {
	b              *bench
	c              *lab.Cluster
	serial         int
	fault, elected time.Time
	mu             sync.Mutex
	puts           []timedPut
}

type timedPut struct {
	program string
	began   time.Time
	outcome
}

func (r *round) run(ctx context.Context, fault string) error {
	leader, err := r.c.Leader(ctx)
	if err != nil {
		return err
	}
	// The leader's death comes first, the time of it after: a put never begins too early.
	if err := map[string]func(int) error{"killed": r.c.Kill, "stopped": r.c.Stop}[fault](leader); err != nil {
		return err
	}
	r.fault = time.Now()
	var calls sync.WaitGroup
	errs := make(chan error, 2*putsPerElection+1)
	for k := range putsPerElection + putsPerElection/2 {
		p := r.b.etcdx
		if k >= putsPerElection {
			p = r.b.etcdctl
		}
		wait := time.Duration(rand.Int64N(int64(time.Second)))
		calls.Go(func() { errs <- r.put(ctx, p, wait, fmt.Sprintf("e/%d/%d", r.serial, k)) })
	}
	calls.Go(func() { errs <- r.waitElected(ctx, leader) })
	calls.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	if fault == "killed" {
		err = r.c.Restart(ctx, leader)
	} else {
		err = r.c.Cont(leader)
	}
	if err != nil {
		return err
	}
	return r.c.Ready(ctx)
}

func (r *round) put(ctx context.Context, p program, wait time.Duration, key string) error {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	o, err := p.call(ctx, "put", key, "v", "--endpoints", strings.Join(r.c.Endpoints(), ","))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.puts = append(r.puts, timedPut{program: p.name, began: began, outcome: o})
	return err
}

// waitElected notes when a survivor first tells of another leader.
func (r *round) waitElected(ctx context.Context, old int) error {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	survivor := r.c.Direct()[(old+1)%r.c.Len()]
	cl, err := clientv3.New(clientv3.Config{Endpoints: []string{survivor}, DialTimeout: time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer cl.Close()
	before := uint64(0)
	for ctx.Err() == nil {
		st, err := cl.Status(ctx, survivor)
		if err == nil && before == 0 {
			before = st.RaftTerm
		}
		if err == nil && st.Leader != 0 && st.RaftTerm > before {
			r.elected = time.Now()
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("no election was seen: %w", ctx.Err())
}

// wholeGet: the whole process that reads one key, in pairs that take turns.
func wholeGet(ctx context.Context, b *bench) error {
	c, err := b.cluster(ctx, lab.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	ends := []string{"--endpoints", strings.Join(c.Endpoints(), ",")}
	if _, err := b.etcdx.call(ctx, append([]string{"put", "k", "v"}, ends...)...); err != nil {
		return err
	}
	header("whole process", "pairs", "etcdx, s", "etcdctl, s", "ratio of medians", "median of ratios")
	for _, args := range [][]string{append([]string{"get", "k"}, ends...), append([]string{"put", "k", "v"}, ends...), {"version"}} {
		var x, ctl []time.Duration
		var ratios []float64
		for i := range b.n {
			first, second := b.etcdx, b.etcdctl
			if i%2 == 1 {
				first, second = second, first
			}
			took := map[string]time.Duration{}
			for _, p := range []program{first, second} {
				o, err := p.call(ctx, args...)
				if err != nil || o.code != 0 {
					return errors.Join(fmt.Errorf("%s %v: exit status %d, %s", p.name, args, o.code, o.err), err)
				}
				took[p.name] = o.took
			}
			x, ctl = append(x, took["etcdx"]), append(ctl, took["etcdctl"])
			ratios = append(ratios, took["etcdx"].Seconds()/took["etcdctl"].Seconds())
		}
		slices.Sort(ratios)
		slices.Sort(x)
		slices.Sort(ctl)
		row("`"+args[0]+"`", strconv.Itoa(b.n), spread(x), spread(ctl),
			fmt.Sprintf("%.2f", quantile(x, 0.5).Seconds()/quantile(ctl, 0.5).Seconds()), fmt.Sprintf("%.2f", ratios[len(ratios)/2]))
	}
	return nil
}

// start: what the packages' initialisation costs before main begins, as the runtime's own trace says.
func start(ctx context.Context, b *bench) error {
	header("package initialisation", "n", "total, ms", "dearest package")
	for _, p := range []program{b.etcdx, b.etcdctl} {
		p.env = append(p.env[:len(p.env):len(p.env)], "GODEBUG=inittrace=1")
		var totals []float64
		dearest := ""
		for range b.n {
			o, err := p.call(ctx, "version")
			if err != nil {
				return err
			}
			total, most := 0.0, 0.0
			for _, m := range regexp.MustCompile(`(?m)^init (\S+) @[\d.]+ ms, ([\d.]+) ms clock`).FindAllStringSubmatch(o.err, -1) {
				ms, err := strconv.ParseFloat(m[2], 64)
				if err != nil {
					return err
				}
				total += ms
				if ms > most {
					most, dearest = ms, m[1]
				}
			}
			totals = append(totals, total)
		}
		slices.Sort(totals)
		row(p.name, strconv.Itoa(b.n), fmt.Sprintf("%.2f [%.2f..%.2f]", totals[len(totals)/2], totals[0], totals[len(totals)-1]), dearest)
	}
	return nil
}
