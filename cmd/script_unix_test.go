//go:build unix

package cmd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func signals() map[string]syscall.Signal {
	return map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL,
		"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	}
}

// jobGroup puts a job in a process group of its own, so that what it leaves can be ended.
func jobGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (j *job) killGroup() {
	_ = syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL)
	<-j.ended
}

func signalOf(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return int(ws.Signal())
	}
	return 0
}

// processLives says whether pid is a process that has not ended. One that nobody has waited for yet has.
func processLives(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !os.IsNotExist(err) || !procMounted()
	}
	// pid (name) state: the name may hold anything, parentheses too.
	_, after, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

func procMounted() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}

// strayGrace is how long a script's processes may take to end by themselves after its jobs were killed.
const strayGrace = 3 * time.Second

// killStrays ends the processes that have work as their $WORK, and returns a line for each. It finds none where there is no /proc.
func killStrays(work string) string {
	for deadline := time.Now().Add(strayGrace); strays(work, false) != ""; time.Sleep(poll) {
		if time.Now().After(deadline) {
			return strays(work, true)
		}
	}
	return ""
}

func strays(work string, kill bool) string {
	var left strings.Builder
	mark := []byte("\x00WORK=" + work + "\x00")
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(append([]byte{0}, env...), mark) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || !processLives(pid) {
			continue
		}
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		fmt.Fprintf(&left, "%d %s\n", pid, bytes.ReplaceAll(args, []byte{0}, []byte{' '}))
		if kill {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return left.String()
}
