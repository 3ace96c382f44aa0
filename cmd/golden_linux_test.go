package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/etcdx/etcdx/pkg/lab"
)

// observation is what a script sees of one command: its output, its last word, how it ended.
type observation struct {
	stdout, stderr string
	code           int
	took           time.Duration
	ended          bool // by itself, before goldenLimit
}

// A command may run for goldenLimit. One that never ends by itself is stopped after endlessLimit.
const (
	goldenLimit  = 20 * time.Second
	endlessLimit = 3 * time.Second
)

// TestSameAsEtcdctl runs every command of testdata/golden.txt with etcdctl and, from the same state of the cluster, with etcdx
// under etcdctl's name: on a pipe and on a terminal.
func TestSameAsEtcdctl(t *testing.T) {
	if testing.Short() {
		t.Skip("several hundred commands")
	}
	j := newJudge(t)
	want := j.record(t, "etcdctl", nil)
	got := j.record(t, "etcdx", []string{asVariable + "=etcdctl"})
	for i, c := range j.cases {
		if d := difference(c, want[i], got[i]); d != "" {
			t.Errorf("%s: %s", c, d)
		}
	}
	t.Logf("%d commands compared", len(j.cases))
	plantFaults(t, j.cases, want)
}

// plantFaults plants nine faults in what etcdctl showed, and wants the comparison to see each.
func plantFaults(t *testing.T, cases []goldenCase, want []observation) {
	t.Helper()
	for fault, plant := range plantedFaults() {
		seen, where := 0, ""
		for i, c := range cases {
			if d := difference(c, want[i], plant(c, want[i])); d != "" {
				if seen++; where == "" {
					where = c.String()
				}
			}
		}
		if seen == 0 {
			t.Errorf("not seen: %s", fault)
		} else {
			t.Logf("%s: seen in %d commands, first in %s", fault, seen, where)
		}
	}
}

// plantedFaults change what a command showed as a faulty program would have shown it.
func plantedFaults() map[string]func(goldenCase, observation) observation {
	first := func(c goldenCase) string { return c.args[0] }
	return map[string]func(goldenCase, observation) observation{
		"one more line on stderr": func(_ goldenCase, o observation) observation { o.stderr = "note\n" + o.stderr; return o },
		"always exit 0":           func(_ goldenCase, o observation) observation { o.code = 0; return o },
		"JSON keys in camel case": func(c goldenCase, o observation) observation {
			if c.format() == "json" {
				o.stdout = regexp.MustCompile(`_([a-z])`).ReplaceAllStringFunc(o.stdout, func(s string) string { return strings.ToUpper(s[1:]) })
			}
			return o
		},
		"three tries of a failing get or put": func(c goldenCase, o observation) observation {
			if (slices.Contains(c.args, "get") || slices.Contains(c.args, "put")) && o.code != 0 {
				o.took *= 3
			}
			return o
		},
		"a watch that goes on after a compaction": func(c goldenCase, o observation) observation {
			if first(c) == "watch" && strings.Contains(o.stderr, "compacted") {
				o.ended, o.code, o.stderr, o.stdout = false, -1, "", ""
			}
			return o
		},
		"exit codes flattened to 1": func(_ goldenCase, o observation) observation { o.code = min(o.code, 1); return o },
		"value before key": func(c goldenCase, o observation) observation {
			if lines := strings.SplitN(o.stdout, "\n", 3); first(c) == "get" && c.format() == "simple" && len(lines) == 3 {
				o.stdout = lines[1] + "\n" + lines[0] + "\n" + lines[2]
			}
			return o
		},
		"colour round OK and counts": func(c goldenCase, o observation) observation {
			if first(c) == "put" || first(c) == "del" {
				o.stdout = regexp.MustCompile(`(OK|\d+)`).ReplaceAllString(o.stdout, "\x1b[32m$1\x1b[0m")
			}
			return o
		},
		"a lock that loses its command's exit code": func(c goldenCase, o observation) observation {
			if first(c) == "lock" {
				o.code = min(o.code, 1)
			}
			return o
		},
	}
}

