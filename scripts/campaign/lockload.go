//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lockPrefix begins the names of all locks, counterPrefix those of the counters that are written under them: NUMBER KEY@TOKEN, the latter
// being the fencing token that the number was written with.
const (
	lockPrefix    = "lock/"
	counterPrefix = "counter/"
)

// Kind is what a contender asks for.
type Kind string

// The kinds. Once is a run that must not start twice, Period one that must not start again too soon.
const (
	Exclusive Kind = "exclusive"
	Shared    Kind = "shared"
	Slots     Kind = "slots"
	Elect     Kind = "elect"
	Once      Kind = "once"
	Period    Kind = "period"
)

// patient says whether who comes after an unclean end of a lock waits for a whole lease. Whoever waits for less can meet a command whose host is cut off
// while a member that hung takes its living lease away.
func patient(name string) bool { return name == lockPrefix+"b" || name == lockPrefix+"s" }

// slots is how many weights fit into a semaphore, heaviest the greatest weight of a holder.
const (
	slots    = 3
	heaviest = 2
)

// period is the least time between two runs of Period, and skipCode what those that are not due end with.
const (
	period   = 8 * time.Second
	skipCode = 9
)

// lockLoad has contenders run commands under a few locks.
type lockLoad struct {
	*campaign
	contenders, crowd int // those of the crowd contend for the semaphore and for runs of Period
	mu                sync.Mutex
	holds             []Hold
	marks             []Mark
}

func (l *lockLoad) name() string { return "lock" }

func (l *lockLoad) rows() []string {
	var all []string
	for i := range l.contenders + l.crowd {
		all = append(all, fmt.Sprintf("lock%d", i+1))
	}
	return all
}

// Turn is one use of a lock as the seed decides it.
type Turn struct {
	Name   string
	Kind   Kind
	Weight int  // of Slots
	Fenced bool // the command counts, in etcd, under the lock's fencing token
	Manner Manner
	Work   time.Duration
	Pause  time.Duration // before it
	Try    bool          // do not wait
}

// The locks that the contenders draw from, a letter for each.
const (
	mixed   = "aaabsseop"
	crowded = "nnnp"
)

// nextTurn draws a turn. Some commands work for longer than the TTL, so that the lock must be kept.
func nextTurn(rng *rand.Rand, ttl time.Duration, letters string) Turn {
	t := Turn{
		Manner: pick(rng, Plain, Deaf, Forking),
		Work:   between(rng, 100*time.Millisecond, 2*time.Second), Pause: between(rng, 0, 700*time.Millisecond), Try: rng.IntN(6) == 0,
	}
	switch name := pick(rng, strings.Split(letters, "")...); name {
	case "s":
		t.Name, t.Kind = name, pick(rng, Exclusive, Shared, Shared)
	case "n":
		t.Name, t.Kind, t.Weight = name, Slots, 1+rng.IntN(heaviest)
	case "e":
		t.Name, t.Kind = name, Elect
	case "o":
		t.Name, t.Kind = name, Once
	case "p":
		t.Name, t.Kind = name, Period
	default:
		t.Name, t.Kind, t.Fenced = name, Exclusive, rng.IntN(2) == 0
	}
	t.Name = lockPrefix + t.Name
	if rng.IntN(3) == 0 {
		t.Work = between(rng, ttl, ttl+min(3*ttl, 6*time.Second))
	}
	return t
}

func (l *lockLoad) run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(l.dir, "lock"), 0o700); err != nil {
		return err
	}
	var work sync.WaitGroup
	for i, row := range l.rows() {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(l.cfg.seed, 200+uint64(i)))
			letters := mixed
			if i >= l.contenders {
				letters = crowded
			}
			for n := 1; ; n++ {
				t := nextTurn(rng, l.cfg.ttl, letters)
				if !sleep(ctx, t.Pause) {
					return
				}
				h := l.turn(t, row, fmt.Sprintf("%s.%d", row, n))
				l.mu.Lock()
				l.holds = append(l.holds, h)
				l.mu.Unlock()
			}
		})
	}
	work.Wait()
	return nil
}

// onceEvery is how often a run that must not start twice gets a new ID.
const onceEvery = 8 * time.Second

// waitLimit is how long a contender is willing to wait for the lock.
const waitLimit = 12 * time.Second

// turn runs a command under a lock, and waits for the tool to end, not for what it leaves behind.
func (l *lockLoad) turn(t Turn, row, id string) Hold {
	h := Hold{Run: id, Row: row, Name: t.Name, Kind: t.Kind, From: l.journal.now(), Limit: waitLimit + t.Work + l.cfg.ttl + slack}
	said, err := os.Create(filepath.Join(l.dir, "lock", id+".err"))
	if err != nil {
		h.Code, h.Said = -1, err.Error()
		return h
	}
	defer said.Close()
	cmd := l.tool.command(l.arguments(t, id)...)
	cmd.Stderr = said // a file: a pipe would be waited for until every descendant has closed it
	if err := cmd.Start(); err != nil {
		h.Code, h.Said = -1, err.Error()
		return h
	}
	r := &run{row: row, cmd: cmd, fenced: t.Fenced}
	l.procs.add("lock", r)
	hung := time.AfterFunc(h.Limit+hangAfter, func() { _ = cmd.Process.Kill() })
	code := exitCode(cmd.Wait())
	if !hung.Stop() {
		code = -1
	}
	h.Hurt, h.To, h.Code = l.procs.remove("lock", r), l.journal.now(), code
	text, _ := os.ReadFile(said.Name())
	h.Said = lastLine(string(text))
	return h
}

