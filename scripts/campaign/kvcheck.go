//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Violation is a promise that was seen broken.
type Violation struct {
	Workload string
	// Rule is the promise's name.
	Rule string
	// From and To are when it happened.
	From, To time.Duration
	Text     string
}

func (v Violation) name() string { return v.Workload + "/" + v.Rule }

// checkTime bounds the search for a linearization of one key's history.
const checkTime = 20 * time.Second

// register is etcd's promise for one key, as porcupine wants it. The state is the value, empty for a key that does not exist.
// A call with unknown outcome may take effect at any time after it began; one that never did comes after everything else.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) { return step(state.(string), input.(Call)) },
	}
}

// step says whether call c may have ended as it did in a state, and what the state is then.
func step(value string, c Call) (ok bool, next string) {
	known := c.Ending == Done
	switch c.Verb {
	case Get:
		return c.Got == value, value
	case Put:
		return true, c.Value
	case Del:
		existed := int64(0)
		if value != "" {
			existed = 1
		}
		return !known || c.Deleted == existed, ""
	}
	swaps := value == c.Old
	next = value
	if swaps {
		next = c.Value
	}
	if !known {
		return true, next
	}
	return c.Swapped == swaps && (swaps || c.Got == value), next
}

// operations turns the calls that can say something into porcupine's form; what was not applied and reads that failed can't.
// Calls that had not ended at cut are open: their outcome is unknown.
func operations(calls []Call, cut time.Duration) []porcupine.Operation {
	var ops []porcupine.Operation
	for i, c := range calls {
		if c.From > cut || c.Ending == NotApplied {
			continue
		}
		end := int64(c.To)
		if c.To > cut || c.Ending != Done {
			if c.Verb == Get {
				continue
			}
			c.Ending = Unknown
			end = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: i, Input: c, Call: int64(c.From), Return: end})
	}
	return ops
}

// CheckLinearizable looks for an order of all calls that explains what each of them returned, key by key.
func CheckLinearizable(calls []Call) []Violation {
	byKey := map[string][]Call{}
	for _, c := range calls {
		byKey[c.Key] = append(byKey[c.Key], c)
	}
	var found []Violation
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		history := byKey[key]
		switch porcupine.CheckOperationsTimeout(register(), operations(history, math.MaxInt64), checkTime) {
		case porcupine.Illegal:
			found = append(found, explain(key, history))
		case porcupine.Unknown:
			found = append(found, Violation{Workload: "kv", Rule: "checked", Text: fmt.Sprintf("%s: no verdict on %d calls within %v", key, len(history), checkTime)})
		}
	}
	return found
}

// explain finds the first instant at which the history of a key can't be explained any more.
func explain(key string, calls []Call) Violation {
	ends := make([]time.Duration, 0, len(calls))
	for _, c := range calls {
		ends = append(ends, c.To)
	}
	slices.Sort(ends)
	i := sort.Search(len(ends), func(i int) bool {
		return porcupine.CheckOperationsTimeout(register(), operations(calls, ends[i]), checkTime) == porcupine.Illegal
	})
	at := ends[min(i, len(ends)-1)]
	const before = 12 // calls shown
	var shown []Call
	for _, c := range calls {
		if c.From <= at && c.Ending != NotApplied {
			shown = append(shown, c)
		}
	}
	slices.SortFunc(shown, func(a, b Call) int { return cmp.Compare(a.To, b.To) })
	var open, last []string
	for j, c := range shown {
		switch {
		case c.Ending != Done && c.Verb != Get:
			open = append(open, c.String())
		case j >= len(shown)-before:
			last = append(last, c.String())
		}
	}
	text := fmt.Sprintf("%s: no order of its calls explains what they returned up to %.3fs; the last ones:\n  %s", key, at.Seconds(), strings.Join(last, "\n  "))
	if len(open) > 0 {
		text += "\nof unknown outcome:\n  " + strings.Join(open[max(0, len(open)-before):], "\n  ")
	}
	return Violation{Workload: "kv", Rule: "linearizable", From: at, To: at, Text: text}
}

// Window is a stretch of time in which calls may fail.
type Window struct{ From, To time.Duration }

// Bounds are the promises about how calls end.
type Bounds struct {
	// Longest is how long a call may take.
	Longest time.Duration
	// Outages are when the whole cluster was out of reach.
	Outages []Window
	// Pace is how late the machine was.
	Pace Pace
}

// CheckEndings says which calls took too long, left their caller without a word on the outcome, or failed while a majority served.
func CheckEndings(calls []Call, b Bounds) []Violation {
	var found []Violation
	for _, c := range calls {
		v := Violation{Workload: "kv", From: c.From, To: c.To, Text: c.String()}
		excused := slices.ContainsFunc(b.Outages, func(w Window) bool { return c.From <= w.To && w.From <= c.To })
		switch {
		case c.Ending == Untold && c.Verb != Get:
			v.Rule = "told"
		case c.Ending == Unknown && (c.Verb == CAS || contested(c, calls) || unresolvable(c)):
			continue // nobody can repeat another's transaction, nor tell who changed a key that others change too
		case c.Ending != Done && !excused:
			v.Rule = "available"
		case c.To-c.From > b.Longest+b.Pace.late(c.From, c.To):
			v.Rule = "bounded"
		default:
			continue
		}
		found = append(found, v)
	}
	return found
}

// unresolvable says whether the outcome of c could not be found out for a reason that docs/guarantees.md names: what was lost would have made the key,
// the history that tells was compacted, or it was a delete, and the key is gone.
func unresolvable(c Call) bool {
	said := func(why string) bool { return strings.Contains(c.Err, why) }
	return said("a write that makes one is not sent twice") ||
		said("required revision has been compacted") ||
		c.Verb == Del && said("by this command or by somebody else")
}

// contested says whether another client may have changed the key of c meanwhile.
func contested(c Call, calls []Call) bool {
	return slices.ContainsFunc(calls, func(o Call) bool {
		ended := o.Ending == Done && o.To < c.From
		return o.Client != c.Client && o.Key == c.Key && o.Verb != Get && o.Ending != NotApplied && o.From < c.To && !ended
	})
}
