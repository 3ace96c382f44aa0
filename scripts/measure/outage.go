package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// outage: all members are killed, and come back after a while. How long until running watches and gets go on?
func outage(ctx context.Context, b *bench) error {
	header("whole cluster away for", "running", "n", "failed or ended", "back after, s")
	for _, away := range []time.Duration{10 * time.Second, time.Minute} {
		rows := map[string]*outageRow{}
		rounds := max(1, b.n/20)
		for range rounds {
			if err := b.outageRound(ctx, away, 20, rows); err != nil {
				return err
			}
		}
		for _, name := range []string{"watch, etcdx", "watch, etcdctl", "get, etcdx", "get, etcdctl"} {
			if r := rows[name]; r != nil {
				row(away.String(), name, strconv.Itoa(r.n), strconv.Itoa(r.failed), spread(r.back))
			}
		}
	}
	return nil
}

type outageRow struct {
	n, failed int
	back      []time.Duration
}

// patience is how long the watchers get to notice that the cluster is back.
const patience = 30 * time.Second

func (b *bench) outageRound(ctx context.Context, away time.Duration, n int, rows map[string]*outageRow) error {
	c, err := b.cluster(ctx, lab.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := context.WithCancel(ctx)
	before, after := &writer{}, &writer{}
	wrote := make(chan error, 2)
	writing, pause := context.WithCancel(ctx)
	go func() { wrote <- before.run(writing, c.Direct(), 50*time.Millisecond) }()
	args := []string{"--endpoints", strings.Join(c.Endpoints(), ",")}
	fleet, end, err := b.fleet(ctx, n, func(int) []string { return args })
	defer end()
	defer stop()
	pause()
	if err := errFirst(err, <-wrote); err != nil {
		return err
	}
	if err := killAll(c); err != nil {
		return err
	}
	gets := b.waitingGets(ctx, args)
	select {
	case <-time.After(away):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := restartAll(ctx, c); err != nil {
		return err
	}
	go func() { wrote <- after.run(ctx, c.Direct(), 50*time.Millisecond) }()
	back, err := after.firstAck(ctx)
	if err != nil {
		return err
	}
	b.noteWatches(fleet, back, rows)
	for range cap(gets) {
		g := <-gets
		r := rowOf(rows, "get, "+g.program)
		r.n++
		if g.code != 0 {
			r.failed++
			continue
		}
		r.back = append(r.back, max(0, g.began.Add(g.took).Sub(back)))
	}
	stop()
	return <-wrote
}

func rowOf(rows map[string]*outageRow, name string) *outageRow {
	if rows[name] == nil {
		rows[name] = &outageRow{}
	}
	return rows[name]
}

// noteWatches notes how long after back each watcher saw its first event, and which ended or saw none.
func (b *bench) noteWatches(fleet []*watcher, back time.Time, rows map[string]*outageRow) {
	deadline := back.Add(patience)
	for _, w := range fleet {
		r := rowOf(rows, "watch, "+w.name)
		r.n++
		for {
			seen, ended := w.seen()
			if at := firstAfter(seen, back.Add(-2*time.Second)); !at.IsZero() {
				r.back = append(r.back, max(0, at.Sub(back)))
				break
			}
			if !ended.IsZero() || time.Now().After(deadline) {
				r.failed++
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func firstAfter(seen []arrival, t time.Time) time.Time {
	for _, a := range seen {
		if a.at.After(t) {
			return a.at
		}
	}
	return time.Time{}
}

// waitingGets starts gets that wait for the cluster to come back; each sends how it ended.
func (b *bench) waitingGets(ctx context.Context, args []string) chan timedPut {
	ps := append(slices.Repeat([]program{b.etcdx}, 20), slices.Repeat([]program{b.etcdctl}, 10)...)
	ends := make(chan timedPut, len(ps))
	for _, p := range ps {
		go func() {
			began := time.Now()
			o, _ := p.call(ctx, append([]string{"get", "w/1", "--command-timeout", "120s"}, args...)...)
			ends <- timedPut{program: p.name, began: began, outcome: o}
		}()
	}
	return ends
}

// firstAck waits for the first put that the cluster acknowledged.
func (wr *writer) firstAck(ctx context.Context) (time.Time, error) {
	for ctx.Err() == nil {
		acked := wr.all()
		if len(acked) > 0 {
			return acked[0].at, nil
		}
		time.Sleep(time.Millisecond)
	}
	return time.Time{}, ctx.Err()
}

func killAll(c *lab.Cluster) error {
	for i := range c.Len() {
		if err := c.Kill(i); err != nil {
			return err
		}
	}
	return nil
}

func restartAll(ctx context.Context, c *lab.Cluster) error {
	for i := range c.Len() {
		if err := c.Restart(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func errFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
