//go:build unix

package main

import "syscall"

// apart puts a process in a session of its own, where no terminal's signals reach it.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
