//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Use is what a process of the tool used at most.
type Use struct {
	Line        string // its command line
	Descriptors int
	Memory      int64 // bytes; the kernel's own high-water mark
}

// The bounds. A lock or a watch has a few connections to each of three members; a watch's queue may hold 16 MiB, and Go's collector
// needs as much again.
const (
	mostDescriptors = 64
	mostMemory      = 128 << 20
)

// sampleEvery is how often the processes are looked at.
const sampleEvery = 500 * time.Millisecond

// sample notes what the tool's processes use until ctx ends.
func (c *campaign) sample(ctx context.Context) {
	c.used = map[int]Use{}
	for sleep(ctx, sampleEvery) {
		for pid, line := range marked(c.dir) {
			if exe, err := os.Readlink(procFile(pid, "exe")); err != nil || exe != c.tool.path {
				continue
			}
			u := c.used[pid]
			u.Line = line
			if fds, err := os.ReadDir(procFile(pid, "fd")); err == nil {
				u.Descriptors = max(u.Descriptors, len(fds))
			}
			if status, err := os.ReadFile(procFile(pid, "status")); err == nil {
				u.Memory = max(u.Memory, peakMemory(status))
			}
			c.used[pid] = u
		}
	}
}

// peakMemory reads VmHWM, in bytes, from a process's status file; 0 if it is not there.
func peakMemory(status []byte) int64 {
	_, rest, ok := bytes.Cut(status, []byte("VmHWM:"))
	if !ok {
		return 0
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// CheckUse says which processes used more than they may.
func CheckUse(used map[int]Use) []Violation {
	var found []Violation
	add := func(rule string, pid int, u Use, what string) {
		found = append(found, Violation{Workload: "leaks", Rule: rule, Text: fmt.Sprintf("process %d had %s: %s", pid, what, u.Line)})
	}
	for pid, u := range used {
		if u.Descriptors > mostDescriptors {
			add("descriptors", pid, u, fmt.Sprintf("%d open files", u.Descriptors))
		}
		if u.Memory > mostMemory {
			add("memory", pid, u, fmt.Sprintf("%d MiB", u.Memory>>20))
		}
	}
	return found
}

// mostUsed returns the greatest of each.
func mostUsed(used map[int]Use) (most Use) {
	for _, u := range used {
		most.Descriptors, most.Memory = max(most.Descriptors, u.Descriptors), max(most.Memory, u.Memory)
	}
	return most
}
