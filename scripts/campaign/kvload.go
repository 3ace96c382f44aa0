//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
)

// caller makes one call and fills in how it ended.
type caller interface {
	call(c Call) Call
}

// kvLoad reads and writes a few keys through both faces of etcdx: its commands, and its connection layer.
type kvLoad struct {
	*campaign
	execs, conns int // how many clients of each kind
	keys         int
	// pause is the longest one between two calls of a client in this process. Commands take longer: each is a process.
	pause time.Duration

	mu    sync.Mutex
	calls []Call
}

func (l *kvLoad) name() string { return "kv" }

func (l *kvLoad) rows() []string {
	var all []string
	for i := range l.execs {
		all = append(all, fmt.Sprintf("kv-cmd%d", i+1))
	}
	for i := range l.conns {
		all = append(all, fmt.Sprintf("kv-conn%d", i+1))
	}
	return all
}

const execPause = 300 * time.Millisecond

func (l *kvLoad) run(ctx context.Context) error {
	var cluster *conn.Cluster
	if l.conns > 0 {
		var err error
		if cluster, err = conn.Open(l.options()); err != nil {
			return err
		}
		defer cluster.Close()
	}
	verbs := []Verb{Get, Put, Put, Del, CAS}
	if l.tool.ctl {
		verbs = verbs[:4]
	}
	var work sync.WaitGroup
	for i, row := range l.rows() {
		work.Go(func() {
			if i < l.execs {
				l.drive(ctx, NewScript(l.cfg.seed, i, row, l.keys, verbs...), execCaller{l.tool}, execPause)
			} else {
				l.drive(ctx, NewScript(l.cfg.seed, i, row, l.keys, Get, Put, Put, Del, CAS, CAS, CAS), connCaller{cluster, l.tool.timeout}, l.pause)
			}
		})
	}
	work.Wait()
	return nil
}

// drive makes the calls of a script until ctx ends.
func (l *kvLoad) drive(ctx context.Context, s *Script, by caller, pause time.Duration) {
	for {
		c, wait := s.Next(pause)
		if !sleep(ctx, wait) {
			return
		}
		c.From = l.journal.now()
		c = by.call(c)
		c.To = l.journal.now()
		s.Saw(c)
		l.note(c)
	}
}

func (l *kvLoad) note(c Call) {
	mark := c.Verb[0]
	switch c.Ending {
	case NotApplied:
		mark = '!'
	case Unknown:
		mark = '?'
	case Untold:
		mark = '#'
	}
	l.journal.add(Span{Row: c.Client, Mark: mark, From: c.From, To: c.To})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
}

func (l *kvLoad) check(ctx context.Context) []Violation {
	final, err := l.direct()
	if err != nil {
		return []Violation{{Workload: "kv", Rule: "checked", Text: err.Error()}}
	}
	defer final.Close()
	for i := range l.keys {
		c := Call{Client: "final", Verb: Get, Key: fmt.Sprintf("kv/%d", i), From: l.journal.now(), Ending: Done}
		resp, err := final.Get(ctx, c.Key)
		if err != nil {
			return []Violation{{Workload: "kv", Rule: "checked", Text: "final read: " + err.Error()}}
		}
		c.Got, c.To = valueOf(resp), l.journal.now()
		l.calls = append(l.calls, c)
	}
	found := CheckLinearizable(l.calls)
	return append(found, CheckEndings(l.calls, Bounds{Longest: l.tool.timeout + slack, Outages: l.journal.outages, Pace: l.journal.pace})...)
}

// slack is how much longer than promised something may take on a busy machine.
const slack = 3 * time.Second

