package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// sample is one run of a program.
type sample struct {
	Wall, First time.Duration
	PeakMiB     float64
	Bytes       int64
	Sum         uint32 // of the output, CRC-32C
}

func (s sample) String() string {
	return fmt.Sprintf("%6.2f s, first byte %4.0f ms, peak %5.0f MiB, %d bytes", s.Wall.Seconds(), ms(s.First), s.PeakMiB, s.Bytes)
}

// median returns the median of each quantity.
func median(runs []sample) sample {
	m := runs[0]
	of := func(value func(sample) float64) float64 {
		var all []float64
		for _, r := range runs {
			all = append(all, value(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	m.Wall = time.Duration(of(func(s sample) float64 { return float64(s.Wall) }))
	m.First = time.Duration(of(func(s sample) float64 { return float64(s.First) }))
	m.PeakMiB = of(func(s sample) float64 { return s.PeakMiB })
	return m
}

// measure runs a command line in a small process of its own, because on Linux the peak memory of a child is never below
// what its parent had when it was forked.
func measure(ctx context.Context, line []string) (sample, error) {
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"measure"}, line...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return sample{}, err
	}
	var s sample
	return s, json.Unmarshal(out, &s)
}

// measureMain is that process: it runs line and prints a sample.
func measureMain(line []string) int {
	s, err := measureHere(line)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bigrange: measure:", err)
		return 1
	}
	return 0
}

func measureHere(line []string) (s sample, err error) {
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	buf, table := make([]byte, 256<<10), crc32.MakeTable(crc32.Castagnoli)
	for {
		n, err := out.Read(buf)
		if n > 0 && s.Bytes == 0 {
			s.First = time.Since(start)
		}
		s.Bytes += int64(n)
		s.Sum = crc32.Update(s.Sum, table, buf[:n])
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		return s, err
	}
	s.Wall = time.Since(start)
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return s, fmt.Errorf("the system does not tell a process's peak memory")
	}
	unit := 1024.0 // KiB
	if runtime.GOOS == "darwin" {
		unit = 1
	}
	s.PeakMiB = float64(usage.Maxrss) * unit / (1 << 20)
	return s, nil
}
