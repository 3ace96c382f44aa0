//go:build unix

package cmd

import (
	"os/exec"
	"syscall"
)

func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func signalGroup(c *exec.Cmd, sig syscall.Signal) error { return syscall.Kill(-c.Process.Pid, sig) }
