package child

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// tree is a job object: the kernel puts every descendant into it, and ends it when this process does.
type tree struct{ job windows.Handle }

func newTree(*Command) (*tree, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("create a job object: %w", err)
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		_ = windows.CloseHandle(job)
		return nil, fmt.Errorf("limit a job object: %w", err)
	}
	return &tree{job: job}, nil
}

// Adopt does nothing: there are no orphans here.
func Adopt() error { return nil }

// Reap does nothing: there are no orphans here.
func Reap(func(pid int) bool) (stop func()) { return func() {} }

// KillMarked does nothing: the kernel has ended them with their job object.
func KillMarked(string, time.Duration) (left []int) { return nil }

// KillDescendants does nothing: the job object has ended them.
func KillDescendants(int, time.Duration) (left []int) { return nil }

func (t *tree) env(env []string) []string { return env }
func (t *tree) prepare(*exec.Cmd)         {}
func (t *tree) close()                    { _ = windows.CloseHandle(t.job) }

// started puts the command into the job. What it started in the microseconds before that is not in it.
func (t *tree) started(cmd *exec.Cmd) error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(t.job, h)
		_ = windows.CloseHandle(h)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("assign to a job object: %w", err)
	}
	return nil
}

// signal can only kill: Windows has no signals.
func (t *tree) signal(cmd *exec.Cmd, sig os.Signal) error {
	if sig == syscall.SIGKILL {
		return windows.TerminateJobObject(t.job, 1)
	}
	return cmd.Process.Signal(sig)
}

func (t *tree) signalAll(*exec.Cmd, os.Signal) {}

// members returns the command's ID while anybody is in the job.
func (t *tree) members(cmd *exec.Cmd) []int {
	var info struct {
		TotalUser, TotalKernel, PeriodUser, PeriodKernel    int64
		Faults, Processes, ActiveProcesses, TerminatedTotal uint32
	}
	err := windows.QueryInformationJobObject(t.job, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil)
	if err != nil || info.ActiveProcesses == 0 {
		return nil
	}
	return []int{cmd.Process.Pid}
}

func (t *tree) empty(cmd *exec.Cmd) bool { return len(t.members(cmd)) == 0 }

func (t *tree) killAll(cmd *exec.Cmd) []int {
	all := t.members(cmd)
	_ = windows.TerminateJobObject(t.job, 1)
	return all
}

func (t *tree) reap(*exec.Cmd) (stop func()) { return Reap(nil) }

func status(state *os.ProcessState) (code int, signal string) { return state.ExitCode(), "" }
