//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
)

// title says what is being run, so that it can be run again.
func (c *campaign) title() string {
	return fmt.Sprintf("campaign: seed %d, %v of %s with %s, etcd %s, %s", c.cfg.seed, c.cfg.duration, c.cfg.tool, strings.Join(c.cfg.workloads, ","), c.version, c.cfg.security)
}

// report tells what was done and which promises were seen broken.
func (c *campaign) report(v verdict) string {
	var b strings.Builder
	planned := Counts(v.plan)
	b.WriteString("faults:")
	total := 0
	for _, class := range allClasses() {
		if planned[class] > 0 {
			fmt.Fprintf(&b, " %s %d", class, c.journal.counts[class])
			total += c.journal.counts[class]
		}
	}
	fmt.Fprintf(&b, "; %d applied of %d planned; no member served for %v\n", total, len(v.plan), c.journal.silent.Round(100*time.Millisecond))
	fmt.Fprintf(&b, "the machine: etcdx version took up to %v\n", (c.journal.pace.late(0, c.cfg.duration) / starts).Round(10*time.Millisecond))
	for _, l := range c.load {
		b.WriteString(l.summary() + "\n")
	}
	most := mostUsed(c.used)
	fmt.Fprintf(&b, "processes: %d seen, at most %d open files and %d MiB each\n", len(c.used), most.Descriptors, most.Memory>>20)
	if len(v.violations) == 0 {
		b.WriteString("violations: none\n")
		return b.String()
	}
	c.reportViolations(&b, v.violations)
	return b.String()
}

// How much of each broken promise is shown, and how much time around it.
const (
	shownEach   = 3
	shownBefore = 8 * time.Second
	shownAfter  = 2 * time.Second
	columns     = 120
)

func (c *campaign) reportViolations(b *strings.Builder, all []Violation) {
	rows := []string{"m1", "m2", "m3"}
	for _, l := range c.load {
		rows = append(rows, l.rows()...)
	}
	rows = append(rows, "faults")
	spans := c.journal.allSpans()
	seen := map[string]int{}
	for _, v := range all {
		rule := v.name()
		if seen[rule]++; seen[rule] > shownEach {
			continue
		}
		fmt.Fprintf(b, "\nVIOLATION %s at %.3fs: %s\n", rule, v.From.Seconds(), v.Text)
		if v.From > 0 {
			b.WriteString(Chart(rows, spans, Window{v.From - shownBefore, v.To + shownAfter}, columns))
		}
	}
	fmt.Fprintf(b, "\nviolations: %d (", len(all))
	sep := ""
	for rule, n := range seen {
		fmt.Fprintf(b, "%s%s %d", sep, rule, n)
		sep = ", "
	}
	fmt.Fprintf(b, ")\nthe files are in %s; run it again with --seed %d --duration %v\n", c.dir, c.cfg.seed, c.cfg.duration)
}
