package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"
)

// guard is a process that cleans up after this one. It is told what there is to clean up through a pipe, whose end
// tells it that this process has gone: unlike Linux's parent-death signal, that works everywhere, and whichever thread ends.
type guard struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	pipe io.WriteCloser
}

func startGuard(dir string) (*guard, error) {
	cmd, err := reexec(roleGuard)
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = ownGroup()
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &guard{pipe: pipe, cmd: cmd}
	return g, g.tell("dir", dir)
}

func (g *guard) tell(what, arg string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := fmt.Fprintf(g.pipe, "%s %s\n", what, arg); err != nil {
		return fmt.Errorf("the lab's guard: %w", err)
	}
	return nil
}

func (g *guard) watch(pid int) error  { return g.tell("pid", strconv.Itoa(pid)) }
func (g *guard) forget(pid int) error { return g.tell("gone", strconv.Itoa(pid)) }

// release lets the guard end; it does what is left to do.
func (g *guard) release() error {
	_ = g.pipe.Close()
	return g.cmd.Wait()
}

// runGuard is the guard's process: it learns from in what is there, and removes it when in ends.
func runGuard(in io.Reader) {
	signal.Ignore(os.Interrupt)
	ignoreHangup()
	dir, pids := "", map[int]bool{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		what, arg, _ := strings.Cut(lines.Text(), " ")
		pid, _ := strconv.Atoi(arg)
		switch what {
		case "dir":
			dir = arg
		case "pid":
			pids[pid] = true
		case "gone":
			delete(pids, pid)
		}
	}
	for pid := range pids {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	if dir == "" {
		return
	}
	// A member that is just being killed may still make a file.
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for range 50 {
		err := os.RemoveAll(dir)
		if err == nil && !alive(pids) {
			return
		}
		<-look.C
	}
}
