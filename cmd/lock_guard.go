package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/etcdx/etcdx/pkg/lock"
	"github.com/etcdx/etcdx/pkg/output"
)

// A lock command is two processes of the same program. The front is the one that people started: it passes on signals and
// the exit code. The keeper, its child, talks to etcd and runs the command. Whichever of them dies or stops, the other one
// ends the command in time: the keeper when its control pipe ends, the front when the reports of the keeper end or stay away.

// keeperVariable marks the keeper in its environment: "terminal" when the command shares the terminal's process group. Or it
// marks the front of a detached lock.
const (
	keeperVariable = "ETCDX_LOCK_KEEPER"
	detachedFront  = "front"
)

// guardReport is what the keeper tells the front, a line of JSON each time; it always says all that is known.
type guardReport struct {
	// Sent is when the last answered renewal was sent: all processes of a machine read the same clock. TTL is 0 until the
	// lock is held; the key is known while it is waited for.
	Sent  lock.Instant  `json:"sent,omitempty"`
	TTL   time.Duration `json:"ttl,omitempty"`
	Key   string        `json:"key,omitempty"`
	Token int64         `json:"token,omitempty"`
	Lease int64         `json:"lease,omitempty"`
	// Child is the command's process ID, Group whether it leads a process group.
	Child int  `json:"child,omitempty"`
	Group bool `json:"group,omitempty"`
	// Over is when the command and all it started had ended; letting go of the lock has a time limit of its own.
	Over lock.Instant `json:"over,omitempty"`
	// Done says that the keeper has nothing more to do but to exit.
	Done bool `json:"done,omitempty"`
}

// merge adds what n says to r.
func (r guardReport) merge(n guardReport) guardReport {
	if n.TTL > 0 {
		r.Sent, r.TTL = n.Sent, n.TTL
	}
	if n.Key != "" {
		r.Key, r.Token, r.Lease = n.Key, n.Token, n.Lease
	}
	if n.Child != 0 {
		r.Child, r.Group = n.Child, n.Group
	}
	r.Over, r.Done = max(r.Over, n.Over), r.Done || n.Done
	return r
}

// deadline returns when the front acts if it has heard nothing new: a little after the keeper would have.
func (r guardReport) deadline() lock.Instant {
	if r.Over > 0 {
		return r.Over.Add(releaseTime)
	}
	return lock.NewTenure(r.Sent, r.TTL, 0).Hard().Add(r.TTL / 25)
}

// releaseTime is how long the keeper may take to end after its command.
const releaseTime = 4 * time.Second

// reporter writes reports, as long as somebody reads them.
type reporter struct {
	mu   sync.Mutex
	all  guardReport
	pipe *os.File
}

func (r *reporter) tell(n guardReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = r.all.merge(n)
	line, err := json.Marshal(r.all)
	if err != nil {
		return
	}
	// The front may be stopped, and the pipe full. A report that is lost is made up for by the next one, the last one by none.
	patience := 50 * time.Millisecond
	if n.Done {
		patience = lastReportTime
	}
	_ = r.pipe.SetWriteDeadline(time.Now().Add(patience))
	_, _ = r.pipe.Write(append(line, '\n'))
}

// lastReportTime is how long the last report may take. On a machine that has much to do, 50 ms can pass before it is even tried: the
// front took the keeper's end for an accident then.
const lastReportTime = 2 * time.Second

// start runs the lock command in whichever process this is.
func (o *lockOptions) start(ctx context.Context, g *globals) error {
	if _, err := o.request(g); err != nil {
		return err
	}
	for _, name := range locksHeld(g.env) {
		if name == o.name && o.proposal == nil {
			return &deadlockError{name}
		}
	}
	p, err := g.printer(output.Options{})
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // signals are for the command
	l := &lockRun{g: g, o: o, printer: p, say: newLockVoice(g, o)}
	switch mode, second := g.env(keeperVariable); {
	case second && mode != detachedFront:
		return l.asKeeper(ctx, mode)
	case o.noGuard || !canGuard:
		return l.asOne(ctx)
	case o.detach && !second:
		return l.launch()
	default:
		return l.asFront(ctx)
	}
}

// ownProgram returns the file of this program. Without /proc, Linux does not say it.
func ownProgram() (string, error) {
	if file, err := os.Executable(); err == nil {
		return file, nil
	}
	file, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", fmt.Errorf("find the file of this program: %w", err)
	}
	return filepath.Abs(file)
}

// asOne does without a second process.
func (l *lockRun) asOne(ctx context.Context) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	l.signals, l.alone = signals, ctx
	return l.connectAndRun(ctx)
}

func (l *lockRun) connectAndRun(ctx context.Context) error {
	if err := l.jitter(ctx); err != nil {
		return err
	}
	c, err := l.g.connect()
	if err != nil {
		return err
	}
	l.store = lockStore{c}
	defer l.say.close()
	return l.run()
}

// deadlockError is a lock that would wait for itself.
type deadlockError struct{ name string }

func (e *deadlockError) Error() string {
	return "lock \"" + e.name + "\" is held by a command around this one: it would wait for itself"
}

// readReports sends the newest report into news, and closes it when the pipe ends.
func readReports(pipe io.Reader, news chan<- guardReport) {
	defer close(news)
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var r guardReport
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			news <- r
		}
	}
}

// keeperLostError says that the process which held the lock ended before its time.
type keeperLostError struct {
	why  string
	held bool
}

func (e *keeperLostError) Error() string {
	if e.held {
		return "the lock is given up: its keeper process " + e.why
	}
	return "the keeper process " + e.why
}

// Unwrap makes it an ErrLost if there was a lock.
func (e *keeperLostError) Unwrap() error {
	if e.held {
		return lock.ErrLost
	}
	return nil
}

// exitOf returns the code of an error with which a process of this program ends.
func (g *globals) exitOf(err error) error {
	if err == nil {
		return nil
	}
	code := g.report(err)
	return codeError{code: code}
}

// keySignal is a signal that the command has got by itself, from the terminal.
type keySignal struct {
	name string
	sig  os.Signal
}

// Signal implements os.Signal.
func (keySignal) Signal() {}

// String returns the signal's name.
func (k keySignal) String() string { return k.name }
