//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Manner says how the command under a lock behaves.
type Manner string

// The manners. A deaf command ignores SIGTERM; a forking one leaves the work to a descendant in a session of its own.
const (
	Plain   Manner = "plain"
	Deaf    Manner = "deaf"
	Forking Manner = "forking"
)

// Task is what a command under a lock has to do; the command line carries it as JSON.
type Task struct {
	Run, Name string
	Kind      Kind
	ID        string // of Once
	Weight    int    // of Slots
	Manner    Manner
	Work      time.Duration
	// Held is the file to hold, Marks the one to write marks to.
	Held, Marks string
	// Tool begins the command line of the tool, for writes that are fenced by the lock. Empty: there are none.
	Tool []string
}

// Mark is one line that the command under a lock wrote.
type Mark struct {
	Run  string `json:"run"`
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	ID   string `json:"id,omitempty"`
	// What is start, end, overlap (another command held the file when this one started), or, for a fenced write of Value:
	// writes (it begins), wrote (it was done), refused (it was not) or lost (it was not, as the lock was gone). One that only began is of
	// unknown outcome.
	What  string    `json:"what"`
	Token int64     `json:"token"`
	Value int64     `json:"value,omitempty"`
	At    time.Time `json:"at"`
}

// The words that make this program a command under a lock, or its descendant.
const (
	holderWord = "holder-of-a-lock"
	tailWord   = "descendant-of-a-holder"
)

// runIfHolder runs this process as the command under a lock if it was started as one.
func runIfHolder() (code int, was bool) {
	if len(os.Args) < 3 {
		return 0, false
	}
	switch os.Args[1] {
	case tailWord:
		d, err := time.ParseDuration(os.Args[2])
		if err != nil {
			return 2, true
		}
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(d)
		return 0, true
	case holderWord:
		var task Task
		err := json.Unmarshal([]byte(os.Args[2]), &task)
		if err == nil {
			err = task.do()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "holder:", err)
			return overlapCode, true
		}
		return 0, true
	}
	return 0, false
}

// overlapCode is the exit code of a command that found another one at work.
const overlapCode = 3

// do takes the file for the life of this process and all its descendants, who inherit the descriptor: the kernel lets it
// go exactly when the last of them has ended. No clock takes part in that.
func (t Task) do() error {
	m := Mark{Run: t.Run, Name: t.Name, Kind: t.Kind, ID: t.ID, What: "start", Token: fence()}
	held, err := t.hold()
	if err != nil {
		m.What = "overlap"
		return errors.Join(err, m.write(t.Marks))
	}
	if t.Manner == Deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	if err := m.write(t.Marks); err != nil {
		return err
	}
	switch {
	case len(t.Tool) > 0:
		for end := time.Now().Add(t.Work); err == nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			err = t.count(m)
		}
	case t.Manner == Forking:
		err = leaveTo(held, t.Work)
	default:
		time.Sleep(t.Work)
	}
	m.What = "end"
	return errors.Join(err, m.write(t.Marks))
}

// hold takes the file as the kind of lock allows: alone, together with others that share it, or as many as it has weight of as many files as
// there are slots. Those who hold a semaphore together find enough of them free, in whichever order they look.
func (t Task) hold() (held []*os.File, err error) {
	files, how, weight := []string{t.Held}, syscall.LOCK_EX, 1
	switch t.Kind {
	case Shared:
		how = syscall.LOCK_SH
	case Slots:
		for i := range slots {
			files = append(files, t.Held+strconv.Itoa(i))
		}
		files, weight = files[1:], t.Weight
	}
	for _, name := range files {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB) != nil {
			_ = file.Close()
			continue
		}
		if held = append(held, file); len(held) == weight {
			return held, nil
		}
	}
	return nil, fmt.Errorf("another command holds the lock: %d of %d files could be had", len(held), weight)
}

// count adds one to a counter in etcd: read it, and write what follows, under the lock's fencing token. Whoever has lost the lock can do
// it no more, whatever it still runs.
func (t Task) count(m Mark) error {
	if len(t.Tool) == 0 {
		return nil
	}
	run := func(args ...string) (string, int) {
		out, err := exec.Command(t.Tool[0], append(slices.Clone(t.Tool[1:]), args...)...).Output()
		return strings.TrimSpace(string(out)), exitCode(err)
	}
	key := counterPrefix + t.Name
	text, code := run("get", key, "--print-value-only")
	if code != 0 {
		return nil
	}
	text, _, _ = strings.Cut(text, " ")
	n, err := strconv.ParseInt(cmp.Or(text, "0"), 10, 64)
	if err != nil {
		return err
	}
	m.Value, m.What = n+1, "writes" // first: this process may die before it knows the outcome
	if err := m.write(t.Marks); err != nil {
		return err
	}
	switch _, code = run("put", "--fence", key, fmt.Sprintf("%d %s", m.Value, os.Getenv("ETCDX_FENCE"))); code {
	case 0:
		m.What = "wrote"
	case codeUnavailable:
		m.What = "refused"
	case codeLost:
		m.What = "lost"
	default:
		return nil
	}
	return m.write(t.Marks)
}

// leaveTo lets a descendant in a session of its own work, and waits for it.
func leaveTo(held []*os.File, work time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, tailWord, work.String())
	cmd.ExtraFiles = held
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}

// fence is the fencing token that the tool gave: etcdx's is KEY@ the create revision of the lock key, etcdctl has only the
// revision at which it took the lock. 0: there is none.
func fence() int64 {
	given := os.Getenv("ETCD_LOCK_REV")
	if key := os.Getenv("ETCDX_FENCE"); key != "" {
		given = key[strings.LastIndex(key, "@")+1:]
	}
	n, _ := strconv.ParseInt(given, 10, 64)
	return n
}

// write appends the mark as one line in one write: whoever holds the lock, marks do not mix.
func (m Mark) write(file string) error {
	m.At = time.Now()
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
