package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Once limits how often work is run by all contenders of a lock together. The zero value does not.
type Once struct {
	// Every is the least time between two runs; 0: none. Hosts whose clocks differ by less than this agree.
	Every time.Duration
	// ID names one run, such as the scheduled time: it is run only once.
	ID string
	// Keep is how long the run of an ID is remembered, in whole seconds.
	Keep time.Duration
	// OnSuccess counts only runs without an error, so that a failed one is repeated; else every one that was started.
	OnSuccess bool
}

// SkippedError says that a run is not due.
type SkippedError struct {
	Name string
	Last Run
	ID   string
}

// Run is what is remembered of the last run.
type Run struct {
	Start time.Time `json:"last_start"`
	End   time.Time `json:"last_end,omitzero"`
	// Exit says how it ended; empty while it runs, or if it never said.
	Exit  string `json:"last_exit,omitempty"`
	Token int64  `json:"token"`
	Host  string `json:"host,omitempty"`
}

// Error says who ran, and when.
func (e *SkippedError) Error() string {
	if e.ID != "" {
		return fmt.Sprintf("lock %q: run %q was started by %s at %s", e.Name, e.ID, e.Last.Host, e.Last.Start.Format(time.RFC3339))
	}
	return fmt.Sprintf("lock %q: the last run was started by %s at %s", e.Name, e.Last.Host, e.Last.Start.Format(time.RFC3339))
}

func (o Once) used() bool { return o.Every > 0 || o.ID != "" }

func stateKey(name string) string    { return "_etcdx/state/" + name }
func periodKey(name string) string   { return "_etcdx/period/" + name }
func onceKey(name, id string) string { return "_etcdx/once/" + name + "/" + id }

// due says whether a run is due, given what is remembered: last is the state's value, open whether the lease that lasts for
// one period still lives. Both have to speak against it: a clock that is wrong, or leases that a new leader restarted, would
// otherwise keep runs away.
func (o Once) due(last []byte, open bool, now time.Time) (Run, bool) {
	var r Run
	if json.Unmarshal(last, &r) != nil {
		return r, true
	}
	return r, !open || now.Sub(r.Start) >= o.Every
}

// check returns a *SkippedError if the run is not due. A record written by token itself does not count.
func (o Once) check(ctx context.Context, s Keys, name string, token int64) error {
	if o.ID != "" {
		resp, err := s.Get(ctx, onceKey(name, o.ID))
		if err != nil {
			return err
		}
		if len(resp.Kvs) > 0 {
			if r := parseRun(resp.Kvs[0]); r.Token != token || token == 0 {
				return &SkippedError{Name: name, Last: r, ID: o.ID}
			}
		}
	}
	if o.Every > 0 {
		state, err := s.Get(ctx, stateKey(name))
		if err != nil || len(state.Kvs) == 0 {
			return err
		}
		period, err := s.Get(ctx, periodKey(name))
		if err != nil {
			return err
		}
		last, due := o.due(state.Kvs[0].Value, len(period.Kvs) > 0, time.Now())
		if !due && (last.Token != token || token == 0) {
			return &SkippedError{Name: name, Last: last}
		}
	}
	return nil
}

func parseRun(kv *mvccpb.KeyValue) (r Run) {
	_ = json.Unmarshal(kv.Value, &r)
	return r
}

// runLeases are the leases of what remembers a run. They are chosen before the first try, so that others make no more of them:
// nothing would ever end the ones whose grant was not answered, but their time, which may be weeks.
type runLeases struct{ period, id int64 }

func newRunLeases(s Leases) runLeases { return runLeases{s.NewLease(), s.NewLease()} }

// marks returns what remembers a run, and grants the leases for it.
func (o Once) marks(ctx context.Context, s Leases, name string, r Run, l runLeases) ([]clientv3.Op, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var ops []clientv3.Op
	if o.Every > 0 {
		if err := s.Grant(ctx, l.period, o.Every); err != nil {
			return nil, fmt.Errorf("grant a lease for the period: %w", err)
		}
		ops = append(ops, clientv3.OpPut(stateKey(name), string(b)), clientv3.OpPut(periodKey(name), "", clientv3.WithLease(clientv3.LeaseID(l.period))))
	}
	if o.ID != "" {
		if err := s.Grant(ctx, l.id, o.Keep); err != nil {
			return nil, fmt.Errorf("grant a lease for the run's name: %w", err)
		}
		ops = append(ops, clientv3.OpPut(onceKey(name, o.ID), string(b), clientv3.WithLease(clientv3.LeaseID(l.id))))
	}
	return ops, nil
}

// markStart checks again, now that nobody else can start, and remembers the start.
func (a *acquirer) markStart(ctx context.Context) error {
	o := a.r.Once
	if !o.used() {
		return nil
	}
	_, err := persist(ctx, a.session, func(ctx context.Context) (struct{}, error) {
		err := o.check(ctx, a.store, a.r.Name, a.token)
		if _, skip := errors.AsType[*SkippedError](err); skip {
			err = &RefusedError{err} // do not repeat
		}
		return struct{}{}, err
	})
	if err != nil || o.OnSuccess {
		return err
	}
	leases := newRunLeases(a.store)
	ops, err := persist(ctx, a.session, func(ctx context.Context) ([]clientv3.Op, error) {
		return o.marks(ctx, a.store, a.r.Name, Run{Start: time.Now().UTC(), Token: a.token, Host: a.r.Holder.Host}, leases)
	})
	if err != nil {
		return err
	}
	resp, err := a.commit(ctx, []clientv3.Cmp{isToken(a.key, a.token)}, ops, nil)
	if err == nil && !resp.Succeeded {
		err = errPlaceLost
	}
	return err
}

// ends returns what remembers the end of a run whose start was remembered before. The record of an ID is left alone: its
// lease may have ended meanwhile, and a put that finds none would make the whole release fail.
func (o Once) ends(name string, r Run) []clientv3.Op {
	b, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	var ops []clientv3.Op
	if o.Every > 0 {
		ops = append(ops, clientv3.OpPut(stateKey(name), string(b)))
	}
	return ops
}
