package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/cmd"
)

// actPut: a write, read from every member.
func (d *stage) actPut(ctx context.Context) error {
	d.say("\nA put, and a get from every member:")
	r, err := d.show(ctx, "put", "demo/greeting", "hello")
	if err != nil {
		return err
	}
	d.claim(r.code == 0, "the put is done, after %v", r.took.Round(time.Millisecond))
	all := true
	for _, ep := range d.cluster.Endpoints() {
		r, err := d.run(ctx, "get", "demo/greeting", "--print-value-only", "--endpoints", ep)
		if err != nil {
			return err
		}
		all = all && r.out == "hello\n"
	}
	d.claim(all, "every member answers hello")
	return nil
}

// lockArgs are those of the lock's holder; its command writes down ten times a second that it lives.
func (d *stage) lockArgs() []string {
	return []string{"lock", "--ttl", "10", "demo-lock", "--", d.self, workName, d.file("ticks")}
}

// actLock: a lock held by a command.
func (d *stage) actLock(ctx context.Context) (err error) {
	d.say("\nA command that holds a lock with a TTL of 10 s:")
	if d.lock, err = d.begin("lock", d.lockArgs()...); err != nil {
		return err
	}
	got, err := until(ctx, func() bool { return readTicks(d.file("ticks"), time.Now()).count > 0 })
	if err != nil {
		return err
	}
	d.claim(got, "it got the lock, and the command runs")
	return d.claimHeld(ctx)
}

// claimHeld claims that nobody else gets the lock.
func (d *stage) claimHeld(ctx context.Context) error {
	const busy = 75
	r, err := d.run(ctx, "lock", "-n", "demo-lock", "--", d.self, workName, d.file("intruder"))
	if err != nil {
		return err
	}
	_, ran := os.Stat(d.file("intruder"))
	d.claim(r.code == busy && ran != nil, "another one that tries the lock is refused (exit code %d)", r.code)
	return nil
}

// actWatch: a watch that remembers where it is.
func (d *stage) actWatch(ctx context.Context) (err error) {
	d.say("\nA watch with a checkpoint:")
	if d.watch, err = d.begin("watch1", "watch", "--prefix", "demo/", "--checkpoint", "demo", "-w", "jsonl"); err != nil {
		return err
	}
	d.told = append(d.told, d.watch.out)
	got, err := until(ctx, func() bool { return state(readTold(d.told...))["demo/greeting"] == "hello" })
	if err != nil {
		return err
	}
	d.claim(got, "it begins with what is there: the greeting")
	return nil
}

// actKillAndHang: two members fall, one after the other, under all three.
func (d *stage) actKillAndHang(ctx context.Context) error {
	d.say("\nFrom now on a third one writes a key every 100 ms.")
	writing, stop := context.WithCancel(ctx)
	defer stop()
	written, watched := make(chan writes, 1), make(chan struct{})
	var behind lag
	go func() { written <- d.write(ctx, writing, &behind) }()
	go func() {
		defer close(watched)
		for pause(writing, 20*time.Millisecond) == nil {
			behind.look(readTold(d.told...), time.Now())
		}
	}()
	err := d.breakTwo(ctx)
	stop()
	w := <-written
	<-watched
	if err := errors.Join(err, w.err); err != nil {
		return err
	}
	for _, why := range w.why {
		d.say("  %s", why)
	}
	if w.unknown > 0 {
		d.say("  %d of the puts had an unknown outcome (exit code %d): the key was read, and written again if it was not there.", w.unknown, outcomeUnknown)
	}
	d.claim(w.failed == 0, "%d puts meanwhile, none failed; the slowest took %v", w.count(), w.slowest.Round(10*time.Millisecond))
	if err := d.claimTold(ctx, w.keys); err != nil {
		return err
	}
	d.claim(d.watch.running() && behind.worst < behindAllowed, "the watch is still the same process, and was never behind by more than %v", behind.worst.Round(10*time.Millisecond))
	t := readTicks(d.file("ticks"), time.Now())
	d.claim(d.lock.running() && t.gap < gapAllowed, "the lock's command never paused for more than %v", t.gap.Round(10*time.Millisecond))
	if err := d.claimHeld(ctx); err != nil {
		return err
	}
	d.say("The one that hung goes on.")
	if err := d.cluster.Heal(); err != nil {
		return err
	}
	return d.cluster.Ready(ctx)
}

