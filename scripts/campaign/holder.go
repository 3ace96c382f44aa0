//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
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

// Mark is one line that the command under a lock wrote.
type Mark struct {
	Run  string `json:"run"`
	Name string `json:"name"`
	// What is start, end, or overlap: another command held the file when this one started.
	What  string    `json:"what"`
	Token int64     `json:"token"`
	At    time.Time `json:"at"`
}

// The words that make this program a command under a lock, or its descendant.
const (
	holderWord = "holder-of-a-lock"
	tailWord   = "descendant-of-a-holder"
)

// runIfHolder runs this process as the command under a lock if it was started as one.
// Its arguments are the run, the lock's name, a manner, how long to work, the file to hold and the file to write marks to.
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
		if err := hold(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "holder:", err)
			return overlapCode, true
		}
		return 0, true
	}
	return 0, false
}

// overlapCode is the exit code of a command that found another one at work.
const overlapCode = 3

// hold takes the file for the life of this process and all its descendants, who inherit the descriptor: the kernel lets it
// go exactly when the last of them has ended. No clock takes part in that.
func hold(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("%d arguments", len(args))
	}
	m := Mark{Run: args[0], Name: args[1], What: "start", Token: fence()}
	work, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	held, err := os.OpenFile(args[4], os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		m.What = "overlap"
		return errors.Join(err, m.write(args[5]))
	}
	if Manner(args[2]) == Deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	if err := m.write(args[5]); err != nil {
		return err
	}
	if Manner(args[2]) == Forking {
		err = leaveTo(held, work)
	} else {
		time.Sleep(work)
	}
	m.What = "end"
	return errors.Join(err, m.write(args[5]))
}

// leaveTo lets a descendant in a session of its own work, and waits for it.
func leaveTo(held *os.File, work time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, tailWord, work.String())
	cmd.ExtraFiles = []*os.File{held}
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
