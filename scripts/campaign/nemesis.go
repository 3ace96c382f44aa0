//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// nemesis carries a plan of faults out.
type nemesis struct {
	cluster *lab.Cluster
	journal *journal
	procs   *procs
	tool    tool
	// beforeCompact waits until nobody who must see everything needs the revisions up to rev any more.
	beforeCompact func(ctx context.Context, rev int64) error
}

// run carries out the plan, one fault of the members, one of the processes, one cut and one compaction at a time, until it is done
// or ctx ends. No fault lasts longer than that.
func (n *nemesis) run(ctx context.Context, plan []Fault) {
	tracks := map[string][]Fault{}
	for _, f := range plan {
		track := "members"
		switch f.Class {
		case Compact:
			track = "history"
		case ProcKill, ProcStop, Freeze:
			track = "processes"
		case ProcCut:
			track = "cuts"
		}
		tracks[track] = append(tracks[track], f)
	}
	var work sync.WaitGroup
	for _, faults := range tracks {
		work.Go(func() {
			for _, f := range faults {
				if !sleep(ctx, f.At-n.journal.now()) {
					return
				}
				n.carryOut(ctx, f)
			}
		})
	}
	work.Wait()
}

// sleep waits for d, or until ctx ends; then it returns false.
func sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// effect is a fault that was applied: which rows of the chart show it and how, and what ends it.
type effect struct {
	rows []string
	mark byte
	undo func() error
}

func (n *nemesis) carryOut(ctx context.Context, f Fault) {
	from := n.journal.now()
	e, err := n.apply(ctx, f)
	if err != nil {
		n.journal.add(Span{Row: "faults", Mark: '-', From: from, To: n.journal.now(), Label: "not possible: " + f.String() + ": " + err.Error()})
		return
	}
	n.journal.count(f.Class)
	ends := []func(){n.journal.begin("faults", e.mark, f.String()+" on "+strings.Join(e.rows, " "))}
	for _, row := range e.rows {
		ends = append(ends, n.journal.begin(row, e.mark, ""))
	}
	sleep(ctx, f.For)
	if e.undo != nil {
		err = e.undo()
	}
	for _, end := range ends {
		end()
	}
	if f.Class.wholeCluster() {
		n.journal.outage(from, n.journal.now())
	}
	if f.Class == Stop || f.Class == LeaderStop {
		n.journal.pause(from, n.journal.now())
	}
	if err != nil {
		n.journal.add(Span{Row: "faults", Mark: '!', From: n.journal.now(), To: n.journal.now(), Label: "end of " + f.String() + ": " + err.Error()})
	}
}

func (n *nemesis) apply(ctx context.Context, f Fault) (effect, error) {
	switch f.Class {
	case Compact:
		return n.compact(ctx, int64(f.Pick))
	case ProcKill, ProcStop, Freeze:
		return n.hurtProcess(f)
	case ProcCut:
		return n.cutProcess(f)
	case Outage:
		return n.cutEveryone()
	}
	i := n.member(ctx, f.Target)
	switch f.Class {
	case Kill:
		return n.kill(i)
	case KillMajority:
		return n.kill(i, (i+1)%n.cluster.Len())
	case Stop, LeaderStop:
		return effect{rows: rows(i), mark: 's', undo: func() error { return n.cluster.Cont(i) }}, n.cluster.Stop(i)
	case CutPeers:
		return effect{rows: rows(i), mark: 'p', undo: n.cluster.Heal}, n.cluster.Cut(i, lab.Peers)
	case CutClients:
		return effect{rows: rows(i), mark: 'c', undo: n.cluster.Heal}, n.cluster.Cut(i, lab.Clients)
	case CutAll:
		return effect{rows: rows(i), mark: 'a', undo: n.cluster.Heal}, n.cluster.Cut(i, lab.All)
	case Slow:
		return effect{rows: rows(i), mark: '~', undo: n.cluster.Heal}, n.cluster.Slow(i, f.Delay)
	case Lossy:
		return effect{rows: rows(i), mark: '%', undo: n.cluster.Heal}, n.cluster.Lose(i, f.Loss)
	case Reset:
		return effect{rows: rows(i), mark: 'r'}, n.cluster.Reset(i)
	}
	return effect{}, fmt.Errorf("unknown class %s", f.Class)
}

