//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// markVar is in the environment of every process that a campaign starts, with the campaign's directory as its value: it
// finds what was left behind.
const markVar = "ETCDX_CAMPAIGN"

// tool is the program under test, run as a user would.
type tool struct {
	path string
	// ctl is set for etcdctl: none of etcdx's own flags and codes.
	ctl bool
	env []string
	// flags go before the arguments of every command.
	flags []string
	// timeout bounds a short command; it is etcdctl's default.
	timeout time.Duration
}

// buildTool builds etcdx or etcdctl from this module into dir; any other name is the path of an executable of either kind.
func buildTool(ctx context.Context, name, dir string) (tool, error) {
	t := tool{path: filepath.Join(dir, name), ctl: strings.HasPrefix(filepath.Base(name), "etcdctl"), timeout: 5 * time.Second}
	var pkg string
	switch name {
	case "etcdx":
		pkg = "github.com/etcdx/etcdx"
	case "etcdctl":
		pkg = "go.etcd.io/etcd/etcdctl/v3"
	default:
		var err error
		t.path, err = filepath.Abs(name)
		return t, err
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-o", t.path, pkg).CombinedOutput()
	if err != nil {
		return t, fmt.Errorf("build %s: %w: %s", name, err, out)
	}
	return t, nil
}

// point makes the tool talk to a cluster, with its files in dir.
func (t *tool) point(c *lab.Cluster, user, dir string) error {
	t.flags = []string{"--endpoints=" + strings.Join(c.Endpoints(), ",")}
	t.env = []string{markVar + "=" + dir, "NO_COLOR=1", "PATH=" + os.Getenv("PATH")}
	for name, sub := range map[string]string{
		"HOME": "home", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_RUNTIME_DIR": "run", "TMPDIR": "tmp",
	} {
		path := filepath.Join(dir, sub)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		t.env = append(t.env, name+"="+path)
	}
	for name, value := range map[string]string{
		"ETCDCTL_CACERT": c.CACert(), "ETCDCTL_CERT": c.ClientCert(), "ETCDCTL_KEY": c.ClientKey(), "ETCDCTL_USER": user,
	} {
		if value != "" {
			t.env = append(t.env, name+"="+value)
		}
	}
	return nil
}

// command returns the command that runs the tool. It is not bound to a context: a promise about how long it takes is checked,
// not enforced, up to hangAfter.
func (t tool) command(args ...string) *exec.Cmd {
	cmd := exec.Command(t.path, append(append([]string{}, t.flags...), args...)...)
	cmd.Env = t.env
	return cmd
}

// hangAfter is when a short command is taken for hung and killed.
const hangAfter = 30 * time.Second

// output runs a short command and returns what it printed and its exit code; -1 if it was killed for hanging.
func (t tool) output(args ...string) (stdout []byte, code int, said string) {
	return t.input("", args...)
}

// input is output of a command that reads text.
func (t tool) input(text string, args ...string) (stdout []byte, code int, said string) {
	cmd := t.command(args...)
	cmd.Stdin = strings.NewReader(text)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return nil, -1, err.Error()
	}
	hung := time.AfterFunc(hangAfter, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	err := cmd.Wait()
	return []byte(out.String()), exitCode(err), bothEnds(errs.String())
}

// exitCode returns a command's exit code, 128+n if signal n ended it, -1 if it never ran.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return statusCode(e)
	}
	return -1
}

// bothEnds returns the first and the last line of what a command said: what happened, and why at the last endpoint.
func bothEnds(text string) string {
	first, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	if last := lastLine(text); more && last != first {
		first += " ... " + last
	}
	return first
}

// lastLine returns the last line of what a command said, hints left out.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for len(lines) > 1 && strings.Contains(lines[len(lines)-1], "hint:") {
		lines = lines[:len(lines)-1]
	}
	return lines[len(lines)-1]
}
