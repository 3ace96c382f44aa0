package cmd

import (
	"os/exec"
	"syscall"
)

func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// signalGroup ends the command: Windows has no softer way.
func signalGroup(c *exec.Cmd, _ syscall.Signal) error { return c.Process.Kill() }
