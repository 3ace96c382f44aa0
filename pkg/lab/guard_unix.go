//go:build unix

package lab

import (
	"os/signal"
	"syscall"
)

// ignoreHangup keeps the guard at work when the terminal closes or the session is told to end.
func ignoreHangup() { signal.Ignore(syscall.SIGHUP, syscall.SIGTERM) }

// alive says whether any of pids is a process.
func alive(pids map[int]bool) bool {
	for pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			return true
		}
	}
	return false
}
