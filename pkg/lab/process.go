package lab

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// RunIfMember runs this process as a part of a lab if Start started it as one; the process then ends with code.
// Otherwise it returns was == false at once. Every program that calls Start calls it first: in main, or in TestMain.
func RunIfMember() (code int, was bool) {
	switch os.Getenv(roleVar) {
	case roleMember:
		// The member's own guard against a name that it would take for a setting.
		_ = os.Unsetenv(roleVar)
		etcdmain.Main(append([]string{"etcd"}, os.Args[1:]...))
		return 0, true
	case roleGuard:
		runGuard(os.Stdin)
		return 0, true
	}
	return 0, false
}

// process is a started program.
type process struct {
	cmd *exec.Cmd
	// ended is closed when the program has ended and been waited for.
	ended chan struct{}
}

// startProcess runs a program apart from the terminal's process group, with its output going to log.
func startProcess(cmd *exec.Cmd, log *os.File) (*process, error) {
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// reexec returns a command that runs this executable in a role.
func reexec(role string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(cleanEnv(), roleVar+"="+role)
	return cmd, nil
}

// cleanEnv is the environment without what etcd would take for its own settings, and without proxies.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(k, "ETCD_") && !strings.HasSuffix(strings.ToLower(k), "_proxy") {
			env = append(env, kv)
		}
	}
	return env
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends the process, stopped or not, and waits until it has gone.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill()
	}
	<-p.ended
}

// terminate asks the process to end and kills it after grace.
func (p *process) terminate(grace time.Duration) {
	if p.running() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.ended:
	case <-t.C:
		p.kill()
	}
}
