//go:build linux

package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Class names a kind of fault.
type Class string

// The classes of faults. Those of the first group hurt a minority of three members, those of the second all of the cluster,
// those of the third leave the members alone.
const (
	Kill       Class = "kill"        // a member is killed and restarted
	Stop       Class = "stop"        // a member hangs
	LeaderStop Class = "leader-stop" // the leader hangs for longer than a lock's TTL
	CutPeers   Class = "cut-peers"   // a member can't reach the others, its clients reach it
	CutClients Class = "cut-clients" // a member's clients can't reach it
	CutAll     Class = "cut-all"     // a member is cut off from everybody
	Slow       Class = "slow"        // every byte of a member is late
	Lossy      Class = "lossy"       // a member's links lose some of what is sent
	Reset      Class = "reset"       // a member's connections break

	KillMajority Class = "kill-majority" // two members are killed and restarted
	Outage       Class = "outage"        // no client reaches any member

	Compact  Class = "compact"   // the history is compacted at the current revision or before
	ProcKill Class = "proc-kill" // a process of the tool is killed
	ProcStop Class = "proc-stop" // a process of the tool hangs
	ProcCut  Class = "proc-cut"  // a run of the tool can't reach any member for longer than the TTL, others can
	Freeze   Class = "freeze"    // a command under a lock and all of the tool above it hang for longer than the TTL, as on a paused machine
)

func memberClasses() []Class {
	return []Class{Kill, Stop, LeaderStop, CutPeers, CutClients, CutAll, Slow, Lossy, Reset, KillMajority, Outage}
}

func allClasses() []Class {
	return append(memberClasses(), Compact, ProcKill, ProcStop, ProcCut, Freeze)
}

// wholeCluster says whether no endpoint can be expected to serve during such a fault.
func (c Class) wholeCluster() bool { return c == KillMajority || c == Outage }

// Fault is one fault of a plan. Times count from the start of the workloads.
type Fault struct {
	Class Class
	At    time.Duration
	For   time.Duration // how long it lasts; 0 for those of an instant
	// Target is leader, follower or a member's name for faults of members, a workload for those of processes.
	Target string
	Delay  time.Duration // of Slow
	Loss   float64       // of Lossy: the share that is lost
	// Pick is which of the target's processes: the Pick-th of those that run, counted round. For Compact, how many revisions
	// before the current one.
	Pick int
}

func (f Fault) String() string {
	s := fmt.Sprintf("%-13s %s", f.Class, f.Target)
	if f.Delay > 0 {
		s += " by " + f.Delay.String()
	}
	if f.Loss > 0 {
		s += fmt.Sprintf(" %.0f%%", 100*f.Loss)
	}
	if f.For > 0 {
		s += " for " + f.For.Round(time.Millisecond).String()
	}
	return s
}

// Shape says what a plan is made of.
type Shape struct {
	Seed     uint64
	Duration time.Duration
	Classes  []Class
	// Targets are the workloads whose processes may be killed and stopped.
	Targets []string
	// TTL is that of the locks: LeaderStop lasts longer, other faults sometimes.
	TTL time.Duration
}