func (l *lockLoad) arguments(t Turn, id string) []string {
	dir := filepath.Join(l.dir, "lock")
	task := Task{
		Run: id, Name: t.Name, Kind: t.Kind, Weight: t.Weight, Manner: t.Manner, Work: t.Work,
		Held: filepath.Join(dir, filepath.Base(t.Name)+".held"), Marks: filepath.Join(dir, "marks"),
	}
	if l.tool.ctl {
		task.Kind = Exclusive // it has no other
	}
	args := []string{"lock"}
	if task.Kind == Elect {
		args = []string{"elect"}
	}
	args = append(args, "--ttl="+strconv.Itoa(int(l.cfg.ttl.Seconds())))
	switch task.Kind {
	case Shared:
		args = append(args, "--shared")
	case Slots:
		args = append(args, "--slots", strconv.Itoa(slots), "--weight", strconv.Itoa(t.Weight))
	case Once:
		task.ID = strconv.Itoa(int(l.journal.now() / onceEvery))
		args = append(args, "--once", task.ID)
	case Period:
		args = append(args, "--at-most-every", period.String(), "--skip-code", strconv.Itoa(skipCode))
	}
	switch {
	case l.tool.ctl:
	case t.Try:
		args = append(args, "-n")
	default:
		args = append(args, "-w", waitLimit.String())
	}
	if patient(t.Name) && !l.tool.ctl {
		args = append(args, "--lock-delay", "ttl")
	}
	if t.Fenced && !l.tool.ctl {
		task.Tool = append([]string{l.tool.path}, l.tool.flags...)
	}
	if args = append(args, t.Name); task.Kind == Elect {
		args = append(args, id)
	}
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	text, _ := json.Marshal(task) // of strings and numbers
	return append(args, "--", self, holderWord, string(text))
}

func (l *lockLoad) check(ctx context.Context) []Violation {
	lines, err := os.ReadFile(filepath.Join(l.dir, "lock", "marks"))
	if err != nil && !os.IsNotExist(err) {
		return []Violation{{Workload: "lock", Rule: "checked", Text: err.Error()}}
	}
	for line := range bytes.Lines(lines) {
		var m Mark
		if err := json.Unmarshal(line, &m); err != nil {
			return []Violation{{Workload: "lock", Rule: "checked", Text: fmt.Sprintf("mark %q: %v", line, err)}}
		}
		l.marks = append(l.marks, m)
	}
	l.draw()
	found := CheckLocks(l.holds, l.marks, Excuses{Outages: l.journal.outages, Pauses: l.journal.pauses, Pace: l.journal.pace})
	history, through := l.truth.all()
	found = append(found, CheckFences(l.marks, history, through, l.journal.began)...)
	found = append(found, CheckPeriods(l.holds, l.marks, history, through, l.journal.began)...)
	final, err := l.counters(ctx)
	if err != nil {
		return append(found, Violation{Workload: "lock", Rule: "checked", Text: err.Error()})
	}
	return append(found, CheckCounters(final, l.marks)...)
}

// counters reads the counters, by lock.
func (l *lockLoad) counters(ctx context.Context) (map[string]int64, error) {
	cl, err := l.direct()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	resp, err := cl.Get(ctx, counterPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	final := map[string]int64{}
	for _, kv := range resp.Kvs {
		number, _, _ := strings.Cut(string(kv.Value), " ")
		if final[strings.TrimPrefix(string(kv.Key), counterPrefix)], err = strconv.ParseInt(number, 10, 64); err != nil {
			return nil, err
		}
	}
	return final, nil
}

// draw puts the holds on the chart: w waiting, H holding, and how it ended.
func (l *lockLoad) draw() {
	held := map[string]Window{}
	for _, m := range l.marks {
		at := m.At.Sub(l.journal.began)
		switch w := held[m.Run]; m.What {
		case "start":
			held[m.Run] = Window{From: at}
		case "end":
			held[m.Run] = Window{w.From, at}
		}
	}
	for _, h := range l.holds {
		l.journal.add(Span{Row: h.Row, Mark: 'w', From: h.From, To: h.To})
		if w, ok := held[h.Run]; ok {
			if w.To == 0 {
				w.To = h.To
			}
			l.journal.add(Span{Row: h.Row, Mark: h.Name[len(h.Name)-1] - 'a' + 'A', From: w.From, To: w.To})
		}
		if h.Code != 0 {
			l.journal.add(Span{Row: h.Row, Mark: '!', From: h.To, To: h.To, Label: fmt.Sprintf("%s: exit code %d %s", h.Run, h.Code, h.Said)})
		}
	}
}

func (l *lockLoad) summary() string {
	codes := map[int]int{}
	for _, h := range l.holds {
		codes[h.Code]++
	}
	var sorted []int
	for c := range codes {
		sorted = append(sorted, c)
	}
	slices.Sort(sorted)
	starts := map[Kind]int{}
	all, wrote, refused := 0, 0, 0
	for _, m := range l.marks {
		switch m.What {
		case "start":
			all++
			starts[m.Kind]++
		case "wrote":
			wrote++
		case "lost":
			refused++
		}
	}
	s := fmt.Sprintf("lock: %d runs, %d commands started (%d exclusive, %d shared, %d slots, %d elected, %d once, %d period), %d fenced writes, %d refused as the lock was lost; exit codes",
		len(l.holds), all, starts[Exclusive], starts[Shared], starts[Slots], starts[Elect], starts[Once], starts[Period], wrote, refused)
	for _, c := range sorted {
		s += fmt.Sprintf(" %d: %d", c, codes[c])
	}
	return s
}