func rows(members ...int) []string {
	var all []string
	for _, i := range members {
		all = append(all, "m"+strconv.Itoa(i+1))
	}
	return all
}

// member says which member a target is just now.
func (n *nemesis) member(ctx context.Context, target string) int {
	if number, ok := strings.CutPrefix(target, "m"); ok {
		i, _ := strconv.Atoi(number)
		return (i - 1) % n.cluster.Len()
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	leader, err := n.cluster.Leader(ctx)
	if err != nil {
		return 0
	}
	if target == "follower" {
		return (leader + 1) % n.cluster.Len()
	}
	return leader
}

// restartTime bounds the return of a killed member.
const restartTime = 20 * time.Second

func (n *nemesis) kill(members ...int) (effect, error) {
	var err error
	for _, i := range members {
		err = errors.Join(err, n.cluster.Kill(i))
	}
	return effect{rows: rows(members...), mark: 'x', undo: func() error {
		// The campaign may be over: a member must come back all the same.
		ctx, cancel := context.WithTimeout(context.Background(), restartTime)
		defer cancel()
		var err error
		for _, i := range members {
			err = errors.Join(err, n.cluster.Restart(ctx, i))
		}
		return err
	}}, err
}

func (n *nemesis) cutEveryone() (effect, error) {
	e := effect{mark: 'c', undo: n.cluster.Heal}
	var err error
	for i := range n.cluster.Len() {
		e.rows = append(e.rows, rows(i)...)
		err = errors.Join(err, n.cluster.Cut(i, lab.Clients))
	}
	return e, err
}

func (n *nemesis) compact(ctx context.Context, before int64) (effect, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rev, err := n.cluster.Revision(ctx)
	if err != nil {
		return effect{}, err
	}
	if rev -= before; rev < 1 {
		return effect{}, errors.New("there is no such history yet")
	}
	if err := n.beforeCompact(ctx, rev); err != nil {
		return effect{}, err
	}
	_, err = n.cluster.Compact(ctx, rev)
	return effect{rows: []string{"at revision " + strconv.FormatInt(rev, 10)}, mark: '|'}, err
}

func (n *nemesis) hurtProcess(f Fault) (effect, error) {
	pid, r := n.procs.choose(f.Target, n.tool.path, f.Pick, f.Class)
	if pid == 0 {
		return effect{}, errors.New("no such process runs")
	}
	what := "process " + strconv.Itoa(pid)
	if pid != r.cmd.Process.Pid {
		what += " below it"
	}
	e := effect{rows: []string{r.row, what}, mark: 'K'}
	if f.Class == ProcKill {
		return e, syscall.Kill(pid, syscall.SIGKILL)
	}
	e.mark = 'S'
	pids := []int{pid}
	if f.Class == Freeze {
		pids = lab.Family(r.cmd.Process.Pid)
		e.rows[1] = "all its processes"
	}
	e.undo = func() error {
		if f.Class == Freeze {
			// A machine that goes on may do so in any order. This one is the worst: a command works that nobody watches over.
			first := signalAll(commandsOf(pids, n.tool.path), syscall.SIGCONT)
			time.Sleep(thawGap)
			return errors.Join(first, signalAll(pids, syscall.SIGCONT))
		}
		return signalAll(pids, syscall.SIGCONT)
	}
	return e, signalAll(pids, syscall.SIGSTOP)
}

// cutProcess cuts a run off from the cluster, with all below it, as on a host whose network is gone.
func (n *nemesis) cutProcess(f Fault) (effect, error) {
	pid, r := n.procs.choose(f.Target, n.tool.path, f.Pick, f.Class)
	if pid == 0 {
		return effect{}, errors.New("no such process runs")
	}
	e := effect{rows: []string{r.row}, mark: 'i', undo: func() error { n.cluster.Rejoin(); return nil }}
	return e, n.cluster.Isolate(r.cmd.Process.Pid)
}

// thawGap is how long a command that was frozen works before etcdx goes on.
const thawGap = 1500 * time.Millisecond

// signalAll signals processes, some of which may have ended.
func signalAll(pids []int, sig syscall.Signal) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
