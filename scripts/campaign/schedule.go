//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// schedule is a plan of faults that broke a promise once. As text it outlives changes of how plans are drawn:
//
//	# why it is kept
//	breaks lock/fenced
//	campaign --seed 37 --duration 20s --workloads lock --ttl 2s
//	3.12s freeze lock for=2.9s pick=713
type schedule struct {
	breaks string
	args   []string // of the campaign
	plan   []Fault
}

func (s schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "breaks %s\ncampaign %s\n", s.breaks, strings.Join(s.args, " "))
	for _, f := range s.plan {
		fmt.Fprintf(&b, "%v %s", f.At.Round(time.Millisecond), f.Class)
		if f.Target != "" {
			b.WriteString(" " + f.Target)
		}
		if f.For > 0 {
			fmt.Fprintf(&b, " for=%v", f.For.Round(time.Millisecond))
		}
		if f.Delay > 0 {
			fmt.Fprintf(&b, " delay=%v", f.Delay.Round(time.Millisecond))
		}
		if f.Loss > 0 {
			fmt.Fprintf(&b, " loss=%.3f", f.Loss)
		}
		if f.Pick > 0 {
			fmt.Fprintf(&b, " pick=%d", f.Pick)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// parseSchedule reads a schedule.
func parseSchedule(text string) (s schedule, err error) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "breaks" && len(words) == 2:
			s.breaks = words[1]
		case words[0] == "campaign":
			s.args = words[1:]
		default:
			f, err := parseFault(words)
			if err != nil {
				return s, fmt.Errorf("%q: %w", line, err)
			}
			s.plan = append(s.plan, f)
		}
	}
	if s.breaks == "" || len(s.args) == 0 || len(s.plan) == 0 {
		return s, errors.New("it does not name a promise, the campaign's arguments, and faults")
	}
	return s, nil
}

func parseFault(words []string) (f Fault, err error) {
	if len(words) < 2 {
		return f, errors.New("a fault has a time and a class")
	}
	if f.At, err = time.ParseDuration(words[0]); err != nil {
		return f, err
	}
	classes, err := parseClasses(words[1])
	if err != nil || len(classes) != 1 {
		return f, fmt.Errorf("%q is not a class of faults: %w", words[1], err)
	}
	f.Class = classes[0]
	for _, word := range words[2:] {
		name, value, ok := strings.Cut(word, "=")
		switch {
		case !ok:
			f.Target = word
		case name == "for":
			f.For, err = time.ParseDuration(value)
		case name == "delay":
			f.Delay, err = time.ParseDuration(value)
		case name == "loss":
			f.Loss, err = strconv.ParseFloat(value, 64)
		case name == "pick":
			f.Pick, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("what is %q?", name)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// readSchedule reads a schedule from a file.
func readSchedule(file string) (schedule, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return schedule{}, err
	}
	s, err := parseSchedule(string(text))
	if err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// schedule returns a part of a plan, to be kept. It ends soon after its last fault.
func (cfg config) schedule(breaks string, plan []Fault) schedule {
	end := time.Duration(0)
	for _, f := range plan {
		end = max(end, f.At+f.For)
	}
	end = min(cfg.duration, (end + cfg.ttl + recovery).Round(time.Second))
	args := []string{"--seed", strconv.FormatUint(cfg.seed, 10), "--duration", end.String(), "--workloads", strings.Join(cfg.workloads, ","), "--security", cfg.security, "--ttl", cfg.ttl.String()}
	if cfg.defaults {
		args = append(args, "--defaults")
	}
	return schedule{breaks, args, plan}
}
