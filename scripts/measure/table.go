package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// sample gathers the outcomes of one row.
type sample struct {
	ok, failed []time.Duration
	codes      map[int]int
	lines      map[string]int
}

func (s *sample) add(o outcome) {
	if o.code == 0 {
		s.ok = append(s.ok, o.took)
		return
	}
	s.failed = append(s.failed, o.took)
	if s.codes == nil {
		s.codes, s.lines = map[int]int{}, map[string]int{}
	}
	s.codes[o.code]++
	s.lines[o.lastLine()]++
}

func (s *sample) n() int { return len(s.ok) + len(s.failed) }

// exits says which codes ended how many calls.
func (s *sample) exits() string {
	var parts []string
	for code, n := range s.codes {
		parts = append(parts, fmt.Sprintf("%d (%d times)", code, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// spread writes durations in seconds as median [min..max].
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	d = slices.Sorted(slices.Values(d))
	return fmt.Sprintf("%s [%s..%s]", seconds(quantile(d, 0.5)), seconds(d[0]), seconds(d[len(d)-1]))
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%.3g", d.Round(100*time.Microsecond).Seconds())
}

// quantile returns the value in sorted d that a share q of them does not exceed.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[min(int(q*float64(len(d))), len(d)-1)]
}

func quantileOf(d []time.Duration, q float64) string {
	return seconds(quantile(slices.Sorted(slices.Values(d)), q))
}

// header prints the head of a Markdown table.
func header(columns ...string) {
	row(columns...)
	fmt.Println("|" + strings.Repeat("---|", len(columns)))
}

func row(cells ...string) { fmt.Println("| " + strings.Join(cells, " | ") + " |") }
