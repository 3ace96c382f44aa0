//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Verb is what a call does with its key.
type Verb string

// The verbs. CAS is a transaction: if the key's value is Old, then put Value, else get.
const (
	Get Verb = "get"
	Put Verb = "put"
	Del Verb = "del"
	CAS Verb = "cas"
)

// Ending says how a call ended, in terms of what its caller knows.
type Ending string

// The endings.
const (
	Done       Ending = "done"
	NotApplied Ending = "not applied" // told so: exit code 69, or UnavailableError
	Unknown    Ending = "unknown"     // told so: exit code 76, or UnknownOutcomeError
	Untold     Ending = "untold"      // failed in another way, which says neither
)

// Call is one call of one client on one key. Times count from the start of the workloads.
type Call struct {
	Client     string
	Verb       Verb
	Key, Value string
	// Old is what CAS compares with; empty: the key must not exist.
	Old string

	From, To time.Duration
	Ending   Ending
	// Found and Got are what a get read, also one inside a CAS that did not swap. No written value is empty.
	Got     string
	Deleted int64
	Swapped bool
	Err     string
}

func (c Call) String() string {
	s := fmt.Sprintf("%9.3fs-%9.3fs %-8s %s %s", c.From.Seconds(), c.To.Seconds(), c.Client, c.Verb, c.Key)
	switch c.Verb {
	case Put:
		s += "=" + c.Value
	case CAS:
		s += fmt.Sprintf(" %q -> %s", c.Old, c.Value)
	}
	if c.Ending != Done {
		return s + ": " + string(c.Ending) + " (" + c.Err + ")"
	}
	switch c.Verb {
	case Get:
		s += fmt.Sprintf(": %q", c.Got)
	case Del:
		s += fmt.Sprintf(": %d deleted", c.Deleted)
	case CAS:
		s += fmt.Sprintf(": swapped %v, read %q", c.Swapped, c.Got)
	}
	return s
}

// Script is the endless sequence of calls that one client makes, and the pauses between them. It depends on the seed and
// on what the client has read, which CAS compares with.
type Script struct {
	client string
	rng    *rand.Rand
	verbs  []Verb
	keys   int
	n      int
	seen   map[string]string
}

// NewScript returns the script of the number-th client, who makes calls of these verbs on so many keys.
func NewScript(seed uint64, number int, client string, keys int, verbs ...Verb) *Script {
	return &Script{client: client, rng: rand.New(rand.NewPCG(seed, 100+uint64(number))), verbs: verbs, keys: keys, seen: map[string]string{}}
}

// Next returns the next call, and how long to wait before it.
func (s *Script) Next(longest time.Duration) (Call, time.Duration) {
	s.n++
	c := Call{Client: s.client, Verb: pick(s.rng, s.verbs...), Key: fmt.Sprintf("kv/%d", s.rng.IntN(s.keys))}
	if c.Verb == Put || c.Verb == CAS {
		c.Value = fmt.Sprintf("%s.%d", s.client, s.n)
	}
	c.Old = s.seen[c.Key]
	return c, time.Duration(s.rng.Int64N(int64(longest)))
}

// Saw notes what a call tells about its key.
func (s *Script) Saw(c Call) {
	switch {
	case c.Ending != Done:
	case c.Verb == Put, c.Verb == CAS && c.Swapped:
		s.seen[c.Key] = c.Value
	case c.Verb == Del:
		s.seen[c.Key] = ""
	default:
		s.seen[c.Key] = c.Got
	}
}
