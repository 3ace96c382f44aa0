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
	for deadline := time.Now().Add(stopTimeout); !threadsStopped(p.cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("it does not stop")
		}
	}
	return nil
}

// stopTimeout is how long a stopped process' threads may go on, on a busy machine.
const stopTimeout = 5 * time.Second

func (p *process) cont() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
