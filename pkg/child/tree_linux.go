package child

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tree is a command with its descendants. Orphans come to this process, because it is a subreaper.
type tree struct {
	marks []string // in the environment of the command and whoever inherits it; the first is this command's alone
	sole  bool
	own   bool // the command has a process group of its own
	// others says which children of this process are not of the tree.
	others func(pid int) bool
}

func newTree(c *Command) (*tree, error) {
	if err := Adopt(); err != nil {
		return nil, err
	}
	b := make([]byte, 8)
	rand.Read(b) // never fails
	others := c.Others
	if others == nil {
		others = func(int) bool { return false }
	}
	marks := []string{"ETCDX_CHILD=" + hex.EncodeToString(b)}
	if c.Mark != "" {
		marks = append(marks, markVariable+c.Mark)
	}
	return &tree{marks: marks, sole: c.Sole, own: !c.Terminal, others: others}, nil
}

// Adopt makes this process the parent of every descendant whose own parent dies.
func Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	return nil
}

func (t *tree) env(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	return append(slices.Clip(env), t.marks...)
}

func (t *tree) prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: t.own}
}

func (t *tree) started(*exec.Cmd) error { return nil }
func (t *tree) close()                  {}

func (t *tree) signal(cmd *exec.Cmd, sig os.Signal) error { return signalProcess(cmd, sig, t.own) }

// members returns the processes of the tree, the command itself included while it lives.
func (t *tree) members(cmd *exec.Cmd) []int {
	if t.sole && childless() {
		return nil
	}
	procs := processes()
	self, root := os.Getpid(), cmd.Process.Pid
	var found []int
	for pid, p := range procs {
		if pid != root && !p.zombie && t.contains(procs, pid, root, self) {
			found = append(found, pid)
		}
	}
	if p, ok := procs[root]; ok && p.parent == self && !p.zombie {
		found = append(found, root)
	}
	slices.Sort(found)
	return found
}

// childless says whether this process has no child, not even an ended one. Every orphan comes to this process, so nothing is
// left of its descendants then; and that costs no look at all the processes of the machine.
func childless() bool {
	_, _, err := peek(unix.P_ALL, 0)
	return errors.Is(err, unix.ECHILD)
}

// contains says whether pid descends from root, or from an orphan of the tree that this process adopted.
func (t *tree) contains(procs map[int]process, pid, root, self int) bool {
	for range len(procs) {
		p, ok := procs[pid]
		switch {
		case !ok:
			return false
		case pid == root || p.parent == root:
			return true
		case p.parent == self:
			return t.sole && !t.others(pid) || marked(pid, t.marks[0])
		}
		pid = p.parent
	}
	return false
}

// marked says whether a process was started with mark in its environment.
func marked(pid int, mark string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return string(v) == mark })
}

func (t *tree) empty(cmd *exec.Cmd) bool {
	if t.sole {
		reap(t.foreign(cmd))
	}
	return len(t.members(cmd)) == 0
}

