package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// versions are the releases that the tests and servers are built from.
type versions struct{ etcd, last string }

// build makes the test programs and servers in dir, unless they are there.
func build(ctx context.Context, dir string, v versions) error {
	done := filepath.Join(dir, "ready")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	fmt.Fprintln(os.Stderr, "e2e: building the tests of etcd", v.etcd, "in", dir)
	const etcd = "go.etcd.io/etcd/"
	bin := filepath.Join(dir, "bin")
	suite := module{ctx: ctx, dir: filepath.Join(dir, "suite")}
	// The tests' own go.mod replaces its siblings, which counts for nothing here: each is asked for by its version.
	suite.do("get", "-t", etcd+"tests/v3/e2e@v"+v.etcd, etcd+"tests/v3/common@v"+v.etcd, etcd+"server/v3@v"+v.etcd, etcd+"etcdutl/v3@v"+v.etcd, etcd+"etcdctl/v3@v"+v.etcd)
	for _, pkg := range []string{"e2e", "common"} {
		suite.do("test", "-c", "-tags", "e2e", "-o", filepath.Join(bin, pkg+".test"), etcd+"tests/v3/"+pkg)
	}
	suite.do("build", "-o", filepath.Join(bin, "etcd"), etcd+"server/v3")
	suite.do("build", "-o", filepath.Join(bin, "etcdutl"), etcd+"etcdutl/v3")
	source := strings.TrimSpace(suite.do("list", "-m", "-f", "{{.Dir}}", etcd+"tests/v3"))
	last := module{ctx: ctx, dir: filepath.Join(dir, "last"), err: suite.err}
	last.do("get", etcd+"server/v3@v"+v.last)
	last.do("build", "-o", filepath.Join(bin, "etcd-last-release"), etcd+"server/v3")
	if last.err != nil {
		return last.err
	}
	fixtures := filepath.Join(dir, "fixtures")
	if err := os.RemoveAll(fixtures); err != nil {
		return err
	}
	if err := os.CopyFS(fixtures, os.DirFS(filepath.Join(source, "fixtures"))); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}

// module is a module made up to build from. After an error it does nothing more.
type module struct {
	ctx context.Context
	dir string
	err error
}

// do runs the go command in the module and returns what it prints.
func (m *module) do(args ...string) string {
	if m.err != nil {
		return ""
	}
	file := filepath.Join(m.dir, "go.mod")
	if _, err := os.Stat(file); err != nil {
		if m.err = os.MkdirAll(m.dir, 0o755); m.err != nil {
			return ""
		}
		if m.err = os.WriteFile(file, []byte("module e2e.invalid\n\ngo 1.26\n"), 0o644); m.err != nil {
			return ""
		}
	}
	cmd := exec.CommandContext(m.ctx, "go", args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		m.err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
