package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// withMember calls do with member i while nothing else starts or ends members.
func (c *Cluster) withMember(i int, do func(*member) error) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if c.closed {
		return errors.New("the cluster is closed")
	}
	if i < 0 || i >= len(c.members) {
		return fmt.Errorf("there is no member %d: there are %d, numbered from 0", i, len(c.members))
	}
	if err := do(c.members[i]); err != nil {
		return fmt.Errorf("%s: %w", name(i), err)
	}
	return nil
}

// ParseSide reads a side's name: peers, clients or all (also the empty string).
func ParseSide(s string) (Side, error) {
	switch s {
	case "peers":
		return Peers, nil
	case "clients":
		return Clients, nil
	case "all", "":
		return All, nil
	}
	return 0, fmt.Errorf("%q is not peers, clients or all", s)
}

// MarshalText writes the side's name, or none.
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Side) UnmarshalText(text []byte) (err error) {
	if *s = 0; string(text) != "none" {
		*s, err = ParseSide(string(text))
	}
	return err
}

func (s Side) String() string {
	switch s {
	case 0:
		return "none"
	case Peers:
		return "peers"
	case Clients:
		return "clients"
	}
	return "all"
}

var errDead = errors.New("the member is dead")

// Kill ends member i as SIGKILL does, and returns when it has gone. Its ports refuse connections until Restart.
func (c *Cluster) Kill(i int) error {
	return c.withMember(i, func(m *member) error {
		if !m.proc.running() {
			return errDead
		}
		return c.kill(m)
	})
}

// Stop makes member i hang as SIGSTOP does: its connections stay, new ones are accepted, nothing is answered.
func (c *Cluster) Stop(i int) error {
	return c.withMember(i, func(m *member) error {
		if !m.proc.running() {
			return errDead
		}
		m.stopped = true
		return m.proc.stop()
	})
}

// Cont lets member i go on after Stop.
func (c *Cluster) Cont(i int) error {
	return c.withMember(i, func(m *member) error {
		if !m.proc.running() {
			return errDead
		}
		m.stopped = false
		return m.proc.cont()
	})
}

// Restart starts member i again, on the data that it has; a running one is ended first, by SIGTERM.
// It returns when the member serves, which does not mean that it has a leader.
func (c *Cluster) Restart(ctx context.Context, i int) error {
	return c.withMember(i, func(m *member) error {
		if err := c.terminate(m); err != nil {
			return err
		}
		return c.startMember(ctx, m, "existing")
	})
}

// Cut makes the links of member i silent, on the sides named: its own calls to other members too.
// Bytes on their way stay there until Heal. What was cut before stays cut.
func (c *Cluster) Cut(i int, from Side) error {
	return c.withMember(i, func(*member) error {
		c.net.change(func() { c.net.cuts[i] |= from })
		return nil
	})
}

// Slow holds back every byte on the links of member i by d, each way.
func (c *Cluster) Slow(i int, d time.Duration) error {
	return c.withMember(i, func(*member) error {
		c.net.change(func() { c.net.delays[i] = d })
		return nil
	})
}

// Lose makes the links of member i lose that share of segments, 0 to 1, each way. As with TCP no byte is lost for good: a lost segment, and
// all behind it, comes 0.2 s later, 0.6 s if it is lost again, and so on.
func (c *Cluster) Lose(i int, share float64) error {
	return c.withMember(i, func(*member) error {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("%v is no share of what is sent: from 0 to 1", share)
		}
		c.net.change(func() { c.net.losses[i] = share })
		return nil
	})
}

// Reset breaks all connections of member i, both ends seeing a reset. New ones are let through.
func (c *Cluster) Reset(i int) error {
	return c.withMember(i, func(*member) error {
		c.net.reset(i)
		return nil
	})
}

// Isolate makes the connections to all members silent that process pid and those below it have, and those that they will open, until Rejoin.
// Heal does not end it, as it is no fault of the cluster. Only one process can be isolated at a time, and on Linux only.
func (c *Cluster) Isolate(pid int) error {
	if !knowsOwners {
		return errors.New("this system does not tell whose a connection is")
	}
	n := c.net
	n.mu.Lock()
	before := n.alone
	if before == 0 {
		n.alone = pid
	}
	links := slices.Collect(maps.Keys(n.links))
	n.mu.Unlock()
	if before != 0 {
		return fmt.Errorf("process %d is isolated already", before)
	}
	for _, l := range links {
		if !l.peer {
			n.isolate(l)
		}
	}
	return nil
}

// Rejoin ends Isolate: what was sent meanwhile arrives.
func (c *Cluster) Rejoin() {
	c.net.change(func() {
		c.net.alone = 0
		for l := range c.net.links {
			l.alone = false
		}
	})
}

// Adopt makes the process pid end with the lab, should this process be killed, until Release. Close leaves it alone.
func (c *Cluster) Adopt(pid int) error { return c.guard.watch(pid) }

// Release takes back Adopt. It comes before the process is waited for: its ID can belong to another one afterwards.
func (c *Cluster) Release(pid int) error { return c.guard.forget(pid) }

// Heal ends all faults of the network, and lets stopped members go on. Dead ones stay dead: see Restart.
func (c *Cluster) Heal() error {
	c.ops.Lock()
	defer c.ops.Unlock()
	c.net.change(func() {
		clear(c.net.cuts)
		clear(c.net.delays)
		clear(c.net.losses)
	})
	var errs []error
	for _, m := range c.members {
		if m.stopped && m.proc.running() {
			m.stopped = false
			errs = append(errs, m.proc.cont())
		}
	}
	return errors.Join(errs...)
}
