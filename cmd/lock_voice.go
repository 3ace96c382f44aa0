package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/etcdx/etcdx/pkg/lock"
	"github.com/etcdx/etcdx/pkg/output"
)

// lockVoice tells people, and the programs that asked for it, what happens to a lock.
type lockVoice struct {
	err      io.Writer
	o        *lockOptions
	json     bool
	terminal bool

	mu      sync.Mutex
	queued  bool // the cluster has answered
	metrics lockMetrics
	hooks   sync.WaitGroup
	hookMu  sync.Mutex
	hookIDs map[int]bool // process IDs of hooks, which are no part of the command
}

func newLockVoice(g *globals, o *lockOptions) *lockVoice {
	return &lockVoice{
		err: g.streams.Err, o: o, terminal: isTerminal(g.streams.Err) && !g.asEtcdctl,
		json: g.settings.Output == "json" || g.settings.Output == "jsonl",
	}
}

// reached says whether the cluster had answered, so that not getting the lock was a matter of waiting.
func (v *lockVoice) reached() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.queued
}

// notice says what deserves it: warnings always, the rest when asked for, or while somebody waits at a terminal.
func (v *lockVoice) notice(n lock.Notice) {
	v.mu.Lock()
	v.queued = true
	v.metrics.count(n.Event)
	v.mu.Unlock()
	warning := n.Event == "suspect" || n.Event == "ending" || n.Event == "killing" || n.Event == "asked" || n.Event == "rejoined"
	waiting := v.terminal && (n.Event == "waiting" || n.Event == "delayed")
	if v.o.verbose || v.json || (warning || waiting) && !v.o.quiet && !v.o.cron {
		v.write(n)
	}
	if n.Event == "suspect" {
		v.run(v.o.suspect, "ETCDX_LOCK_EVENT=suspect", "ETCDX_LOCK_KEY="+n.Key)
	}
}

func (v *lockVoice) write(n lock.Notice) {
	if !v.json {
		fmt.Fprintf(v.err, "etcdx: %s\n", output.Escape(n.Text, true))
		return
	}
	_ = printJSON(v.err, struct {
		Kind string    `json:"kind"`
		Time time.Time `json:"time"`
		lock.Notice
	}{"lock", time.Now().UTC(), n})
}

// event says something that only --verbose and programs want to know.
func (v *lockVoice) event(event, text string) {
	if v.o.verbose || v.json {
		v.write(lock.Notice{Event: event, Text: text})
	}
}

func (v *lockVoice) warn(text string) {
	if !v.o.quiet {
		v.write(lock.Notice{Event: "warning", Text: text})
	}
}

// held is called when the lock is acquired.
func (v *lockVoice) held(h *lock.Held) {
	if risky, _ := lock.CheckTTL(h.Tenure().TTL(), 0); risky && v.terminal {
		v.warn(fmt.Sprintf("a lease of %v is short: when a member dies, the command may be ended (6s is enough)", h.Tenure().TTL()))
	}
	v.hook(v.o.onAcquire, "acquired", h)
	v.sd(daemon.SdNotifyReady)
}

// beat is called for every renewal.
func (v *lockVoice) beat(h *lock.Held) {
	v.sd(daemon.SdNotifyWatchdog)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.metrics.renewals++
	v.metrics.save(v.o.metricsFile, v.o.name, h)
}

// lost is called in the front, when the keeper has gone with the lock.
func (v *lockVoice) lost() { v.run(v.o.onLost, "ETCDX_LOCK_EVENT=lost", "ETCDX_LOCK_NAME="+v.o.name) }

func (v *lockVoice) sd(state string) {
	if v.o.sdNotify {
		_, _ = daemon.SdNotify(false, state)
	}
}

// hook runs a shell command beside the lock's command.
func (v *lockVoice) hook(command, event string, h *lock.Held) {
	v.run(command, "ETCDX_LOCK_EVENT="+event, "ETCDX_LOCK_NAME="+v.o.name, "ETCDX_LOCK_KEY="+h.Key(), fmt.Sprintf("ETCDX_FENCE=%s@%d", h.Key(), h.Token()))
}

// hookTime bounds a hook: it never keeps the lock command from ending.
const hookTime = 10 * time.Second

func (v *lockVoice) run(command string, env ...string) {
	if command == "" {
		return
	}
	v.hooks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hookTime)
		defer cancel()
		c := exec.CommandContext(ctx, "/bin/sh", "-c", command)
		c.Env = append(withoutVariable(os.Environ(), keeperVariable), env...)
		c.Stdout, c.Stderr = v.err, v.err
		c.WaitDelay = time.Second
		if err := v.runHook(c); err != nil {
			v.warn(fmt.Sprintf("hook %q: %v", command, err))
		}
	})
}

