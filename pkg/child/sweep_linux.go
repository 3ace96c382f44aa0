package child

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Without /proc the kernel does not say who descends from this process. But it does say of every process ID whether that is a
// child; and as orphans come to this process, whoever kills all of its children again and again has killed all of its descendants.

const (
	// mostProcesses is the largest process ID that Linux can be told to give (PID_MAX_LIMIT).
	mostProcesses = 1 << 22
	// window is how many process IDs are asked about at a time, which takes some milliseconds. Descendants are usually in the
	// first one: process IDs are given in their order.
	window = 1 << 14
	// sweepTime bounds a sweep: all process IDs may take seconds.
	sweepTime = 2 * time.Second
)

// nearChildren returns the children of this process whose IDs come soon after its own.
func nearChildren() map[int]process {
	self := os.Getpid()
	all := map[int]process{}
	for pid := self + 1; pid <= self+window; pid++ {
		if ended, ok := childOf(pid); ok {
			all[pid] = process{parent: self, zombie: ended}
		}
	}
	return all
}

// childOf says whether a process is a child of this one, and whether it has ended.
func childOf(pid int) (ended, ok bool) {
	const flags = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT
	// Raw, because it does not block, and there are many.
	if _, _, errno := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(pid), 0, flags, 0, 0); errno != 0 {
		return false, false
	}
	_, ended, err := peek(unix.P_PID, pid)
	return ended, err == nil
}

// sweep kills the children of this process, but for spared ones, until there is none or it has taken too long, and reaps all but those
// that are somebody's. It returns those that it found alive. What they leave behind, a next sweep finds.
func sweep(spared, somebodys func(pid int) bool) (found []int) {
	self := os.Getpid()
	for begun, n := time.Now(), 0; n < mostProcesses/window && !childless() && time.Since(begun) < sweepTime; n++ {
		first := (self + n*window) % mostProcesses
		for pid := first; pid < first+window; pid++ {
			if ended, ok := childOf(pid); ok && !ended && !spared(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				found = append(found, pid)
			}
		}
		reap(somebodys)
	}
	return found
}