// difference says in a few words what is not the same; empty: nothing.
func difference(c goldenCase, want, got observation) string {
	switch {
	case want.ended != got.ended:
		return fmt.Sprintf("ended by itself: %v, want %v", got.ended, want.ended)
	case want.stdout != got.stdout:
		return fmt.Sprintf("stdout\n got %q\nwant %q", got.stdout, want.stdout)
	case want.code != got.code:
		return fmt.Sprintf("exit code %d, want %d; stderr %q", got.code, want.code, got.stderr)
	case want.code != 0 && errorLine(want.stderr) != errorLine(got.stderr):
		return fmt.Sprintf("last line on stderr\n got %q\nwant %q", errorLine(got.stderr), errorLine(want.stderr))
	case want.code == 0 && want.stderr != got.stderr:
		return fmt.Sprintf("stderr\n got %q\nwant %q", got.stderr, want.stderr)
	// Only where the time is the command's own limit: a busy machine delays any command for a moment.
	case want.ended && want.took > 900*time.Millisecond && strings.HasPrefix(c.args[0], "--command-timeout") && got.took > 2*want.took+500*time.Millisecond:
		return fmt.Sprintf("took %v, want about %v", got.took, want.took)
	}
	return ""
}

// errorLine returns the line that says what failed, after which only the usage may follow; else the last one.
func errorLine(stderr string) string {
	lines := strings.Split(strings.TrimRight(stderr, "\n"), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "Error: ") {
			return line
		}
	}
	return lines[len(lines)-1]
}

