package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/cmd"
	"github.com/etcdx/etcdx/pkg/lab"
)

const defaultName = "default"

func newLab(s cmd.Streams) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "lab",
		Short: "Start a real etcd cluster on this machine, and break it",
		Long: `Start a real etcd cluster on this machine, and break it: kill members, hang them, cut them off, slow them down, compact and
restore, while clients look on. MEMBER is m1, m2, ..., leader, or follower (the first that is not the leader).`,
		Example: `  etcdx lab up --detach
  eval "$(etcdx lab env)"
  etcdx lab stop leader
  etcdx lab down`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVar(&name, "name", defaultName, "name of the lab, where several run")
	c.AddCommand(newUp(s, &name), newDown(s, &name), newStatus(s, &name), newEnv(s, &name), newCut(s, &name), newFiles(s, &name, "snapshot"), newFiles(s, &name, "restore"))
	for _, v := range verbs() {
		c.AddCommand(newVerb(s, &name, v))
	}
	return c
}

// shortcuts are the lab's commands whose names etcdctl does not use: in this binary they work without "lab" before them.
func shortcuts() []cmd.Extra {
	var all []cmd.Extra
	for _, name := range []string{"up", "down", "status", "env", "kill", "stop", "cont", "restart", "cut", "slow", "heal"} {
		all = append(all, func(s cmd.Streams) *cobra.Command {
			parent := newLab(s)
			c, _, err := parent.Find([]string{name})
			if err != nil || c == parent {
				panic("no such command: lab " + name)
			}
			parent.RemoveCommand(c)
			c.Flags().AddFlagSet(parent.PersistentFlags())
			c.Hidden = true
			return c
		})
	}
	return all
}

// verb is a fault that needs no flags of its own.
type verb struct {
	use, short string
	least      int // arguments
	most       int
}

func verbs() []verb {
	return []verb{
		{"kill MEMBER...", "End members as SIGKILL does; their ports refuse connections", 1, 64},
		{"stop MEMBER...", "Hang members as SIGSTOP does; their ports accept connections and stay silent", 1, 64},
		{"cont MEMBER...", "Let stopped members go on", 1, 64},
		{"restart MEMBER...", "Start members again on their data", 1, 64},
		{"reset MEMBER...", "Break all connections of members; new ones work", 1, 64},
		{"slow MEMBER DURATION", "Hold back every byte on a member's links, each way", 2, 2},
		{"lose MEMBER SHARE", "Lose that share of what is sent on a member's links, 0.05 say: it comes late, as with TCP", 2, 2},
		{"heal", "End cuts, delays and losses, and let stopped members go on", 0, 0},
		{"ready", "Wait until every living member serves", 0, 0},
		{"leader", "Print the leader's name", 0, 0},
		{"rev", "Print the current revision", 0, 0},
		{"compact [REVISION]", "Compact the history up to a revision, or all of it, and print the revision", 0, 1},
	}
}

func newVerb(s cmd.Streams, name *string, v verb) *cobra.Command {
	word, _, _ := strings.Cut(v.use, " ")
	return &cobra.Command{
		Use: v.use, Short: v.short, Args: cobra.RangeArgs(v.least, v.most),
		RunE: func(c *cobra.Command, args []string) error {
			if !strings.HasSuffix(v.use, "...") {
				return send(c.Context(), s.Out, *name, append([]string{word}, args...))
			}
			for _, member := range args {
				if err := send(c.Context(), s.Out, *name, []string{word, member}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// send gives words to the lab and prints what it has to tell.
func send(ctx context.Context, out io.Writer, name string, words []string) error {
	p, err := findPlace(name)
	if err != nil {
		return err
	}
	answer, err := p.call(ctx, words...)
	if err == nil && answer.Text != "" {
		fmt.Fprintln(out, answer.Text)
	}
	return err
}

func newCut(s cmd.Streams, name *string) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "cut MEMBER", Short: "Make a member's links silent", Args: cobra.ExactArgs(1),
		Long: `Make a member's links silent. Connections stay open and new ones are accepted; what is sent into them waits, and arrives after heal.`,
		RunE: func(c *cobra.Command, args []string) error {
			return send(c.Context(), s.Out, *name, []string{"cut", args[0], from})
		},
	}
	c.Flags().StringVar(&from, "from", "all", "which links: peers, clients or all")
	return c
}

// newFiles makes the commands that name a file: the lab may run in another directory.
func newFiles(s cmd.Streams, name *string, word string) *cobra.Command {
	short := map[string]string{
		"snapshot": "Save the cluster's data in a file",
		"restore":  "Take the whole cluster back to a snapshot, under the same addresses",
	}
	return &cobra.Command{
		Use: word + " FILE", Short: short[word], Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return send(c.Context(), s.Out, *name, []string{word, file})
		},
	}
}

func newEnv(s cmd.Streams, name *string) *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print the settings that lead clients to the lab, for eval in a shell", Args: cobra.NoArgs,
		Example: `  eval "$(etcdx lab env)"`,
		RunE: func(*cobra.Command, []string) error {
			p, err := findPlace(*name)
			if err != nil {
				return err
			}
			r, err := p.load()
			for _, v := range r.Env {
				fmt.Fprintf(s.Out, "export %s='%s'\n", v.Name, strings.ReplaceAll(v.Value, "'", `'\''`))
			}
			return err
		},
	}
}

// newDown makes the command that ends a lab. A lab that is not up is what it wants: that is no failure.
func newDown(s cmd.Streams, name *string) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "End the lab; nothing of it is left", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := findPlace(*name)
			if err != nil {
				return err
			}
			_, err = p.call(c.Context(), "down")
			if errors.Is(err, errNotUp) {
				p.clear()
				fmt.Fprintf(s.Err, "etcdx: %v\n", err)
				return nil
			}
			if err != nil {
				return err
			}
			return p.waitGone(c.Context())
		},
	}
}

// waitGone waits until the lab has removed its files, the last thing it does.
func (p place) waitGone(ctx context.Context) error {
	for {
		if _, err := p.load(); errors.Is(err, errNotUp) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func newStatus(s cmd.Streams, name *string) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show every member: its process, its role, its faults", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := findPlace(*name)
			if err != nil {
				return err
			}
			answer, err := p.call(c.Context(), "status")
			if err != nil {
				return err
			}
			if format, err := c.Flags().GetString("write-out"); err == nil && format == "json" {
				return json.NewEncoder(s.Out).Encode(answer.Status)
			}
			return printStatus(s.Out, answer.Status)
		},
	}
}

func printStatus(out io.Writer, all []lab.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEMBER\tENDPOINT\tPROCESS\tSTATE\tROLE\tTERM\tREVISION\tVERSION\tCLIENTS\tLINKS")
	for _, m := range all {
		role := "-"
		switch {
		case m.IsLeader:
			role = "leader"
		case m.HasLeader:
			role = "follower"
		case m.Answers:
			role = "no leader"
		}
		links := "good"
		if m.Cut != 0 {
			links = "cut from " + m.Cut.String()
		}
		if m.Delay > 0 {
			links += ", slow by " + m.Delay.String()
		}
		if m.Loss > 0 {
			links += fmt.Sprintf(", loses %g", m.Loss)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%d\t%s\t%d\t%s\n", m.Name, m.Endpoint, m.Pid, m.State, role, m.Term, m.Revision, m.Version, m.Clients, links)
	}
	return w.Flush()
}
