package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// program is one of the two that are compared.
type program struct {
	name, path string
	env        []string
}

// build builds the programs that no flag names.
func (b *bench) build(ctx context.Context) error {
	b.etcdx.name, b.etcdctl.name = "etcdx", "etcdctl"
	for p, pkg := range map[*program]string{&b.etcdx: ".", &b.etcdctl: "go.etcd.io/etcd/etcdctl/v3"} {
		// Both get the same empty home. etcdx keeps there what it learns about endpoints, as it does for a user.
		p.env = append(os.Environ(), "HOME="+b.dir, "XDG_STATE_HOME="+filepath.Join(b.dir, "state"), "XDG_CONFIG_HOME="+filepath.Join(b.dir, "config"))
		if p.path != "" {
			continue
		}
		p.path = filepath.Join(b.dir, p.name)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", p.path, pkg)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
	}
	return nil
}

// outcome is how one call of a program ended.
type outcome struct {
	took     time.Duration
	code     int
	out, err string
}

// lastLine returns the last line for people that is not a hint.
func (o outcome) lastLine() string {
	last := ""
	for line := range strings.Lines(o.err) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "hint: ") {
			last = line
		}
	}
	return last
}

// call runs p to its end.
func (p program) call(ctx context.Context, args ...string) (outcome, error) {
	cmd := exec.CommandContext(ctx, p.path, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errOut, p.env
	began := time.Now()
	err := cmd.Run()
	o := outcome{took: time.Since(began), out: out.String(), err: errOut.String(), code: cmd.ProcessState.ExitCode()}
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		err = ctx.Err()
	}
	return o, err
}

// forgetful returns p with a state directory of its own, as on its first call ever.
func (b *bench) forgetful(p program) (program, error) {
	dir, err := os.MkdirTemp(b.dir, "state-")
	p.env = append(p.env[:len(p.env):len(p.env)], "XDG_STATE_HOME="+dir)
	return p, err
}
