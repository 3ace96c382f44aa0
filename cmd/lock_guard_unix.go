//go:build unix

package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/etcdx/etcdx/pkg/child"
	"github.com/etcdx/etcdx/pkg/lock"
)

const canGuard = true

// forwarded returns the signals that go to the command.
func forwarded() []os.Signal {
	return append(hangup(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
}

// onTerminal says whether this process has a controlling terminal. The command then stays in its process group, so that
// Ctrl-C and Ctrl-Z reach it and it can read.
func onTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}

// asFront starts the keeper and looks after it.
func (l *lockRun) asFront(ctx context.Context) error {
	if err := child.Adopt(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	var heard <-chan bool
	if l.o.detach {
		signal.Ignore(syscall.SIGPIPE) // who was to be told may have gone
		var err error
		if heard, err = acknowledged(); err != nil {
			return err
		}
	}
	f, err := l.startKeeper(!l.o.detach && onTerminal())
	if err != nil {
		return fmt.Errorf("start the keeper process: %w", err)
	}
	defer f.close()
	f.heard = heard
	// As the first process of a container this one gets every orphan there.
	defer child.Reap(func(pid int) bool { return pid == f.keeper.Process.Pid || l.say.isHook(pid) })()
	return f.watch(ctx, signals)
}

// front is the process that people started, and its view of the keeper.
type front struct {
	l       *lockRun
	keeper  *exec.Cmd
	control *os.File // its end tells the keeper that the front has died
	reports *os.File
	news    chan guardReport
	last    guardReport
	ended   chan struct{} // the keeper has ended
	user    *os.Process   // that a detached lock is for; else nil
	told    bool          // it may know of its lock
	heard   <-chan bool   // whether it does
	wg      sync.WaitGroup
}

func (l *lockRun) startKeeper(terminal bool) (*front, error) {
	self, err := ownProgram()
	if err != nil {
		return nil, err
	}
	controlEnd, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	reports, reportsEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, controlEnd.Close(), control.Close())
	}
	defer func() { _, _ = controlEnd.Close(), reportsEnd.Close() }()
	mode := "apart"
	if terminal {
		mode = "terminal"
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), keeperVariable+"="+mode)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = l.g.streams.In, l.g.streams.Out, l.g.streams.Err
	cmd.ExtraFiles = []*os.File{controlEnd, reportsEnd}
	// In a group of its own, it survives a SIGKILL to the front's group. On a terminal it has to see the same signals.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !terminal}
	var user *os.Process
	if l.o.detach {
		cmd.Stdin, cmd.Stdout = nil, nil // its front's output ends when the lock is held
		if user, err = os.FindProcess(l.o.whilePID); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, control.Close(), reports.Close())
	}
	f := &front{l: l, keeper: cmd, control: control, reports: reports, news: make(chan guardReport, 64), ended: make(chan struct{}), user: user}
	f.wg.Go(func() { readReports(reports, f.news) })
	f.wg.Go(func() {
		_ = cmd.Wait()
		close(f.ended)
	})
	return f, nil
}

func (f *front) close() {
	_, _ = f.control.Close(), f.reports.Close()
	for range f.news { //nolint:revive // empties it, so that its writer ends
	}
	f.wg.Wait()
}

// watch passes signals on until the keeper has ended, and takes its place if it ended too early.
func (f *front) watch(ctx context.Context, signals <-chan os.Signal) error {
	news := f.news
	for {
		select {
		case sig := <-signals:
			_ = f.control.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			_, _ = fmt.Fprintf(f.control, "%d\n", signalNumber(sig))
		case r, ok := <-news:
			if !ok {
				news = nil
				break
			}
			f.last = f.last.merge(r)
			if f.user != nil && r.TTL > 0 && !f.told {
				f.told = true
				f.l.exports(f.last)
			}
		case knows := <-f.heard:
			f.heard, f.told = nil, knows
			if !knows {
				return f.takeOver(ctx, "is not needed: nobody is there to be told")
			}
		case <-f.ended:
			return f.keeperEnded(ctx)
		case <-time.After(f.patience()):
			if f.overdue() {
				return f.takeOver(ctx, "does not answer")
			}
		}
	}
}

// patience returns how long to wait before looking at the clock again.
func (f *front) patience() time.Duration {
	if f.last.TTL == 0 || f.last.Done {
		return time.Second
	}
	return min(max(f.last.deadline().Sub(lock.Now()), 0), 50*time.Millisecond)
}

// overdue says whether the keeper has let the lease's time run out. This process may have been stopped itself, with
// newer reports waiting to be read, so it looks twice.
func (f *front) overdue() bool {
	for range 3 {
		if f.last.TTL == 0 || f.last.Done || lock.Now() < f.last.deadline() {
			return false
		}
		timeout := time.After(20 * time.Millisecond)
		select {
		case r, ok := <-f.news:
			if ok {
				f.last = f.last.merge(r)
			}
		case <-timeout:
		}
		for more := true; more; {
			select {
			case r, ok := <-f.news:
				if more = ok; ok {
					f.last = f.last.merge(r)
				}
			default:
				more = false
			}
		}
	}
	return !f.last.Done && lock.Now() >= f.last.deadline()
}

func (f *front) keeperEnded(ctx context.Context) error {
	for r := range f.news { // what it said before it ended
		f.last = f.last.merge(r)
	}
	state := f.keeper.ProcessState
	if f.last.Done && state.Exited() {
		if code := state.ExitCode(); code != 0 {
			return codeError{code: code}
		}
		return nil
	}
	return f.takeOver(ctx, "ended: "+state.String())
}

