package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/cmd"
	"github.com/etcdx/etcdx/pkg/lab"
)

const demoHelp = `Start a real cluster of three etcd members on this machine, with etcd's own timings, and break it while a command holds a lock,
another watches, and a third writes: the member they use is killed, then one hangs; the watch is killed and resumed; the history is
compacted under it.

Every claim that it makes is checked. It exits with 1 if one is false, and leaves nothing behind.`

// demoTimeout bounds the whole of it, on a slow machine.
const demoTimeout = 2 * time.Minute

func newDemo(s cmd.Streams) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Show in 20 seconds what etcdx holds on to, on a real cluster", Long: demoHelp, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(c.Context(), demoTimeout, errors.New("the demo takes too long"))
			defer cancel()
			return runDemo(ctx, s)
		},
	}
}

// runDemo plays the acts in order. A false claim does not end it; an act that can't go on does.
func runDemo(ctx context.Context, s cmd.Streams) error {
	began := time.Now()
	d := &stage{out: s.Out}
	d.say("Three real etcd members on this machine, with etcd's own timings (heartbeat 100 ms, election 1 s).")
	err := d.open(ctx, lab.Config{Heartbeat: 100 * time.Millisecond, Election: time.Second})
	for _, act := range []func(context.Context) error{
		d.actPut, d.actLock, d.actWatch, d.actKillAndHang, d.actResume, d.actCompact, d.actUnlock,
	} {
		if err == nil {
			err = act(ctx)
		}
	}
	err = errors.Join(err, d.close())
	took := time.Since(began).Round(100 * time.Millisecond)
	switch {
	case ctx.Err() != nil:
		// Whatever went wrong then came of this.
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("the demo can't go on after %v: %w", took, err)
	case d.wrong > 0:
		return fmt.Errorf("%d of %d claims are false", d.wrong, d.claims)
	}
	d.say("\n%d claims, all checked, all true, in %v. Nothing is left behind.", d.claims, took)
	return nil
}
