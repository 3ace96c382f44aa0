//go:build unix

package lab

import "syscall"

// ownGroup keeps the terminal's signals away: Ctrl-C is for whoever runs the lab, which then ends the members.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	awaitStop(p.cmd.Process.Pid)
	return nil
}

func (p *process) cont() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