func (l *kvLoad) summary() string {
	n := map[Ending]int{}
	times := make([]time.Duration, 0, len(l.calls))
	for _, c := range l.calls {
		n[c.Ending]++
		times = append(times, c.To-c.From)
	}
	slices.Sort(times)
	if len(times) == 0 {
		return "kv: no calls"
	}
	return fmt.Sprintf("kv: %d calls: %d done, %d not applied, %d unknown, %d untold; p50 %v, p99 %v, longest %v", len(times), n[Done], n[NotApplied], n[Unknown],
		n[Untold], times[len(times)/2].Round(time.Millisecond), times[len(times)*99/100].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
}

// execCaller runs a command for each call.
type execCaller struct{ tool tool }

func (e execCaller) call(c Call) Call {
	args, input := []string{string(c.Verb), c.Key, "-w", "json"}, ""
	switch c.Verb {
	case Put:
		args = []string{"put", c.Key, c.Value}
	case CAS:
		args, input = []string{"txn", "-w", "json"}, swapText(c)
	}
	out, code, said := e.tool.input(input, args...)
	switch code {
	case 0:
		c.Ending = Done
	case 69:
		c.Ending = NotApplied
	case 76:
		c.Ending = Unknown
	default:
		c.Ending = Untold
	}
	c.Err = fmt.Sprintf("exit code %d: %s", code, said)
	if c.Ending != Done || c.Verb == Put {
		return c
	}
	var answer struct {
		Kvs       []struct{ Value []byte }
		Deleted   int64
		Succeeded bool
		Responses []struct {
			Response struct {
				ResponseRange struct{ Kvs []struct{ Value []byte } } `json:"response_range"`
			}
		}
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		c.Ending, c.Err = Untold, fmt.Sprintf("malformed output %q: %v", out, err)
		return c
	}
	c.Deleted, c.Swapped = answer.Deleted, answer.Succeeded
	if c.Verb == CAS && !c.Swapped && len(answer.Responses) == 1 {
		answer.Kvs = answer.Responses[0].Response.ResponseRange.Kvs
	}
	if len(answer.Kvs) > 0 {
		c.Got = string(answer.Kvs[0].Value)
	}
	return c
}

// swapText is what etcdctl txn reads: comparisons, requests if they hold, requests if not.
func swapText(c Call) string {
	unchanged := fmt.Sprintf("value(%q) = %q", c.Key, c.Old)
	if c.Old == "" {
		unchanged = fmt.Sprintf("create(%q) = \"0\"", c.Key)
	}
	return fmt.Sprintf("%s\n\nput %s %s\n\nget %s\n\n", unchanged, c.Key, c.Value, c.Key)
}

// connCaller calls the connection layer.
type connCaller struct {
	cluster *conn.Cluster
	timeout time.Duration
}

func (k connCaller) call(c Call) Call {
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	var err error
	switch c.Verb {
	case Get:
		var resp *clientv3.GetResponse
		if resp, err = k.cluster.Get(ctx, c.Key); err == nil {
			c.Got = valueOf(resp)
		}
	case Put:
		_, err = k.cluster.Put(ctx, c.Key, c.Value)
	case Del:
		var resp *clientv3.DeleteResponse
		if resp, err = k.cluster.Delete(ctx, c.Key); err == nil {
			c.Deleted = resp.Deleted
		}
	case CAS:
		c, err = k.swap(ctx, c)
	}
	c.Ending = endingOf(err)
	if err != nil {
		c.Err = err.Error()
	}
	return c
}

func (k connCaller) swap(ctx context.Context, c Call) (Call, error) {
	unchanged := clientv3.Compare(clientv3.Value(c.Key), "=", c.Old)
	if c.Old == "" {
		unchanged = clientv3.Compare(clientv3.CreateRevision(c.Key), "=", 0)
	}
	resp, err := k.cluster.Commit(ctx, []clientv3.Cmp{unchanged}, []clientv3.Op{clientv3.OpPut(c.Key, c.Value)}, []clientv3.Op{clientv3.OpGet(c.Key)})
	if err != nil {
		return c, err
	}
	if c.Swapped = resp.Succeeded; !c.Swapped {
		if kvs := resp.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
			c.Got = string(kvs[0].Value)
		}
	}
	return c, nil
}

func endingOf(err error) Ending {
	if err == nil {
		return Done
	}
	if conn.MaybeApplied(err) {
		return Unknown
	}
	if _, ok := errors.AsType[*conn.UnavailableError](err); ok {
		return NotApplied
	}
	return Untold
}

func valueOf(resp *clientv3.GetResponse) string {
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}
