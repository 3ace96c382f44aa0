package lab

import "golang.org/x/sys/unix"

// awaitStop returns when the child has stopped: a signal takes effect later than kill(2) returns, on a busy machine
// late enough for one more request to be answered. A child that ends instead is no longer there to wait for.
func awaitStop(pid int) {
	for {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOWAIT, nil); err != unix.EINTR {
			return
		}
	}
}