// What the claims allow is more than etcdx needs, for machines that are busy; etcdctl's watch falls 16 s behind here.
const (
	behindAllowed = 4 * time.Second
	gapAllowed    = 2 * time.Second

	outcomeUnknown = 76 // exit code of a put
)

// breakTwo kills a member, brings it back, and hangs the leader.
func (d *stage) breakTwo(ctx context.Context) error {
	victim := d.busiest(ctx)
	d.say("%s, which most clients are connected to, is killed.", memberName(victim))
	if err := d.cluster.Kill(victim); err != nil {
		return err
	}
	if err := pause(ctx, 4*time.Second); err != nil {
		return err
	}
	if err := d.cluster.Restart(ctx, victim); err != nil {
		return err
	}
	if err := d.cluster.Ready(ctx); err != nil {
		return err
	}
	leader, err := d.cluster.Leader(ctx)
	if err != nil {
		return err
	}
	d.say("%s is back. Now the leader, %s, hangs: it accepts connections, and says nothing.", memberName(victim), memberName(leader))
	if err := d.cluster.Stop(leader); err != nil {
		return err
	}
	return pause(ctx, 5*time.Second)
}

// claimTold claims that the watch told every one of keys, once and in order.
func (d *stage) claimTold(ctx context.Context, keys []string) error {
	var a account
	_, err := until(ctx, func() bool {
		a = takeAccount(readTold(d.told...), keys)
		return a.missing == 0
	})
	d.claim(a == account{}, "the watch saw each of them once and in order (%d missing, %d twice)", a.missing, a.again)
	return err
}

// actResume: the watch is killed, and goes on where it was.
func (d *stage) actResume(ctx context.Context) (err error) {
	d.say("\nThe watch is killed (SIGKILL), and 20 keys are written and one deleted before it is resumed:")
	d.watch.kill()
	w := d.writeSome(ctx, 20)
	if w.err != nil {
		return w.err
	}
	if _, err := d.run(ctx, "del", "demo/greeting"); err != nil {
		return err
	}
	if d.watch, err = d.begin("watch2", "resume", "demo"); err != nil {
		return err
	}
	d.told = append(d.told, d.watch.out)
	var a account
	got, err := until(ctx, func() bool {
		all := readTold(d.told...)
		a = takeAccount(all, w.keys)
		_, there := state(all)["demo/greeting"]
		return a.missing == 0 && !there
	})
	d.claim(got && w.failed == 0, "it saw all that it missed, the delete too (%d missing, %d a second time)", a.missing, a.again)
	return err
}

// actCompact: the history that the watch needs is compacted while it is away.
func (d *stage) actCompact(ctx context.Context) (err error) {
	d.say("\nThe watch is stopped; 10 keys are written, 5 deleted, and then the whole history is compacted:")
	d.watch.end()
	w := d.writeSome(ctx, 10)
	if w.err != nil {
		return w.err
	}
	if _, err := d.run(ctx, "del", "--prefix", w.keys[0]); err != nil {
		return err
	}
	for _, k := range w.keys[1:5] {
		if _, err := d.run(ctx, "del", k); err != nil {
			return err
		}
	}
	if _, err := d.cluster.Compact(ctx, 0); err != nil {
		return err
	}
	const compacted = 80
	r, err := d.show(ctx, "compact-check", "demo")
	if err != nil {
		return err
	}
	d.claim(r.code == compacted, "compact-check says that the checkpoint's history is gone (exit code %d)", r.code)
	if d.watch, err = d.begin("watch3", "resume", "demo"); err != nil {
		return err
	}
	d.told = append(d.told, d.watch.out)
	want, err := d.present(ctx)
	if err != nil {
		return err
	}
	var have map[string]string
	synced := false
	_, err = until(ctx, func() bool {
		all := readTold(d.told...)
		have = state(all)
		for _, t := range all {
			synced = synced || t.Type == "sync_end" && t.Source == ""
		}
		return maps.Equal(have, want)
	})
	d.claim(synced && maps.Equal(have, want), "after its resync, what the watch told adds up to exactly the %d keys there are, the deletes included", len(want))
	return err
}

