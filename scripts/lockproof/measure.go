package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// measure compares two programs in one run: how long after the end of a holder the next one starts, when it ends in order
// and when it is killed. The command's own start is included.
func measure(ctx context.Context, bins map[string]string, rounds int) error {
	cluster, err := lab.Start(ctx, lab.Config{Heartbeat: 100 * time.Millisecond, Election: time.Second})
	if err != nil {
		return err
	}
	defer func() { _ = cluster.Close() }()
	env := append(os.Environ(), "ETCDCTL_ENDPOINTS="+strings.Join(cluster.Endpoints(), ","))
	fmt.Printf("%-9s %-28s %9s %9s %9s\n", "program", "next holder after", "median s", "least s", "most s")
	for _, kill := range []bool{false, true} {
		for tool, bin := range bins {
			var all []float64
			n := rounds
			if kill && tool == "etcdctl" {
				n = min(n, 5) // each takes about the TTL
			}
			for range n {
				d, err := handOver(ctx, bin, env, kill)
				if err != nil {
					return fmt.Errorf("%s: %w", tool, err)
				}
				all = append(all, d.Seconds())
			}
			slices.Sort(all)
			what := "the holder's command ended"
			if kill {
				what = "SIGKILL to the holder"
			}
			fmt.Printf("%-9s %-28s %9.3f %9.3f %9.3f\n", tool, fmt.Sprintf("%s (%d)", what, n), all[len(all)/2], all[0], all[len(all)-1])
		}
	}
	return nil
}

// handOver returns the time from the end of one holder to the start of the next.
func handOver(ctx context.Context, bin string, env []string, kill bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	holder := exec.CommandContext(ctx, bin, "lock", "--ttl=10", "m", "--", "sh", "-c", "echo in; while ! test -e \"$0\"; do sleep 0.001; done; date +%s.%N", stopFile())
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	holder.Env = env
	defer func() { _ = os.Remove(stopFile()) }()
	var out lines
	holder.Stdout = &out
	if err := holder.Start(); err != nil {
		return 0, err
	}
	if err := out.wait(ctx, 1); err != nil {
		return 0, err
	}
	next := exec.CommandContext(ctx, bin, "lock", "--ttl=10", "m", "--", "date", "+%s.%N")
	next.Env = env
	var nextOut bytes.Buffer
	next.Stdout = &nextOut
	if err := next.Start(); err != nil {
		return 0, err
	}
	pause(ctx, 700*time.Millisecond) // it is in the queue by now
	end := float64(time.Now().UnixNano()) / 1e9
	if kill {
		_ = holder.Process.Kill()
	} else if err := os.WriteFile(stopFile(), nil, 0o600); err != nil {
		return 0, err
	}
	if err := next.Wait(); err != nil {
		return 0, err
	}
	_ = syscall.Kill(-holder.Process.Pid, syscall.SIGKILL) // etcdctl's command goes on
	_ = holder.Wait()
	if !kill {
		end, _ = strconv.ParseFloat(out.get(1), 64)
	}
	start, err := strconv.ParseFloat(strings.TrimSpace(nextOut.String()), 64)
	return time.Duration((start - end) * 1e9), err
}

func stopFile() string { return fmt.Sprintf("%s/lockproof-%d", os.TempDir(), os.Getpid()) }