// Plan returns the faults for a shape, by time. The same shape gives the same plan.
func Plan(s Shape) []Fault {
	has := func(c Class) bool { return slices.Contains(s.Classes, c) }
	members := slices.DeleteFunc(memberClasses(), func(c Class) bool { return !has(c) })
	var plan []Fault
	if len(members) > 0 {
		plan = append(plan, s.memberFaults(rand.New(rand.NewPCG(s.Seed, 1)), members)...)
	}
	if has(Compact) {
		plan = append(plan, s.compactions(rand.New(rand.NewPCG(s.Seed, 2)))...)
	}
	procs := slices.DeleteFunc([]Class{ProcKill, ProcStop, Freeze}, func(c Class) bool { return !has(c) })
	if len(procs) > 0 && len(s.Targets) > 0 {
		plan = append(plan, s.processFaults(rand.New(rand.NewPCG(s.Seed, 3)), procs)...)
	}
	if has(ProcCut) && len(s.Targets) > 0 {
		plan = append(plan, s.cuts(rand.New(rand.NewPCG(s.Seed, 4)))...)
	}
	slices.SortStableFunc(plan, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return plan
}

// memberFaults come one after the other, with a pause that is sometimes too short to recover in. Every class occurs once
// before any occurs twice.
func (s Shape) memberFaults(rng *rand.Rand, classes []Class) []Fault {
	var plan []Fault
	var bag []Class
	for at := between(rng, 500*time.Millisecond, 2*time.Second); ; {
		if len(bag) == 0 {
			bag = slices.Clone(classes)
			rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		f := Fault{Class: bag[0], At: at, Target: pick(rng, "leader", "follower", "m1", "m2", "m3")}
		bag = bag[1:]
		f.For = s.lasting(rng, f.Class)
		switch f.Class {
		case LeaderStop:
			f.Target = "leader"
		case Slow:
			f.Delay = between(rng, 20*time.Millisecond, 400*time.Millisecond)
		case Lossy:
			f.Loss = 0.02 + 0.28*rng.Float64()
		case Outage:
			f.Target = "all"
		case KillMajority:
			f.Target = pick(rng, "leader", "follower") // and the next one
		}
		if f.At+f.For > s.Duration {
			return plan
		}
		plan = append(plan, f)
		at += f.For + between(rng, 200*time.Millisecond, 2500*time.Millisecond)
	}
}

// lasting draws how long a fault of class c lasts: mostly shorter than the TTL of the locks, sometimes longer.
func (s Shape) lasting(rng *rand.Rand, c Class) time.Duration {
	switch {
	case c == Reset:
		return 0
	case c == LeaderStop, rng.IntN(5) == 0:
		return between(rng, s.TTL+500*time.Millisecond, s.TTL+2*time.Second)
	}
	return between(rng, 500*time.Millisecond, 4*time.Second)
}

func (s Shape) compactions(rng *rand.Rand) []Fault {
	var plan []Fault
	for at := between(rng, time.Second, 4*time.Second); at < s.Duration; at += between(rng, time.Second, 6*time.Second) {
		f := Fault{Class: Compact, At: at}
		if rng.IntN(2) == 0 {
			f.Pick = rng.IntN(300)
		}
		plan = append(plan, f)
	}
	return plan
}

func (s Shape) processFaults(rng *rand.Rand, classes []Class) []Fault {
	var plan []Fault
	for at := between(rng, time.Second, 3*time.Second); at < s.Duration; {
		f := Fault{Class: pick(rng, classes...), At: at, Target: pick(rng, s.Targets...), Pick: rng.IntN(1000)}
		switch f.Class {
		case ProcStop:
			f.For = s.lasting(rng, ProcStop)
		case Freeze:
			f.For = s.lasting(rng, LeaderStop)
		}
		plan = append(plan, f)
		at += between(rng, 500*time.Millisecond, 3*time.Second)
	}
	return plan
}

// cuts come one after the other, and independently of the other faults of processes.
func (s Shape) cuts(rng *rand.Rand) []Fault {
	var plan []Fault
	for at := between(rng, time.Second, 6*time.Second); ; {
		f := Fault{Class: ProcCut, At: at, Target: pick(rng, s.Targets...), Pick: rng.IntN(1000), For: between(rng, s.TTL+time.Second, 2*s.TTL+4*time.Second)}
		if f.At+f.For > s.Duration {
			return plan
		}
		plan = append(plan, f)
		at += f.For + between(rng, 500*time.Millisecond, 3*time.Second)
	}
}

func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// Counts returns how often each class occurs.
func Counts(plan []Fault) map[Class]int {
	n := map[Class]int{}
	for _, f := range plan {
		n[f.Class]++
	}
	return n
}