// present returns the keys that there are now.
func (d *stage) present(ctx context.Context) (map[string]string, error) {
	r, err := d.run(ctx, "get", "--prefix", "demo/", "-w", "jsonl")
	if err != nil {
		return nil, err
	}
	if r.code != 0 {
		return nil, fmt.Errorf("get: %s", r.err)
	}
	file := d.file("present")
	if err := os.WriteFile(file, []byte(r.out), 0o600); err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, t := range readTold(file) {
		keys[t.Key] = t.Value
	}
	return keys, nil
}

// actUnlock: the command ends by itself, and the lock is free.
func (d *stage) actUnlock(ctx context.Context) error {
	d.say("\nThe lock's command ends, with exit code %d:", workCode)
	if err := os.WriteFile(d.file("ticks")+stopEnding, nil, 0o600); err != nil {
		return err
	}
	if _, err := until(ctx, func() bool { return !d.lock.running() }); err != nil {
		return err
	}
	if d.lock.running() {
		d.claim(false, "the lock's holder ended")
		return nil
	}
	d.claim(d.lock.cmd.ProcessState.ExitCode() == workCode, "its exit code comes back: %d", d.lock.cmd.ProcessState.ExitCode())
	r, err := d.run(ctx, "lock", "-n", "demo-lock", "--", d.self, "version")
	d.claim(err == nil && r.code == 0, "the lock is free: the next one gets it in %v", r.took.Round(time.Millisecond))
	return err
}

// writes is what the writer did.
type writes struct {
	keys    []string // those that were put
	unknown int      // puts of unknown outcome
	failed  int
	why     []string
	slowest time.Duration
	err     error
}

func (w writes) count() int { return len(w.keys) + w.failed }

// write puts a new key every 100 ms, each by a process of its own, until writing ends, and tells behind when each was done.
func (d *stage) write(ctx, writing context.Context, behind *lag) writes {
	var w writes
	for writing.Err() == nil && w.err == nil {
		if key := d.writeOne(ctx, &w); key != "" {
			behind.add(key, time.Now())
		}
		_ = pause(writing, 100*time.Millisecond)
	}
	return w
}

func (d *stage) writeSome(ctx context.Context, n int) writes {
	var w writes
	for w.count() < n && w.err == nil {
		d.writeOne(ctx, &w)
	}
	return w
}

// writeOne puts the next key and returns it, or "" if that failed. A put of unknown outcome is read before it is written again.
func (d *stage) writeOne(ctx context.Context, w *writes) string {
	key := fmt.Sprintf("demo/n/%04d", d.next)
	put := []string{"put", key, strconv.Itoa(d.next)}
	d.next++
	r, err := d.run(ctx, put...)
	took := r.took
	if err == nil && r.code == outcomeUnknown {
		w.unknown++
		r, err = d.run(ctx, "get", "--print-value-only", key)
		took += r.took
		if err == nil && r.code == 0 && r.out == "" {
			r, err = d.run(ctx, put...)
			took += r.took
		}
	}
	w.err, w.slowest = err, max(w.slowest, took)
	if err != nil {
		return ""
	}
	if r.code != 0 {
		w.failed++
		w.why = append(w.why, key+": "+strings.TrimSpace(r.err))
		return ""
	}
	w.keys = append(w.keys, key)
	return key
}

// busiest returns the member that most clients are connected to.
func (d *stage) busiest(ctx context.Context) int {
	most, clients := 0, -1
	for i, s := range d.cluster.Status(ctx) {
		if s.Clients > clients {
			most, clients = i, s.Clients
		}
	}
	return most
}

func memberName(i int) string { return "m" + strconv.Itoa(i+1) }

// workName is the command that the demo's lock holder runs; it ends with workCode once a file with stopEnding is there.
const (
	workName   = "demo-work"
	workCode   = 7
	stopEnding = ".stop"
)

// workTimeout ends work that nobody waits for any more.
const workTimeout = demoTimeout

func newWork(cmd.Streams) *cobra.Command {
	return &cobra.Command{
		Use: workName + " FILE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), workTimeout)
			defer cancel()
			return work(ctx, args[0])
		},
	}
}

// work appends the time to file ten times a second.
func work(ctx context.Context, file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := fmt.Fprintln(f, time.Now().UnixMilli()); err != nil {
			return err
		}
		if _, err := os.Stat(file + stopEnding); err == nil {
			return cmd.ExitCode(workCode)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
