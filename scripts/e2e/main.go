// Command e2e runs etcd's own published end-to-end tests with a given program in etcdctl's place.
//
//	go run ./scripts/e2e -bin ./etcdx -set ci
//
// The tests, the server and etcdutl are built once from the Go module proxy and kept in the cache directory. Ports are
// fixed in these tests, so that several run at once only where unshare(1) gives each a network of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	bin, set, only, cache, out string
	jobs                       int
	list                       bool
	limit                      time.Duration
	versions                   versions
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.bin, "bin", "", "program to test (required)")
	flag.StringVar(&o.set, "set", "ci", "ci (about 3 minutes), data, admin, or all of the last two")
	flag.StringVar(&o.only, "only", "", "regular expression on package/test, to run a part of the set")
	flag.StringVar(&o.cache, "cache", "", "directory for what is built (default: etcdx-e2e in the user's cache directory)")
	flag.StringVar(&o.out, "out", "", "directory for the logs (default: a new temporary one)")
	flag.BoolVar(&o.list, "list", false, "list the chosen tests instead of running them")
	flag.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "tests at once, where networks can be kept apart")
	flag.DurationVar(&o.limit, "timeout", 400*time.Second, "limit for one test")
	flag.StringVar(&o.versions.etcd, "etcd", "3.7.3", "release of the tests and of the server")
	flag.StringVar(&o.versions.last, "last", "3.6.16", "release of the server before it, for downgrades")
	flag.Parse()
	var err error
	if o.bin == "" {
		return o, fmt.Errorf("-bin is needed")
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return o, err
	}
	if _, err := exec.LookPath(o.bin); err != nil {
		return o, err
	}
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, err
		}
		o.cache = filepath.Join(dir, "etcdx-e2e", o.versions.etcd+"-"+o.versions.last)
	}
	if o.out == "" {
		o.out, err = os.MkdirTemp("", "etcdx-e2e-")
	} else {
		err = os.MkdirAll(o.out, 0o755)
	}
	if err != nil {
		return o, err
	}
	o.out, err = filepath.Abs(o.out)
	return o, err
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse()
	if err != nil {
		return err
	}
	if err := build(ctx, o.cache, o.versions); err != nil {
		return err
	}
	tests, err := choose(ctx, o)
	if err != nil {
		return err
	}
	if o.list {
		fmt.Println(strings.Join(tests, "\n"))
		return nil
	}
	r := runner{options: o}
	if err := r.prepare(); err != nil {
		return err
	}
	failed := r.all(ctx, tests)
	fmt.Printf("%d of %d passed; logs in %s\n", len(tests)-len(failed), len(tests), o.out)
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, " "))
	}
	return ctx.Err()
}

// choose lists the tests of the set, "package/name" each.
func choose(ctx context.Context, o options) ([]string, error) {
	set, ok := sets()[o.set]
	if !ok {
		return nil, fmt.Errorf("-set %q: want ci, data, admin or all", o.set)
	}
	pattern, err := regexp.Compile(`^(` + strings.Join(set, "|") + `)$`)
	if err != nil {
		return nil, err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, err
	}
	var tests []string
	for _, pkg := range []string{"common", "e2e"} {
		list, err := exec.CommandContext(ctx, filepath.Join(o.cache, "bin", pkg+".test"), "-test.list", ".").Output()
		if err != nil {
			return nil, err
		}
		for name := range strings.FieldsSeq(string(list)) {
			if t := pkg + "/" + name; pattern.MatchString(t) && only.MatchString(t) {
				tests = append(tests, t)
			}
		}
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("no test is chosen")
	}
	return tests, nil
}

// runner runs tests in directories of their own.
type runner struct {
	options
	apart []string // the words before a command that give it a network of its own
}

// prepare puts the program in etcdctl's place, and finds out whether networks can be kept apart.
func (r *runner) prepare() error {
	bin := filepath.Join(r.out, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	links := map[string]string{"etcdctl": r.bin}
	for _, name := range []string{"etcd", "etcdutl", "etcd-last-release"} {
		links[name] = filepath.Join(r.cache, "bin", name)
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	for _, flags := range [][]string{{"-n"}, {"-Urn"}} {
		words := slices.Concat([]string{"unshare"}, flags, []string{"--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `ip link set lo up && exec "$@"`, "sh"})
		if exec.Command(words[0], append(words[1:], "true")...).Run() == nil {
			r.apart = words
			return nil
		}
	}
	r.jobs = 1
	return nil
}

// all runs the tests and returns the names of those that failed.
func (r *runner) all(ctx context.Context, tests []string) []string {
	queue := make(chan string)
	var mu sync.Mutex
	var failed []string
	var workers sync.WaitGroup
	for range r.jobs {
		workers.Go(func() {
			for t := range queue {
				start := time.Now()
				verdict := r.one(ctx, t)
				mu.Lock()
				fmt.Printf("%s %s %.1fs\n", verdict, t, time.Since(start).Seconds())
				if verdict == "FAIL" {
					failed = append(failed, t)
				}
				mu.Unlock()
			}
		})
	}
	for _, t := range tests {
		queue <- t
	}
	close(queue)
	workers.Wait()
	return failed
}

// one runs a test, and says PASS, SKIP or FAIL.
func (r *runner) one(ctx context.Context, test string) string {
	pkg, name, _ := strings.Cut(test, "/")
	dir := filepath.Join(r.out, pkg+"."+name)
	work := filepath.Join(dir, "cwd")
	log, err := r.outputOf(ctx, dir, work, pkg, name)
	_ = os.RemoveAll(filepath.Join(dir, "fixtures"))
	switch {
	case err != nil:
		_ = os.WriteFile(filepath.Join(dir, "log"), append(log, err.Error()...), 0o644)
		return "FAIL"
	case strings.Contains(string(log), "--- SKIP: "+name+" "):
		return "SKIP"
	case !strings.Contains(string(log), "--- PASS: "+name+" "):
		return "FAIL" // it did not run
	}
	_ = os.RemoveAll(dir)
	return "PASS"
}

// outputOf runs a test and returns what it printed.
func (r *runner) outputOf(ctx context.Context, dir, work, pkg, name string) ([]byte, error) {
	// Members listen on sockets in there: a socket's name has at most 107 bytes.
	tmp, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	fixtures := filepath.Join(dir, "fixtures")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return nil, err
	}
	// The tests write into their fixtures.
	if err := os.CopyFS(fixtures, os.DirFS(filepath.Join(r.cache, "fixtures"))); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit+30*time.Second)
	defer cancel()
	words := append(slices.Clone(r.apart), filepath.Join(r.cache, "bin", pkg+".test"), "-test.v", "-test.timeout", r.limit.String(),
		"-test.run", "^"+name+"$", "-bin-dir="+filepath.Join(r.out, "bin"), "-cert-dir="+fixtures)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = work
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp, "E2E_TEST_MINIMAL=true"}
	cmd.WaitDelay = 5 * time.Second
	return cmd.CombinedOutput()
}