// withoutVariable returns env without one variable.
func withoutVariable(env []string, name string) []string {
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

func (v *lockVoice) runHook(c *exec.Cmd) error {
	v.hookMu.Lock()
	err := c.Start()
	if err == nil {
		if v.hookIDs == nil {
			v.hookIDs = map[int]bool{}
		}
		v.hookIDs[c.Process.Pid] = true
	}
	v.hookMu.Unlock()
	if err != nil {
		return err
	}
	err = c.Wait()
	v.hookMu.Lock()
	delete(v.hookIDs, c.Process.Pid)
	v.hookMu.Unlock()
	return err
}

// isHook says whether a process is a hook.
func (v *lockVoice) isHook(pid int) bool {
	v.hookMu.Lock()
	defer v.hookMu.Unlock()
	return v.hookIDs[pid]
}

// close waits for the hooks and writes the last numbers.
func (v *lockVoice) close() {
	v.sd(daemon.SdNotifyStopping)
	v.hooks.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.metrics.save(v.o.metricsFile, v.o.name, nil)
}

// lockMetrics are the numbers of one lock command.
type lockMetrics struct {
	renewals int
	events   map[string]int
}

func (m *lockMetrics) count(event string) {
	if m.events == nil {
		m.events = map[string]int{}
	}
	m.events[event]++
}

// save writes Prometheus text, whole or not at all. h is nil when the lock is not held.
func (m *lockMetrics) save(file, name string, h *lock.Held) {
	if file == "" {
		return
	}
	var b strings.Builder
	label := fmt.Sprintf("{lock=%q}", name)
	held, token, since := 0, int64(0), 0.0
	if h != nil {
		held, token, since = 1, h.Token(), float64(h.Since().UnixMilli())/1000
	}
	fmt.Fprintf(&b, "# HELP etcdx_lock_held Whether this process holds the lock.\n# TYPE etcdx_lock_held gauge\netcdx_lock_held%s %d\n", label, held)
	fmt.Fprintf(&b, "# HELP etcdx_lock_fencing_token The create revision of the lock's key.\n# TYPE etcdx_lock_fencing_token gauge\netcdx_lock_fencing_token%s %d\n", label, token)
	fmt.Fprintf(&b, "# HELP etcdx_lock_acquired_timestamp_seconds When the lock was acquired.\n# TYPE etcdx_lock_acquired_timestamp_seconds gauge\netcdx_lock_acquired_timestamp_seconds%s %.3f\n", label, since)
	fmt.Fprintf(&b, "# HELP etcdx_lock_renewals_total Renewals that were answered.\n# TYPE etcdx_lock_renewals_total counter\netcdx_lock_renewals_total%s %d\n", label, m.renewals)
	fmt.Fprintf(&b, "# HELP etcdx_lock_events_total What happened to the lock.\n# TYPE etcdx_lock_events_total counter\n")
	for _, event := range []string{"waiting", "delayed", "acquired", "rejoined", "suspect", "ending", "killing", "released"} {
		fmt.Fprintf(&b, "etcdx_lock_events_total{lock=%q,event=%q} %d\n", name, event, m.events[event])
	}
	replacePublic(file, b.String())
}

// replacePublic writes a file that everybody may read, whole or not at all. Failing to do so stops nothing. The name of the
// file that takes its place cannot be foreseen: in a directory of others, somebody else could have put a link there.
func replacePublic(file, text string) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.new")
	if err != nil {
		return
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// jitter waits a random time, up to what the flag says.
func (l *lockRun) jitter(ctx context.Context) error {
	if l.o.jitter <= 0 {
		return nil
	}
	timer := time.NewTimer(rand.N(l.o.jitter))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case sig := <-l.signals:
		return codeError{code: exitSignal + signalNumber(sig)}
	case <-l.alone.Done():
		return context.Cause(l.alone)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// holder says who this is.
func (o *lockOptions) holder() lock.Holder {
	if o.anonymous {
		return lock.Holder{Note: o.note}
	}
	h := lock.Holder{PID: os.Getppid(), Note: o.note}
	if _, keeper := os.LookupEnv(keeperVariable); !keeper {
		h.PID = os.Getpid() // the process that people know
	}
	h.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	if o.detach {
		h.PID, h.Detached = os.Getpid(), true // the keeper: the other process ends
	}
	if len(o.command) > 0 {
		h.Command = filepath.Base(o.command[0])
		if o.showArgs {
			h.Command = strings.Join(o.command, " ")
		}
	}
	return h
}
