//go:build unix && !linux

package child

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// tree is a command's process group, or the command alone when it shares the group of this process.
type tree struct{ own bool }

func newTree(c *Command) (*tree, error) { return &tree{own: !c.Terminal}, nil }

// Adopt does nothing: there are no subreapers here.
func Adopt() error { return nil }

// Reap does nothing: there are no orphans here.
func Reap(func(pid int) bool) (stop func()) { return func() {} }

// KillMarked does nothing: without /proc they cannot be found.
func KillMarked(string, time.Duration) (left []int) { return nil }

// KillDescendants does nothing: without subreapers they cannot be found.
func KillDescendants(int, time.Duration) (left []int) { return nil }

// Lives says whether a process has not ended, or its parent has not waited for it yet.
func Lives(p *os.Process) bool {
	err := p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}

func (t *tree) env(env []string) []string { return env }
func (t *tree) prepare(cmd *exec.Cmd)     { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: t.own} }
func (t *tree) started(*exec.Cmd) error   { return nil }
func (t *tree) close()                    {}

func (t *tree) signal(cmd *exec.Cmd, sig os.Signal) error { return signalProcess(cmd, sig, t.own) }

func (t *tree) signalAll(cmd *exec.Cmd, sig os.Signal) {
	_ = t.signal(cmd, sig)
	_ = t.signal(cmd, syscall.SIGCONT)
}

// members returns the group, by the ID of its leader, while anybody is in it.
func (t *tree) members(cmd *exec.Cmd) []int {
	if t.own && syscall.Kill(-cmd.Process.Pid, 0) == nil {
		return []int{cmd.Process.Pid}
	}
	return nil
}

func (t *tree) empty(cmd *exec.Cmd) bool { return len(t.members(cmd)) == 0 }

func (t *tree) killAll(cmd *exec.Cmd) []int {
	all := t.members(cmd)
	_ = t.signal(cmd, syscall.SIGKILL)
	return all
}

func (t *tree) reap(*exec.Cmd) (stop func()) { return Reap(nil) }