// takeOver ends the keeper and the command with all its descendants, and lets go of the lock.
func (f *front) takeOver(ctx context.Context, why string) error {
	_ = f.keeper.Process.Kill()
	if c := f.last.Child; c != 0 {
		if f.last.Group {
			c = -c
		}
		_ = syscall.Kill(c, syscall.SIGKILL) // where descendants cannot be found, this is all there is
	}
	left := child.KillDescendants(f.keeper.Process.Pid, 5*time.Second)
	<-f.ended
	if f.user != nil && f.told {
		left = append(left, f.endUser()...)
	}
	err := error(&keeperLostError{why: why, held: f.last.TTL > 0})
	if len(left) > 0 {
		err = fmt.Errorf("%w; still alive after SIGKILL: %v", err, left)
	}
	if f.last.Token == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, cerr := f.l.g.connect()
	if cerr == nil && len(left) == 0 {
		cerr = releaseFor(ctx, lockStore{c}, f.l.o.name, f.last)
	}
	if cerr != nil {
		f.l.say.warn(fmt.Sprintf("lock %q stays until its lease ends: %v", f.l.o.name, cerr))
	}
	if f.last.TTL > 0 {
		f.l.say.lost()
		return codeError{code: f.l.o.lostCode, err: err}
	}
	return err
}

// The keeper's ends of the two pipes.
const (
	controlFd = 3
	reportsFd = 4
)

// asKeeper is the process that holds the lock and runs the command.
func (l *lockRun) asKeeper(ctx context.Context, mode string) error {
	control, err := inherited(controlFd)
	if err != nil {
		return err
	}
	reports, err := inherited(reportsFd)
	if err != nil {
		return err
	}
	r := &reporter{pipe: reports}
	l.terminal, l.tell = mode == "terminal", r.tell

	alone, die := context.WithCancelCause(ctx)
	defer die(nil)
	// The terminal's signals reach the command by themselves; SIGTSTP must not stop the renewals.
	own := make(chan os.Signal, 16)
	signal.Notify(own, append(forwarded(), syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)...)
	defer signal.Stop(own)
	sieve := &signalSieve{in: make(chan os.Signal, 16), out: make(chan os.Signal, 16), own: own, terminal: l.terminal}
	l.signals, l.alone = sieve.out, alone
	go sieve.run()
	go func() {
		readSignals(control, sieve.in)
		die(errAlone)
	}()
	err = l.g.exitOf(l.connectAndRun(ctx))
	r.tell(guardReport{Done: true})
	return err
}

// inherited returns the pipe that the process which started this one has left open for it.
func inherited(fd int) (*os.File, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil, usageError{text: keeperVariable + " is set", hint: "unset it: it is for the other processes of etcdx lock alone"}
	}
	syscall.CloseOnExec(fd)
	// Only a file that is made from a descriptor which does not block can be given deadlines.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pipe"), nil
}

// readSignals passes on the signals that the front names, until it dies.
func readSignals(control *os.File, to chan<- os.Signal) {
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			to <- syscall.Signal(n)
		}
	}
}

// signalSieve lets through the signals that are meant for the command and have not reached it.
type signalSieve struct {
	in  chan os.Signal   // those that the front got
	own <-chan os.Signal // those that this process got
	out chan os.Signal

	terminal bool
}

// both is how far apart the two processes notice the same key on the terminal.
const both = 100 * time.Millisecond

// run tells apart who a signal was sent to. A key on the terminal reaches the front, the keeper and the command; a signal
// from kill(1) reaches the front alone, or the keeper alone.
func (s *signalSieve) run() {
	seen := map[os.Signal]time.Time{}
	stops := map[os.Signal]bool{syscall.SIGTSTP: true, syscall.SIGTTIN: true, syscall.SIGTTOU: true}
	fromKeys := func(sig os.Signal) bool {
		return s.terminal && (sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGHUP)
	}
	for {
		select {
		case sig := <-s.own:
			switch {
			case stops[sig]:
			case fromKeys(sig):
				seen[sig] = time.Now()
				s.out <- keySignal{sig.String(), sig}
			default:
				s.out <- sig
			}
		case sig := <-s.in:
			if fromKeys(sig) && s.sawToo(sig, seen) {
				continue
			}
			s.out <- sig
		}
	}
}

// sawToo says whether this process gets sig at about this time.
func (s *signalSieve) sawToo(sig os.Signal, seen map[os.Signal]time.Time) bool {
	if time.Since(seen[sig]) < both {
		return true
	}
	timer := time.NewTimer(both)
	defer timer.Stop()
	for {
		select {
		case other := <-s.own:
			if other == sig {
				s.out <- keySignal{sig.String(), sig}
				return true
			}
		case <-timer.C:
			return false
		}
	}
}

// signalNumber returns a signal's number.
func signalNumber(sig os.Signal) int {
	if k, ok := sig.(keySignal); ok {
		sig = k.sig
	}
	n, _ := sig.(syscall.Signal)
	return int(n)
}

// termSignal returns what --kill-signal names.
func (o *lockOptions) termSignal() (os.Signal, error) {
	for name, sig := range map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM,
		"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	} {
		if o.killSignal == name || o.killSignal == "SIG"+name || o.killSignal == strconv.Itoa(int(sig)) {
			return sig, nil
		}
	}
	return nil, badArgs(fmt.Sprintf("bad --kill-signal %q: HUP, INT, QUIT, KILL, TERM, USR1 or USR2", o.killSignal))
}
