package lab

import (
	"errors"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

var errNoStop = errors.New("a process can't be stopped on Windows; cut it off instead")

func (p *process) stop() error { return errNoStop }
func (p *process) cont() error { return errNoStop }
