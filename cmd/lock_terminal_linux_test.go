package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/etcdx/etcdx/pkg/lab"
)

// terminal is a shell with job control on a pseudo terminal, as people have it.
type terminal struct {
	t      *testing.T
	master *os.File
	shell  *exec.Cmd
	dir    string

	mu   sync.Mutex
	text strings.Builder
	seen int // what expect has looked at
}

// typed waits this long for what people see at once.
const typed = 10 * time.Second

// newTerminal starts a shell that finds etcdx, etcdctl and a cluster.
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	cluster, err := lab.Start(t.Context(), lab.Config{Members: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, name := range []string{"etcdx", "etcdctl", "sigints"} {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	blocking, slave := openTerminal(t)
	master := unblocked(t, blocking)
	x := &terminal{t: t, master: master, dir: t.TempDir()}
	x.shell = exec.Command("/bin/sh", "-i")
	x.shell.Dir = x.dir
	x.shell.Env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + x.dir, "XDG_STATE_HOME=" + x.dir, "TERM=dumb", "PS1=> ", "ENV=",
		"ETCDCTL_ENDPOINTS=" + cluster.Endpoint(0), "ETCDX_WORK=" + x.dir,
	}
	x.shell.Stdin, x.shell.Stdout, x.shell.Stderr = slave, slave, slave
	x.shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.shell.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for buf := make([]byte, 4096); ; {
			n, err := master.Read(buf)
			x.mu.Lock()
			x.text.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = x.shell.Process.Kill()
		_ = x.shell.Wait()
		_ = master.Close()
		<-read
	})
	x.expect("> ")
	x.script("tick", `echo $$ >pid; echo up; while :; do echo tick >>ticks; sleep 0.05; done`)
	return x
}

// unblocked returns a file whose Close ends a Read, and so hangs up: one whose descriptor was asked for does not.
func unblocked(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	return os.NewFile(uintptr(fd), f.Name())
}

