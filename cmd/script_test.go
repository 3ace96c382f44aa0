//go:build unix

package cmd

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"

	"github.com/etcdx/etcdx/pkg/lab"
)

func TestMain(m *testing.M) {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){
		"attend":   func() { os.Exit(attendMain()) },
		"etcdx":    func() { os.Exit(Main()) },
		"etcdctl":  etcdctlMain,
		"notified": notifiedMain,
		"faulty":   func() { os.Exit(faultyMain()) },
		"sigints":  func() { os.Exit(sigintsMain()) },
		"web":      func() { os.Exit(webMain()) },
		// The verbs that start processes themselves ask this one for the script's environment.
		"printenv0": func() { fmt.Print(strings.Join(os.Environ(), "\x00")) },
	})
}

// etcdctlMain is the main function of the etcdctl that go.mod pins, for tests that put etcdx beside it.
func etcdctlMain() { ctlv3.MustStart() }

// webMain is a load balancer without anybody behind it, at the host and port that its argument names.
func webMain() int {
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // it ends with its test
		w.WriteHeader(http.StatusServiceUnavailable)
	})))
	return 1
}

// TestScript runs testdata/script/*.txtar, each on clusters of its own. README.md there describes the verbs.
// -run TestScript/get_put picks one. ETCDX_TEST_ETCD names an etcd executable to test against instead of the linked server.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("ETCDX_UPDATE") != "",
		Setup:               setUpScript,
		Condition:           scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"etcd":     etcdVerb,
			"bg":       bgVerb,
			"signal":   signalVerb,
			"ended":    endedVerb,
			"waitfor":  waitforVerb,
			"gone":     goneVerb,
			"exitcode": exitcodeVerb,
		},
	})
}

// setUpScript gives a script its home and state directories, and takes away what it leaves.
func setUpScript(env *testscript.Env) error {
	for name, dir := range map[string]string{
		"HOME": "home", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_RUNTIME_DIR": "run",
	} {
		path := filepath.Join(env.WorkDir, "."+dir)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		env.Setenv(name, path)
	}
	env.Setenv("NO_COLOR", "1")
	s := &script{work: env.WorkDir, jobs: map[string]*job{}}
	env.Values[scriptKey{}] = s
	env.Defer(func() {
		if left := s.close(); left != "" {
			env.T().Fatal("processes left behind:\n" + left)
		}
	})
	return nil
}

// script is what a running script has: its cluster and its background jobs.
type script struct {
	work    string
	cluster *lab.Cluster
	jobs    map[string]*job
}

type scriptKey struct{}

func scriptOf(ts *testscript.TestScript) *script {
	s, ok := ts.Value(scriptKey{}).(*script)
	if !ok {
		ts.Fatalf("the script was not set up")
	}
	return s
}

// close ends the cluster and every process of the script, and returns a line for each that the script itself did not end.
func (s *script) close() string {
	for _, j := range s.jobs {
		j.killGroup()
	}
	left := killStrays(s.work)
	if s.cluster != nil {
		_ = s.cluster.Close()
	}
	return left
}

// scriptCondition knows [etcd:3.5.7]: that server is in $ETCDX_ETCD_DIR; and [unshare]: this user may make namespaces.
func scriptCondition(cond string) (bool, error) {
	if cond == "unshare" {
		return exec.Command("unshare", "-pmf", "--mount-proc", "true").Run() == nil, nil
	}
	version, ok := strings.CutPrefix(cond, "etcd:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	return serverBinary(version) != "", nil
}

// serverBinary returns the etcd executable of a version, or "".
func serverBinary(version string) string {
	dir := os.Getenv("ETCDX_ETCD_DIR")
	if dir == "" {
		return ""
	}
	file := filepath.Join(dir, "etcd-"+version)
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}
