package cmd

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/lock"
)

const unlockHelp = `Lets go of a lock that was taken on this host with "etcdx lock --detach", and returns when
it is free for others.`

func newUnlock(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "unlock <lockname>", Short: "Lets go of a lock taken with lock --detach", Long: unlockHelp,
		Example: `  eval "$(etcdx lock --detach --while-pid $$ deploy)"` + "\n  etcdx unlock deploy",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withQueue(cmd, args[0], func(ctx context.Context, s lockStore, q lock.Queue) error {
				host, _ := os.Hostname()
				for _, c := range q.Holders() {
					h, ok := lock.ParseHolder(c.Value)
					if !ok || !h.Detached || h.Host != host {
						continue
					}
					return letGo(ctx, s, args[0], c, h.PID)
				}
				return notFoundError{fmt.Sprintf("lock %q is not held by a detached lock of this host", args[0])}
			})
		},
	}
}

// letGo asks the process that holds a detached lock to end, and waits for its key to go.
func letGo(ctx context.Context, s lockStore, name string, c lock.Contender, pid int) error {
	// What the value says is the word of whoever can write the key: no other process than a lock's is ever ended for it.
	if pid <= 1 || !keepsLock(pid) || ask(pid) != nil { // it has died; nobody renews the lease
		return lock.BreakNow(ctx, s, c)
	}
	for {
		q, _, err := lock.Read(ctx, s, name)
		if err == nil && !holds(q, c.Token) {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("unlock %q: process %d does not let go: %w", name, pid, err)
		}
	}
}

func ask(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Signal(syscall.SIGTERM)
}

func holds(q lock.Queue, token int64) bool {
	for _, c := range q {
		if c.Token == token {
			return true
		}
	}
	return false
}
