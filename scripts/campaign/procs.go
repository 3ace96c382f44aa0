//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/etcdx/etcdx/pkg/lab"
)

func statusCode(e *exec.ExitError) int {
	if s, ok := e.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return e.ExitCode()
}

// procs are the running commands of the long workloads, which may be killed and stopped.
type procs struct {
	mu   sync.Mutex
	runs map[string][]*run // by workload
}

// run is one running command of a workload.
type run struct {
	row string // on the chart
	cmd *exec.Cmd
	// fenced is set for a command that writes in etcd while it holds a lock.
	fenced bool
	// hurt is set when a fault hit one of its processes; guarded by procs.mu.
	hurt []Class
}

func (p *procs) add(workload string, r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs[workload] = append(p.runs[workload], r)
}

// remove forgets a run that has ended, and returns the faults that hit it.
func (p *procs) remove(workload string, r *run) []Class {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs[workload] = slices.DeleteFunc(p.runs[workload], func(o *run) bool { return o == r })
	return r.hurt
}

// choose returns the pick-th process of the tool in a workload's runs, counted round, and its run; 0 if there is none.
// All processes of one run that execute the tool count: any of them may die.
func (p *procs) choose(workload, path string, number int, class Class) (pid int, r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	type candidate struct {
		pid int
		run *run
	}
	var all, busy, writing []candidate // busy: those of runs that have a command at work; writing: a fenced one
	for _, r := range p.runs[workload] {
		var own []candidate
		atWork := false
		for _, pid := range lab.Family(r.cmd.Process.Pid) {
			exe, err := os.Readlink(procFile(pid, "exe"))
			switch {
			case err == nil && exe == path:
				own = append(own, candidate{pid, r})
			case err == nil:
				atWork = true
			}
		}
		all = append(all, own...)
		if atWork {
			busy = append(busy, own...)
		}
		if atWork && r.fenced {
			writing = append(writing, own...)
		}
	}
	switch { // where more is at stake
	case class == Freeze && number%4 != 0 && len(writing) > 0:
		all = writing
	case number%4 != 0 && len(busy) > 0:
		all = busy
	}
	if len(all) == 0 {
		return 0, nil
	}
	c := all[number%len(all)]
	c.run.hurt = append(c.run.hurt, class)
	return c.pid, c.run
}

// commandsOf returns those of a tree of processes, parents first, that are not the tool, and all below them.
func commandsOf(pids []int, path string) []int {
	var all []int
	for _, pid := range pids {
		if exe, err := os.Readlink(procFile(pid, "exe")); err == nil && exe != path && !slices.Contains(all, pid) {
			all = append(all, lab.Family(pid)...)
		}
	}
	return all
}

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// marked returns the processes that a campaign in dir started, except those of this program itself, with their command lines.
func marked(dir string) map[int]string {
	found := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(procFile(pid, "environ"))
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), markVar+"="+dir) {
			continue
		}
		line, _ := os.ReadFile(procFile(pid, "cmdline"))
		found[pid] = string(bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '}))
	}
	return found
}
