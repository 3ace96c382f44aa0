//go:build unix

package child

import (
	"os"
	"os/exec"
	"syscall"
)

// signalProcess sends sig to cmd, and to its group if that is its own.
func signalProcess(cmd *exec.Cmd, sig os.Signal, group bool) error {
	s, ok := sig.(syscall.Signal)
	if !ok || !group {
		return cmd.Process.Signal(sig)
	}
	return syscall.Kill(-cmd.Process.Pid, s)
}

// status returns the exit code as a shell would, and the name of the signal that ended the process, if one did.
func status(state *os.ProcessState) (code int, signal string) {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), ws.Signal().String()
	}
	return state.ExitCode(), ""
}