// judge has the cluster, the state that each record begins from, and the two programs.
type judge struct {
	cluster *lab.Cluster
	state   string
	bin     string
	cases   []goldenCase
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	cluster, err := lab.Start(t.Context(), lab.Config{Members: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })
	dir := t.TempDir()
	j := &judge{cluster: cluster, state: filepath.Join(dir, "state.db"), bin: filepath.Join(dir, "bin"), cases: goldenCases(t)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(j.bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcdctl", "etcdx", "faulty"} {
		if err := os.Symlink(self, filepath.Join(j.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range goldenState() {
		if o := j.run(t, "etcdctl", nil, goldenCase{args: args}); o.code != 0 {
			t.Fatalf("%q: %+v", args, o)
		}
	}
	if _, err := cluster.Compact(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Snapshot(t.Context(), j.state); err != nil {
		t.Fatal(err)
	}
	return j
}

// goldenState is what is in the cluster before the first command.
func goldenState() [][]string {
	return [][]string{
		{"put", "a", "1"},
		{"put", "a", "2"},
		{"put", "b/1", "x"},
		{"put", "b/2", "y"},
		{"put", "b/3", "z"},
		{"put", "c", "two\nlines"},
		{"put", "b/1", "w"},
		{"put", "esc", "\x1b[31mred\x1b[0m"},
		{"put", "ключ", "значение"},
		{"del", "b/3"},
		{"put", "empty", ""},
	}
}

// record runs every case with a program, from the same state.
func (j *judge) record(t *testing.T, program string, env []string) []observation {
	t.Helper()
	all := make([]observation, len(j.cases))
	for i, o := range j.observe(t, program, env) {
		all[i] = o
	}
	return all
}

// observe runs the cases one by one, as long as they are asked for.
func (j *judge) observe(t *testing.T, program string, env []string) iter.Seq2[int, observation] {
	t.Helper()
	if err := j.cluster.Restore(t.Context(), j.state); err != nil {
		t.Fatal(err)
	}
	if err := j.cluster.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	leases := &leaseNames{}
	return func(yield func(int, observation) bool) {
		for i, c := range j.cases {
			c.args = leases.substitute(c.args)
			for k, arg := range c.args {
				c.args[k] = strings.ReplaceAll(arg, "$WORK", work)
			}
			o := j.run(t, program, env, c)
			o.stdout = strings.ReplaceAll(o.stdout, work, "$WORK")
			o.stdout = regexp.MustCompile(`took [0-9.]+[mµ]?s`).ReplaceAllString(o.stdout, "took TIME")
			o.stdout = regexp.MustCompile(`remaining\(\d+s\)`).ReplaceAllString(o.stdout, "remaining(TIME)")
			if !yield(i, leases.hide(o)) {
				return
			}
		}
	}
}

// run runs one command with a program.
func (j *judge) run(t *testing.T, program string, env []string, c goldenCase) observation {
	t.Helper()
	limit := goldenLimit
	if c.args[0] == "watch" || slices.Contains(c.args, "keep-alive") {
		limit = endlessLimit
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(j.bin, program), c.args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TERM=xterm", "ETCDCTL_ENDPOINTS=" + j.cluster.Endpoint(0),
		"CLICOLOR_FORCE=1", // as in some CI systems: etcdctl does not care
	}, env...)
	if slices.ContainsFunc(c.args, func(arg string) bool { return strings.HasPrefix(arg, "--endpoints") }) {
		cmd.Env[3] = "ETCDX_UNUSED=" // etcdctl refuses a setting in both places
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	cmd.Stdin = strings.NewReader(c.stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var drained sync.WaitGroup
	closeTerminal := func() {}
	if c.terminal {
		master, slave := openTerminal(t)
		cmd.Stdout = slave
		drained.Go(func() { _, _ = io.Copy(&stdout, master) })
		closeTerminal = func() { _ = slave.Close(); drained.Wait(); _ = master.Close() }
	}
	start := time.Now()
	err := cmd.Run()
	o := observation{took: time.Since(start), ended: ctx.Err() == nil, code: cmd.ProcessState.ExitCode()}
	closeTerminal()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok && o.ended {
		t.Fatalf("%s: %v %v", c, err, exit)
	}
	if !o.ended {
		o.code = -1 // however it takes the signal
	}
	o.stdout, o.stderr = stdout.String(), withoutLogs(stderr.String())
	return o
}

// openTerminal returns the two ends of a new pseudo terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// withoutLogs leaves out the client's log, whose lines carry times and addresses.
func withoutLogs(stderr string) string {
	var kept []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, `{"level":`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// leaseNames gives the IDs of leases, which the server draws, the names L1, L2, ... in the order in which they show up.
type leaseNames struct{ ids []string }

// hide replaces IDs by names in what was printed, in hexadecimal and in decimal.
func (l *leaseNames) hide(o observation) observation {
	for _, re := range []string{`lease ([0-9a-f]{16}) granted`, `"ID":(\d{15,})`, `"ID" : (\d{15,})`, `"ID":"([0-9a-f]{15,})"`, `"lease":(\d{15,})`} {
		for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(o.stdout, -1) {
			if !strings.Contains(strings.Join(l.ids, " "), m[1]) {
				l.add(m[1])
			}
		}
	}
	for i, id := range l.ids {
		for _, form := range strings.Fields(id) {
			o.stdout = strings.ReplaceAll(o.stdout, form, fmt.Sprintf("L%d", i+1))
			o.stderr = strings.ReplaceAll(o.stderr, form, fmt.Sprintf("L%d", i+1))
		}
	}
	return o
}

// add remembers an ID in every form in which it can be printed.
func (l *leaseNames) add(id string) {
	hex := len(id) == 16 && !regexp.MustCompile(`^[1-9]\d{15}$`).MatchString(id)
	base := 10
	if hex {
		base = 16
	}
	if n, err := strconv.ParseInt(id, base, 64); err == nil && n > 1<<32 {
		l.ids = append(l.ids, fmt.Sprintf("%016x %x %d", n, n, n))
	}
}

// substitute puts IDs where a command line says $L1, $L2, ...
func (l *leaseNames) substitute(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		for k, id := range l.ids {
			arg = strings.ReplaceAll(arg, fmt.Sprintf("$L%d", k+1), strings.Fields(id)[0])
		}
		out[i] = arg
	}
	return out
}
