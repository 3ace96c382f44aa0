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

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/lab"
)

// slowRounds is how often a killed etcdctl is waited for: each time for about the TTL.
const slowRounds = 5

// measure compares two programs in one run, taking turns: how long after the end of a holder the next one starts, when it ends
// in order and when it is killed. The command's own start is included.
func measure(ctx context.Context, o options) error {
	cluster, err := lab.Start(ctx, lab.Config{Heartbeat: 100 * time.Millisecond, Election: time.Second})
	if err != nil {
		return err
	}
	defer func() { _ = cluster.Close() }()
	client, err := clientv3.New(clientv3.Config{Endpoints: cluster.Direct(), Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	m := &meter{client: client, env: append(os.Environ(), "ETCDCTL_ENDPOINTS="+strings.Join(cluster.Endpoints(), ","))}
	bins := map[string]string{"etcdx": o.bin, "etcdctl": o.beside}
	before, late := loadAverage(), lateness(ctx)
	all := map[string][]handOverTime{}
	for i := range o.measure {
		tools := []string{"etcdx", "etcdctl"}
		if i%2 == 1 {
			slices.Reverse(tools)
		}
		for _, kill := range []bool{false, true} {
			for _, tool := range tools {
				if kill && tool == "etcdctl" && i >= slowRounds {
					continue
				}
				t, err := m.handOver(ctx, bins[tool], kill)
				if err != nil {
					return fmt.Errorf("%s: %w", tool, err)
				}
				all[caseOf(tool, kill)] = append(all[caseOf(tool, kill)], t)
			}
		}
	}
	report(all)
	fmt.Printf("Load average %s before, %s after; whoever slept for 1 ms at a time woke up %.3f s late at most.\n", before, loadAverage(), late().Seconds())
	return nil
}

// report prints a table, and the ratio of the hand-overs that took place beside each other.
func report(all map[string][]handOverTime) {
	fmt.Print("| program | next holder after | n | median s | 90 % within, s | most s | of that until the key was gone: median s | most s |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
	for _, kill := range []bool{false, true} {
		for _, tool := range []string{"etcdx", "etcdctl"} {
			fmt.Print(rowOf(caseOf(tool, kill), all[caseOf(tool, kill)]))
		}
	}
	var ratios []float64
	for i, own := range all[caseOf("etcdx", false)] {
		ratios = append(ratios, own.next/all[caseOf("etcdctl", false)][i].next)
	}
	slices.Sort(ratios)
	fmt.Printf("\netcdx / etcdctl, hand-over by hand-over: %.2f at the median of %d.\n", at(ratios, 0.5), len(ratios))
}

func caseOf(tool string, kill bool) string {
	if kill {
		return tool + " | SIGKILL to the holder"
	}
	return tool + " | the holder's command ended"
}

func rowOf(what string, all []handOverTime) string {
	var next, gone []float64
	for _, t := range all {
		next, gone = append(next, t.next), append(gone, t.gone)
	}
	slices.Sort(next)
	slices.Sort(gone)
	return fmt.Sprintf("| %s | %d | %.3f | %.3f | %.3f | %.3f | %.3f |\n", what, len(all), at(next, 0.5), at(next, 0.9), at(next, 1), at(gone, 0.5), at(gone, 1))
}

// at returns the value below which a share of sorted values is.
func at(sorted []float64, share float64) float64 {
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// lateness tells, when it is asked, how much longer than 1 ms a sleep of 1 ms has taken at most: what the machine does to everybody.
func lateness(ctx context.Context) (most func() time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	found := make(chan time.Duration)
	go func() {
		var late time.Duration
		for ctx.Err() == nil {
			began := time.Now()
			time.Sleep(time.Millisecond)
			late = max(late, time.Since(began)-time.Millisecond)
		}
		found <- late
	}()
	return func() time.Duration { cancel(); return <-found }
}

type meter struct {
	client *clientv3.Client
	env    []string
}

// handOverTime is how many seconds after the end of one holder its key was gone, and the next one's command began.
type handOverTime struct{ gone, next float64 }

func (m *meter) handOver(ctx context.Context, bin string, kill bool) (t handOverTime, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	holder := exec.CommandContext(ctx, bin, "lock", "--ttl=10", "m", "--", "sh", "-c", "echo in; while ! test -e \"$0\"; do sleep 0.01; done; date +%s.%N", stopFile())
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	holder.Env = m.env
	defer func() { _ = os.Remove(stopFile()) }()
	var out lines
	holder.Stdout = &out
	if err := holder.Start(); err != nil {
		return t, err
	}
	if err := out.wait(ctx, 1); err != nil {
		return t, err
	}
	next := exec.CommandContext(ctx, bin, "lock", "--ttl=10", "m", "--", "date", "+%s.%N")
	next.Env = m.env
	var nextOut bytes.Buffer
	next.Stdout = &nextOut
	if err := next.Start(); err != nil {
		return t, err
	}
	gone := m.gone(ctx)
	if err := m.queued(ctx); err != nil {
		return t, err
	}
	end := seconds(time.Now())
	if kill {
		_ = holder.Process.Kill()
	} else if err := os.WriteFile(stopFile(), nil, 0o600); err != nil {
		return t, err
	}
	if err := next.Wait(); err != nil {
		return t, err
	}
	_ = syscall.Kill(-holder.Process.Pid, syscall.SIGKILL) // etcdctl's command goes on
	_ = holder.Wait()
	if !kill {
		end, _ = strconv.ParseFloat(out.get(1), 64)
	}
	start, err := strconv.ParseFloat(strings.TrimSpace(nextOut.String()), 64)
	return handOverTime{gone: <-gone - end, next: start - end}, err
}

// queued waits until two are in the queue, and the second one has had time to watch the first.
func (m *meter) queued(ctx context.Context) error {
	for {
		resp, err := m.client.Get(ctx, "m/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if resp.Count == 2 {
			pause(ctx, time.Second)
			return nil
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// gone tells when the first key of the lock was deleted.
func (m *meter) gone(ctx context.Context) <-chan float64 {
	at := make(chan float64, 1)
	watch := m.client.Watch(ctx, "m/", clientv3.WithPrefix(), clientv3.WithFilterPut())
	go func() {
		<-watch
		at <- seconds(time.Now())
	}()
	return at
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

func stopFile() string { return fmt.Sprintf("%s/lockproof-%d", os.TempDir(), os.Getpid()) }
