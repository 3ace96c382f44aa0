// Command bigrange measures how etcdx and etcdctl read a large range: wall time, time to the first byte and peak memory,
// side by side against the same servers. It builds all programs itself, in the checkout it is run from:
//
//	go run ./scripts/bigrange -write docs/performance.md
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	keys, size, runs int
	versions         string
	dir, write       string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "measure" {
		os.Exit(measureMain(os.Args[2:]))
	}
	var s settings
	flag.IntVar(&s.keys, "keys", 1_000_000, "keys in the range")
	flag.IntVar(&s.size, "size", 256, "bytes per value")
	flag.IntVar(&s.runs, "runs", 5, "runs of each program, of which the median counts")
	flag.StringVar(&s.versions, "versions", "3.7.3,3.5.35", "servers to measure with")
	flag.StringVar(&s.dir, "dir", "", "keep the programs that are built here (default: a temporary directory)")
	flag.StringVar(&s.write, "write", "", "replace the section \"Large ranges\" of this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bigrange:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "bigrange-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s.dir = dir
	}
	b := builder{dir: s.dir}
	etcdx, err := b.here(ctx, "etcdx", ".")
	if err != nil {
		return err
	}
	etcdctl, err := b.here(ctx, "etcdctl", "go.etcd.io/etcd/etcdctl/v3")
	if err != nil {
		return err
	}
	r := report{s: s}
	for version := range strings.SplitSeq(s.versions, ",") {
		server, err := b.server(ctx, version)
		if err != nil {
			return err
		}
		results, err := withServer(ctx, server, s, func(endpoint string) ([]result, error) {
			return compare(ctx, s, endpoint, program{"etcdx", etcdx}, program{"etcdctl", etcdctl})
		})
		if err != nil {
			return fmt.Errorf("etcd %s: %w", version, err)
		}
		r.add(version, results)
	}
	fmt.Print(r.markdown())
	if s.write != "" {
		return r.replaceSection(s.write)
	}
	return r.verdict()
}

type program struct{ name, path string }

// result is what several runs of both programs with the same arguments came to.
type result struct {
	what           string
	etcdx, etcdctl sample // medians
	sameOutput     bool
}

// compare runs both programs in turn, so that what else the machine does hits both.
func compare(ctx context.Context, s settings, endpoint string, x, ctl program) ([]result, error) {
	var results []result
	for _, args := range [][]string{{}, {"-w", "json"}, {"--keys-only"}, {"-w", "fields"}} {
		what := strings.Join(append([]string{"get --prefix"}, args...), " ")
		runs := map[string][]sample{}
		for range s.runs {
			for _, p := range []program{x, ctl} {
				line := append([]string{p.path, "get", "--endpoints", endpoint, "--command-timeout", "300s", "--prefix", prefix}, args...)
				m, err := measure(ctx, line)
				if err != nil {
					return nil, fmt.Errorf("%s %s: %w", p.name, what, err)
				}
				runs[p.name] = append(runs[p.name], m)
				fmt.Fprintf(os.Stderr, "%-8s %-24s %s\n", p.name, what, m)
			}
		}
		a, b := median(runs[x.name]), median(runs[ctl.name])
		results = append(results, result{what: what, etcdx: a, etcdctl: b, sameOutput: a.Bytes == b.Bytes && a.Sum == b.Sum})
	}
	return results, nil
}

// report gathers results and writes them down.
type report struct {
	s    settings
	rows []string
	bad  []string
}

// The promises: docs/performance.md says them too.
const (
	maxPeakMiB   = 64
	maxFirstByte = 100 * time.Millisecond
)

func (r *report) add(version string, results []result) {
	for _, m := range results {
		same := "yes"
		if !m.sameOutput {
			same = "**no**"
			r.bad = append(r.bad, fmt.Sprintf("etcd %s, %s: different output", version, m.what))
		}
		r.rows = append(r.rows, fmt.Sprintf("| %s | `%s` | %.2f / %.2f s (%.2f) | %.0f / %.0f MiB (%.3f) | %.0f / %.0f ms | %s |",
			version, m.what,
			m.etcdx.Wall.Seconds(), m.etcdctl.Wall.Seconds(), m.etcdx.Wall.Seconds()/m.etcdctl.Wall.Seconds(),
			m.etcdx.PeakMiB, m.etcdctl.PeakMiB, m.etcdx.PeakMiB/m.etcdctl.PeakMiB,
			ms(m.etcdx.First), ms(m.etcdctl.First), same))
		if m.etcdx.PeakMiB > maxPeakMiB || m.etcdx.Wall > m.etcdctl.Wall || m.etcdx.First > maxFirstByte {
			r.bad = append(r.bad, fmt.Sprintf("etcd %s, %s: %s", version, m.what, m.etcdx))
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// verdict returns an error that lists the promises that were not kept.
func (r *report) verdict() error {
	if len(r.bad) == 0 {
		return nil
	}
	return fmt.Errorf("not as promised:\n  %s", strings.Join(r.bad, "\n  "))
}

func (r *report) markdown() string {
	return fmt.Sprintf(`%s

%d keys of %d bytes each, read by both programs in turn from one member on the same machine; medians of %d runs of
`+"`go run ./scripts/bigrange`"+`. Every cell is etcdx / etcdctl 3.7.3 (ratio). etcdctl had --command-timeout=300s: at its default
of 5 s it gives up where the wall time is above that, and prints nothing.

| server | command | wall | peak memory | first byte | same bytes |
|---|---|--:|--:|--:|---|
%s
`, heading, r.s.keys, r.s.size, r.s.runs, strings.Join(r.rows, "\n"))
}

const heading = "## Large ranges"

// replaceSection puts the table in place of the last one. Text below the table, up to the next heading, stays.
func (r *report) replaceSection(file string) error {
	old, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	before, section, found := strings.Cut(string(old), heading+"\n")
	if !found && before != "" {
		before = strings.TrimRight(before, "\n") + "\n\n"
	}
	lines := strings.SplitAfter(section, "\n")
	lastRow := -1
	for i, line := range lines {
		if strings.HasPrefix(line, "## ") {
			break
		}
		if strings.HasPrefix(line, "|") {
			lastRow = i
		}
	}
	text := before + r.markdown() + strings.Join(lines[lastRow+1:], "")
	if err := os.WriteFile(filepath.Clean(file), []byte(text), 0o644); err != nil {
		return err
	}
	return r.verdict()
}
