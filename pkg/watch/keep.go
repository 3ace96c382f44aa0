package watch

import "context"

// Policy says what to do when the position cannot be resumed.
type Policy string

// The policies: bring the handler up to date by a resync, or end with the error.
const (
	PolicySync Policy = "sync"
	PolicyFail Policy = "fail"
)

// Keep is a watch from a saved position that goes on for as long as the cluster lets it.
type Keep struct {
	*Watcher
	Index                     Index
	OnCompacted, OnRegression Policy
	Deliver                   func(context.Context, Item) error

	pos int64
	ev  Evidence
}

// Run resumes at the position of ev, or at from where that is older: an index that lags behind the position is fed again.
// With from 0 the state is sent first. It returns only when the watch cannot go on, or ctx ends.
func (k *Keep) Run(ctx context.Context, ev Evidence, from int64) error {
	k.pos, k.ev = from, ev
	err := k.resume(ctx)
	for {
		switch {
		case as[*CompactedError](err) && k.OnCompacted == PolicySync:
			k.notice(err.Error() + ": synchronizing")
			err = k.resync(ctx, Resync{From: k.pos, Reason: "compacted"})
		case as[*RegressionError](err) && k.OnRegression == PolicySync:
			k.notice(err.Error() + ": synchronizing")
			err = k.resync(ctx, Resync{Reason: "regression", Full: true})
		default:
			return err
		}
		if err == nil {
			err = k.follow(ctx)
		}
	}
}

// resume checks that the cluster is still the one of the position, and watches on.
func (k *Keep) resume(ctx context.Context) error {
	head, err := k.Verify(ctx, k.ev)
	if err != nil {
		return err
	}
	k.ev.ClusterID, k.ev.Term = head.ClusterID, head.Term
	if k.pos <= 0 {
		if err := k.resync(ctx, Resync{Reason: "start"}); err != nil {
			return err
		}
	}
	return k.follow(ctx)
}

func (k *Keep) follow(ctx context.Context) error {
	k.Guard = &Evidence{ClusterID: k.ev.ClusterID, Term: k.ev.Term, Count: -1}
	return k.Follow(ctx, After(k.pos), k.deliver)
}

func (k *Keep) resync(ctx context.Context, r Resync) error {
	r.Watcher, r.Index, r.Deliver = k.Watcher, k.Index, k.deliver
	if r.Reason != "start" {
		if err := r.Spread(ctx); err != nil {
			return err
		}
	}
	to, err := r.Run(ctx)
	if err != nil {
		return err
	}
	if r.Reason == "regression" {
		head, err := k.head(ctx)
		if err != nil {
			return err
		}
		k.ev = Evidence{ClusterID: head.ClusterID, Term: head.Term, Count: -1}
	}
	k.pos = to
	return nil
}

func (k *Keep) deliver(ctx context.Context, it Item) error {
	if err := k.Deliver(ctx, it); err != nil {
		return &HandlerError{err}
	}
	if it.Rev > 0 {
		k.pos = it.Rev
	}
	return nil
}

// HandlerError is an error of the handler, apart from all errors of the watch.
type HandlerError struct{ Err error }

func (e *HandlerError) Error() string { return e.Err.Error() }

// Unwrap returns the handler's own error.
func (e *HandlerError) Unwrap() error { return e.Err }
