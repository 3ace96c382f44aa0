package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// crontab is one way in which many hosts start the same line, and what happens to the cluster meanwhile.
type crontab struct {
	kind   string // at-most-every or once
	spread time.Duration
	fault  string // "", leader-killed or leader-stopped
}

func crontabs(period time.Duration) (all []crontab) {
	for _, kind := range []string{"at-most-every", "once"} {
		for _, spread := range []time.Duration{0, period / 5} {
			for _, fault := range []string{"", "leader-killed", "leader-stopped"} {
				all = append(all, crontab{kind, spread, fault})
			}
		}
	}
	return all
}

// hosts runs the same line on n hosts, processes with a state directory each, in every way for so many periods, and wants
// one run in each period. It returns how many periods had another number.
func hosts(ctx context.Context, o options) (bad int, err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "lockproof-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cluster, err := lab.Start(ctx, lab.Config{Heartbeat: 100 * time.Millisecond, Election: time.Second})
	if err != nil {
		return 0, err
	}
	defer func() { _ = cluster.Close() }()
	fmt.Printf("| %d hosts | starts spread over | meanwhile | periods | runs | skipped | failed | last one done after |\n|---|--:|---|--:|--:|--:|--:|--:|\n", o.hosts)
	for i, c := range crontabs(o.period) {
		h := &hostTest{o: o, crontab: c, cluster: cluster, dir: dir, lock: fmt.Sprintf("cron%d", i)}
		for p := range o.periods {
			began := time.Now()
			if err := h.period(ctx, p); err != nil {
				return bad, err
			}
			pause(ctx, time.Until(began.Add(o.period)))
		}
		if ctx.Err() != nil {
			return bad, ctx.Err()
		}
		fmt.Printf("| `--%s` | %v | %s | %d | %d | %d | %d | %.1f s |\n", c.kind, c.spread, c.fault, o.periods, h.runs, h.skipped.Load(), h.failed.Load(), h.slowest.Seconds())
		bad += h.bad
	}
	return bad, nil
}

// hostTest is a crontab at work.
type hostTest struct {
	o options
	crontab
	cluster   *lab.Cluster
	dir, lock string

	runs, bad       int
	skipped, failed atomic.Int64
	slowest         time.Duration
}

// period starts the line on every host, and counts its runs.
func (h *hostTest) period(ctx context.Context, p int) error {
	mark := filepath.Join(h.dir, fmt.Sprintf("%s-%d", h.lock, p))
	began := time.Now()
	var wg sync.WaitGroup
	for i := range h.o.hosts {
		wg.Go(func() {
			if h.spread > 0 {
				pause(ctx, rand.N(h.spread))
			}
			h.host(ctx, i, p, mark)
		})
	}
	if err := h.disturb(ctx); err != nil {
		return err
	}
	wg.Wait()
	h.slowest = max(h.slowest, time.Since(began))
	text, _ := os.ReadFile(mark)
	n := strings.Count(string(text), "run\n")
	h.runs += n
	if n != 1 {
		h.bad++
		fmt.Fprintf(os.Stderr, "lockproof: %s %s %v: %d runs in period %d\n", h.kind, h.fault, h.spread, n, p)
	}
	// Not before every host has had its turn: the next period must find the cluster whole.
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return h.cluster.Ready(rctx)
}

// host is one host's line. A run that is not due ends with 9. The time between two runs is half a period, so that on a machine
// that takes seconds to start 50 hosts a late run does not keep the next one away.
func (h *hostTest) host(ctx context.Context, i, p int, mark string) {
	limit := []string{"--at-most-every", fmt.Sprint((h.o.period / 2).Round(time.Second))}
	if h.kind == "once" {
		limit = []string{"--once", fmt.Sprint(p)}
	}
	args := append(append([]string{"lock", h.lock, "--skip-code=9"}, limit...), "--", "sh", "-c", "echo run >>"+mark+"; sleep 0.01")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.o.bin, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	state := filepath.Join(h.dir, fmt.Sprint("host", i))
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+state, "ETCDCTL_ENDPOINTS="+strings.Join(h.cluster.Endpoints(), ","))
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
	case cmd.ProcessState.ExitCode() == 9:
		h.skipped.Add(1)
	default:
		h.failed.Add(1)
		why, _, _ := strings.Cut(string(out), "\n")
		fmt.Fprintf(os.Stderr, "lockproof: host %d: %v: %s\n", i, err, why)
	}
}

// disturb takes the leader away in the middle of it all, for half as long as a lease lives.
func (h *hostTest) disturb(ctx context.Context) error {
	if h.fault == "" {
		return nil
	}
	pause(ctx, h.spread/2+time.Duration(100+rand.IntN(700))*time.Millisecond)
	i, err := h.cluster.Leader(ctx)
	if err != nil {
		return err
	}
	if h.fault == "leader-stopped" {
		err = h.cluster.Stop(i)
		pause(ctx, 7*time.Second)
		if err == nil {
			err = h.cluster.Cont(i)
		}
		return err
	}
	if err := h.cluster.Kill(i); err != nil {
		return err
	}
	pause(ctx, 7*time.Second)
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return h.cluster.Restart(rctx, i)
}
