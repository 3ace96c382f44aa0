package main

import (
	"bufio"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// contestant is a program that replays, and how its runs went.
type contestant struct {
	name, program string
	args          []string
	took, cpu     []time.Duration
	peak          []int64 // KiB
}

// replay times how long the programs take to print the whole history. They take turns, each round beginning with another one.
func (b *bench) replay(ctx context.Context) error {
	h := history{n: b.events, size: 64, keys: b.keys, perRevision: b.perRevision, random: b.random}
	if err := b.fill(ctx, h); err != nil {
		return err
	}
	all := []*contestant{
		{name: "etcdctl", program: b.etcdctl, args: []string{"watch", "--prefix", "b/", "--rev", "1"}},
		{name: "etcdx with a checkpoint", program: b.etcdx, args: []string{"watch", "--prefix", "b/", "--start", "2"}},
		{name: "the other etcdx", program: b.before, args: []string{"watch", "--prefix", "b/", "--start", "2"}},
	}
	all = slices.DeleteFunc(all, func(c *contestant) bool { return c.program == "" })
	for i := range b.runs {
		for j := range all {
			c, args := all[(i+j)%len(all)], []string(nil)
			if c.name != "etcdctl" {
				args = []string{"--checkpoint", filepath.Join(b.dir, fmt.Sprintf("replay%d-%d", i, j))}
			}
			if err := b.once(c, args); err != nil {
				return err
			}
		}
	}
	for _, c := range all {
		fmt.Printf("median of %d, %s: %.2f s, %.0f events/s = %.2f of etcdctl's, %.2f s of CPU, peak memory %d MiB\n",
			b.runs, c.name, median(c.took).Seconds(), float64(b.events)/median(c.took).Seconds(),
			median(all[0].took).Seconds()/median(c.took).Seconds(), median(c.cpu).Seconds(), median(c.peak)/1024)
	}
	return nil
}

// once lets c print the history.
func (b *bench) once(c *contestant, more []string) error {
	begun := time.Now()
	cmd, out, err := b.start(c.program, b.cluster.Endpoint(0), append(slices.Clip(c.args), more...)...)
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(out, 1<<20)
	for n := 0; n < 3*b.events; n++ {
		if _, err := lines.ReadSlice('\n'); err != nil {
			return fmt.Errorf("%s after %d lines: %w", c.name, n, err)
		}
	}
	took, peak := time.Since(begun), peakKiB(cmd)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.took, c.cpu, c.peak = append(c.took, took), append(c.cpu, cpu), append(c.peak, peak)
	fmt.Printf("replay of %d events, %s: %.2f s, %.0f events/s, %.2f s of CPU, peak memory %d MiB\n",
		b.events, c.name, took.Seconds(), float64(b.events)/took.Seconds(), cpu.Seconds(), peak/1024)
	return nil
}

func median[T int64 | time.Duration](all []T) T {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
