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
	"sync"
	"time"
)

// lockPrefix begins the names of all locks.
const lockPrefix = "lock/"

// lockLoad has contenders run commands under two locks.
type lockLoad struct {
	*campaign
	contenders int

	mu    sync.Mutex
	holds []Hold
	marks []Mark
}

func (l *lockLoad) name() string { return "lock" }

func (l *lockLoad) rows() []string {
	var all []string
	for i := range l.contenders {
		all = append(all, fmt.Sprintf("lock%d", i+1))
	}
	return all
}

// Turn is one use of a lock as the seed decides it.
type Turn struct {
	Name   string
	Manner Manner
	Work   time.Duration
	Pause  time.Duration // before it
	Try    bool          // do not wait
}

// nextTurn draws a turn. Some commands work for longer than the TTL, so that the lock must be kept.
func nextTurn(rng *rand.Rand, ttl time.Duration) Turn {
	t := Turn{
		Name: lockPrefix + pick(rng, "a", "a", "b"), Manner: pick(rng, Plain, Deaf, Forking),
		Work: between(rng, 100*time.Millisecond, 2*time.Second), Pause: between(rng, 0, 700*time.Millisecond), Try: rng.IntN(6) == 0,
	}
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
			for n := 1; ; n++ {
				t := nextTurn(rng, l.cfg.ttl)
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

// waitLimit is how long a contender is willing to wait for the lock.
const waitLimit = 12 * time.Second

// turn runs a command under a lock, and waits for the tool to end, not for what it leaves behind.
func (l *lockLoad) turn(t Turn, row, id string) Hold {
	h := Hold{Run: id, Row: row, Name: t.Name, From: l.journal.now(), Limit: waitLimit + t.Work + l.cfg.ttl + slack}
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
	r := &run{row: row, cmd: cmd}
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
	args := []string{"lock", "--ttl=" + strconv.Itoa(int(l.cfg.ttl.Seconds()))}
	switch {
	case l.tool.ctl:
	case t.Try:
		args = append(args, "-n")
	default:
		args = append(args, "-w", waitLimit.String())
	}
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	dir := filepath.Join(l.dir, "lock")
	return append(args, t.Name, "--", self, holderWord, id, t.Name, string(t.Manner), t.Work.String(),
		filepath.Join(dir, filepath.Base(t.Name)+".held"), filepath.Join(dir, "marks"))
}

func (l *lockLoad) check(context.Context) []Violation {
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
	return CheckLocks(l.holds, l.marks, Excuses{Outages: l.journal.outages, Pauses: l.journal.pauses})
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
	starts := 0
	for _, m := range l.marks {
		if m.What == "start" {
			starts++
		}
	}
	s := fmt.Sprintf("lock: %d runs, %d commands started; exit codes", len(l.holds), starts)
	for _, c := range sorted {
		s += fmt.Sprintf(" %d: %d", c, codes[c])
	}
	return s
}