// script writes a shell script for the terminal's directory.
func (x *terminal) script(name, text string) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.dir, name), []byte(text+"\n"), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// types types keys.
func (x *terminal) types(keys string) {
	x.t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// expect waits until what was printed since the last expect matches, and returns the match.
func (x *terminal) expect(pattern string) string {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(typed); ; time.Sleep(poll) {
		x.mu.Lock()
		text := x.text.String()
		at := re.FindStringIndex(text[x.seen:])
		if at != nil {
			found := text[x.seen+at[0] : x.seen+at[1]]
			x.seen += at[1]
			x.mu.Unlock()
			return found
		}
		x.mu.Unlock()
		if time.Now().After(deadline) {
			x.t.Fatalf("%q was not printed:\n%s", pattern, text)
		}
	}
}

// code wants the exit code of the last command.
func (x *terminal) code(want int) {
	x.t.Helper()
	x.types("echo code=$?.\n")
	if got := x.expect(`code=\d+\.`); got != "code="+strconv.Itoa(want)+"." {
		x.t.Errorf("%s, want %d", got, want)
	}
}

// pid returns the process ID that the command tick wrote down.
func (x *terminal) pid() int {
	x.t.Helper()
	text, err := os.ReadFile(filepath.Join(x.dir, "pid"))
	if err != nil {
		x.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		x.t.Fatal(err)
	}
	return pid
}

// ticks returns how often the command tick has gone round.
func (x *terminal) ticks() int {
	text, _ := os.ReadFile(filepath.Join(x.dir, "ticks"))
	return strings.Count(string(text), "tick")
}

// await waits for something to happen.
func (x *terminal) await(what string, happened func() bool) {
	x.t.Helper()
	for deadline := time.Now().Add(typed); !happened(); time.Sleep(poll) {
		if time.Now().After(deadline) {
			x.mu.Lock()
			text := x.text.String()
			x.mu.Unlock()
			x.t.Fatalf("not within %v: %s\n%s", typed, what, text)
		}
	}
}

// sigints returns how many SIGINTs the command sigints has got.
func (x *terminal) sigints() int {
	text, _ := os.ReadFile(filepath.Join(x.dir, "sigints"))
	return strings.Count(string(text), "\n")
}

// TestLockPassesCtrlC: each Ctrl-C reaches the command once, though both processes of etcdx get it, too; so does a SIGINT to
// the process that people see. What the command does about it decides.
func TestLockPassesCtrlC(t *testing.T) {
	t.Parallel()
	x := newTerminal(t)
	x.script("front", "echo $$ >pid; exec etcdx lock a sigints")
	x.types("sh front\n")
	x.expect(`up\r\n`)
	for n, step := range []struct {
		what   string
		do     func()
		settle bool
	}{
		{"Ctrl-C", func() { x.types("\x03") }, true},
		{"Ctrl-C, again", func() { x.types("\x03") }, false},
		{"Ctrl-C, at once after the last one", func() { x.types("\x03") }, true},
		{"SIGINT to the front", func() { _ = syscall.Kill(x.pid(), syscall.SIGINT) }, true},
		{"Ctrl-C after that", func() { x.types("\x03") }, true},
	} {
		step.do()
		x.await(step.what, func() bool { return x.sigints() > n })
		if step.settle {
			time.Sleep(2 * both) // one too many would come from the other process within that time
		}
		if got := x.sigints(); got != n+1 {
			t.Fatalf("%s: %d SIGINTs, want %d", step.what, got, n+1)
		}
	}
	x.types("\n")
	x.expect("> ")
	x.code(5)
	x.types("etcdx lock a -- sh tick\n")
	x.expect(`up\r\n`)
	x.types("\x03")
	x.expect("> ")
	x.code(130)
	if processLives(x.pid()) {
		t.Error("the command outlived Ctrl-C")
	}
}

// TestLockStopsAndGoesOn: Ctrl-Z stops the command with the lock command, the lock is kept for longer than its lease would
// live, and fg lets both go on.
func TestLockStopsAndGoesOn(t *testing.T) {
	t.Parallel()
	x := newTerminal(t)
	x.types("etcdx lock --ttl 5 a -- sh tick\n")
	x.expect(`up\r\n`)
	x.await("the command works", func() bool { return x.ticks() > 1 })
	x.types("\x1a")
	x.expect("Stopped|suspended")
	before := x.ticks()
	time.Sleep(6 * time.Second) // longer than the lease
	if n := x.ticks(); n > before+1 {
		t.Errorf("the command went on after Ctrl-Z: %d ticks, then %d", before, n)
	}
	x.types("etcdx lock -q -n a true; echo other=$?.\n")
	if got := x.expect(`other=\d+\.`); got != "other=75." {
		t.Errorf("another contender for the lock of a stopped command ended with %s", got)
	}
	x.types("fg\n")
	x.await("the command goes on", func() bool { return x.ticks() > before+2 })
	x.types("\x03")
	x.expect("> ")
	x.code(130)
	x.types("etcdx lock -n a true\n")
	x.expect("> ")
	x.code(0)
}

// TestLockLetsItsCommandRead: what is typed goes to the command, which has the terminal.
func TestLockLetsItsCommandRead(t *testing.T) {
	t.Parallel()
	x := newTerminal(t)
	x.script("ask", `printf 'name? '; read name; test -t 0 && test -t 1 && echo "hello $name"; exit 7`)
	x.types("etcdx lock a -- sh ask\n")
	x.expect(`name\? `)
	x.types("Ada\n")
	x.expect(`\r\nhello Ada\r\n`)
	x.code(7)
	x.types("etcdx lock a cat\n")
	x.types("line\n")
	x.expect(`line\r\nline\r\n`)
	x.types("\x04")
	x.expect("> ")
	x.code(0)
	x.types("etcdx lock a sh nosuchfile\n") // and the shell still has its terminal
	x.expect("nosuchfile")
	x.types("echo still $((20+3))\n")
	x.expect("still 23")
}

// TestLockEndsWithItsTerminal: when the terminal goes away, the command does, too.
func TestLockEndsWithItsTerminal(t *testing.T) {
	t.Parallel()
	x := newTerminal(t)
	x.types("etcdx lock a -- sh tick\n")
	x.expect(`up\r\n`)
	pid := x.pid()
	_ = x.master.Close()
	x.await("the command has ended", func() bool { return !processLives(pid) })
}
