//go:build unix

package lab

import (
	"errors"
	"syscall"
	"time"
)

// ownGroup keeps the terminal's signals away: Ctrl-C is for whoever runs the lab, which then ends the members.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// stop stops the process and returns when it has: the signal alone only asks for that.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	for !threadsStopped(p.cmd.Process.Pid) {
		select {
		case <-look.C:
		case <-timeout.C:
			return errors.New("it does not stop")
		}
	}
	return nil
}

// stopTimeout is how long a stopped process' threads may go on, on a busy machine.
const stopTimeout = 5 * time.Second

func (p *process) cont() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
