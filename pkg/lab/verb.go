package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Apply does what words say, as scripts and command lines write it, and returns what there is to tell: the revision for rev and
// compact, the member's name for leader.
//
//	kill|stop|cont|restart|reset|noleader MEMBER, cut MEMBER [peers|clients|all], slow MEMBER DURATION, lose MEMBER SHARE,
//	isolate PID, rejoin, heal, ready, leader, rev, compact [REV], snapshot FILE, restore FILE
//
// MEMBER is m1 or 1, leader, or follower: the first that is not the leader.
func (c *Cluster) Apply(ctx context.Context, words []string) (string, error) {
	verb, args := "", []string(nil)
	if len(words) > 0 {
		verb, args = words[0], words[1:]
	}
	if least, most := arity(verb); len(args) < least || len(args) > most {
		return "", fmt.Errorf("not a command for a cluster: %q", strings.Join(words, " "))
	}
	switch verb {
	case "kill", "stop", "cont", "restart", "reset", "noleader", "cut", "slow", "lose":
		i, err := c.member(ctx, args[0])
		if err != nil {
			return "", err
		}
		return "", c.applyTo(ctx, i, verb, args[1:])
	case "heal":
		return "", c.Heal()
	case "isolate":
		pid, err := strconv.Atoi(args[0])
		if err != nil {
			return "", err
		}
		return "", c.Isolate(pid)
	case "rejoin":
		c.Rejoin()
		return "", nil
	case "ready":
		return "", c.Ready(ctx)
	case "leader":
		i, err := c.Leader(ctx)
		return name(i), err
	case "snapshot":
		return "", c.Snapshot(ctx, args[0])
	case "restore":
		return "", c.Restore(ctx, args[0])
	case "rev":
		rev, err := c.Revision(ctx)
		return strconv.FormatInt(rev, 10), err
	}
	var rev int64
	if len(args) > 0 {
		var err error
		if rev, err = strconv.ParseInt(args[0], 10, 64); err != nil {
			return "", err
		}
	}
	rev, err := c.Compact(ctx, rev)
	return strconv.FormatInt(rev, 10), err
}

// arity returns how many arguments a verb takes.
func arity(verb string) (least, most int) {
	switch verb {
	case "heal", "rejoin", "ready", "leader", "rev":
		return 0, 0
	case "compact":
		return 0, 1
	case "kill", "stop", "cont", "restart", "reset", "noleader", "isolate", "snapshot", "restore":
		return 1, 1
	case "cut":
		return 1, 2
	case "slow", "lose":
		return 2, 2
	}
	return 1, 0
}

// applyTo does one member's part of Apply.
func (c *Cluster) applyTo(ctx context.Context, i int, verb string, args []string) error {
	switch verb {
	case "kill":
		return c.Kill(i)
	case "stop":
		return c.Stop(i)
	case "cont":
		return c.Cont(i)
	case "restart":
		return c.Restart(ctx, i)
	case "reset":
		return c.Reset(i)
	case "cut":
		side, err := ParseSide(strings.Join(args, ""))
		if err != nil {
			return err
		}
		return c.Cut(i, side)
	case "slow":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		return c.Slow(i, d)
	case "lose":
		share, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return err
		}
		return c.Lose(i, share)
	}
	return c.NoLeader(ctx, i)
}

// member returns the number of the member called what.
func (c *Cluster) member(ctx context.Context, what string) (int, error) {
	switch what {
	case "leader":
		return c.Leader(ctx)
	case "follower":
		leader, err := c.Leader(ctx)
		if err != nil {
			return 0, err
		}
		if c.Len() == 1 {
			return 0, fmt.Errorf("the only member is the leader")
		}
		if leader == 0 {
			return 1, nil
		}
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(what, "m"))
	if err != nil || n < 1 || n > c.Len() {
		return 0, fmt.Errorf("no such member: %q; there are m1 to %s", what, name(c.Len()-1))
	}
	return n - 1, nil
}