// signalAll sends sig to every process of the tree; those that are stopped go on to receive it.
func (t *tree) signalAll(cmd *exec.Cmd, sig os.Signal) {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	all := t.members(cmd)
	if len(all) == 0 || !haveProc() { // then those that have not left the command's group are not among them
		_ = t.signal(cmd, sig)
		all = slices.DeleteFunc(all, func(pid int) bool { return pid == cmd.Process.Pid })
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, s)
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// killAll sends SIGKILL to every process of the tree, and returns those it found.
func (t *tree) killAll(cmd *exec.Cmd) []int {
	if t.sole && !haveProc() {
		_ = t.signal(cmd, syscall.SIGKILL)
		return sweep(t.others, t.foreign(cmd))
	}
	all := t.members(cmd)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	t.bury(cmd, all)
	return all
}

// bury reaps adopted processes: all of them if the command is this process's only one, else those that were just killed.
func (t *tree) bury(cmd *exec.Cmd, killed []int) {
	if t.sole {
		reap(t.foreign(cmd))
		return
	}
	for _, pid := range killed {
		if pid != cmd.Process.Pid {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// reap reaps orphans as they end, until the returned function is called.
func (t *tree) reap(cmd *exec.Cmd) (stop func()) {
	if !t.sole {
		return func() {}
	}
	return Reap(t.foreign(cmd))
}

// foreign says whose end is none of the tree's business: that of the command itself, whose status os/exec waits for, and of
// other children of this process.
func (t *tree) foreign(cmd *exec.Cmd) func(pid int) bool {
	return func(pid int) bool { return pid == cmd.Process.Pid || t.others(pid) }
}

// reap takes note of the end of children of this process. It stops at one that is not to be touched: somebody waits for that.
func reap(except func(pid int) bool) {
	for {
		pid, ended, err := peek(unix.P_ALL, 0)
		if err != nil || !ended || except(pid) {
			return
		}
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	}
}

// peek looks at a child of this process, or at any that has ended, and leaves its status to others. The error is ECHILD if
// there is no such child.
func peek(kind, id int) (pid int, ended bool, err error) {
	var info unix.Siginfo
	err = unix.Waitid(kind, id, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil || info.Signo == 0 {
		return 0, false, err
	}
	// In the kernel's siginfo_t the process ID follows three numbers, aligned as a pointer is.
	const align = unsafe.Sizeof(uintptr(0))
	offset := (unsafe.Offsetof(info.Code) + unsafe.Sizeof(info.Code) + align - 1) &^ (align - 1)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset))), true, nil
}

// KillDescendants kills every process below this one and reaps all but except, which is left to its waiter. It returns
// those that are still there after limit. It is for a process whose only child has died, or has stopped doing its work.
func KillDescendants(except int, limit time.Duration) (left []int) {
	t := &tree{sole: true, others: func(int) bool { return false }}
	// The command is this process itself: whatever is below it belongs to the tree.
	self := os.Getpid()
	for deadline := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		if !haveProc() {
			left = sweep(t.others, func(pid int) bool { return pid == except })
			if childless() {
				return nil
			} else if time.Now().After(deadline) {
				return left
			}
			continue
		}
		procs := processes()
		left = left[:0]
		for pid, p := range procs {
			if pid != self && !p.zombie && t.contains(procs, pid, self, -1) {
				left = append(left, pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		reap(func(pid int) bool { return pid == except })
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// markVariable holds a command's Mark in its environment.
const markVariable = "ETCDX_CHILDREN="

// KillMarked kills all that commands with that Mark started and that is still there, because the process that looked after them was
// killed itself. It returns those that are still there after limit. A process that cleared its environment is not found.
func KillMarked(mark string, limit time.Duration) (left []int) {
	self, quiet := os.Getpid(), 0
	for deadline := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		left = left[:0]
		for pid, p := range processes() {
			if pid != self && !p.zombie && marked(pid, markVariable+mark) {
				left = append(left, pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		// Twice, because one that was started meanwhile may have been overlooked.
		if quiet++; len(left) > 0 {
			quiet = 0
		}
		if quiet == 2 || time.Now().After(deadline) {
			return left
		}
	}
}

// Lives says whether a process has not ended. One that its parent has not waited for yet has.
func Lives(p *os.Process) bool {
	if err := p.Signal(syscall.Signal(0)); err != nil && !errors.Is(err, os.ErrPermission) {
		return false
	}
	stat, ok := readStat(strconv.Itoa(p.Pid), make([]byte, 512))
	return !ok && !haveProc() || ok && !stat.zombie
}

func haveProc() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}

// process is what /proc says about one.
type process struct {
	parent int
	// zombie says that all of its threads have ended. While others live, a process whose first thread has ended looks like a zombie,
	// and still holds its files.
	zombie bool
}

// Reap takes note of the end of the children of this process, but for except, until the returned function is called: those
// that it adopted would stay as zombies.
func Reap(except func(pid int) bool) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-time.After(time.Second):
				reap(except)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// processes returns every process there is, or, without /proc, the children of this one. /proc/PID/task/TID/children would be shorter, but not every kernel has it, and
// it is no less of a snapshot: whoever kills has to look until nothing is found.
func processes() map[int]process {
	if !haveProc() {
		return nearChildren()
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil && !errors.Is(err, os.ErrNotExist) && len(names) == 0 {
		return nil
	}
	all := make(map[int]process, len(names))
	buf := make([]byte, 512)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readStat(name, buf); ok {
			all[pid] = p
		}
	}
	return all
}

// readStat parses "PID (NAME) STATE PARENT ..."; the name may hold anything, so the last ')' ends it.
func readStat(pid string, buf []byte) (process, bool) {
	fd, err := syscall.Open("/proc/"+pid+"/stat", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return process{}, false
	}
	n, err := syscall.Read(fd, buf)
	_ = syscall.Close(fd)
	if err != nil || n <= 0 {
		return process{}, false
	}
	_, rest, ok := bytes.Cut(buf[:n], []byte(" "))
	end := bytes.LastIndexByte(rest, ')')
	if !ok || end < 0 {
		return process{}, false
	}
	fields := bytes.Fields(rest[end+1:])
	const threads = 17 // num_threads is the 20th field of proc_pid_stat(5); these begin with the third
	if len(fields) <= threads {
		return process{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	ended := (fields[0][0] == 'Z' || fields[0][0] == 'X') && len(fields[threads]) == 1 && fields[threads][0] <= '1'
	return process{parent: parent, zombie: ended}, err == nil
}
