package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Policy says what to do when the position cannot be resumed.
type Policy string

// The policies: bring the handler up to date by a resync, or end with the error.
const (
	PolicySync Policy = "sync"
	PolicyFail Policy = "fail"
)

// Why a resync happens.
const (
	ReasonStart      = "start"      // there was no position
	ReasonCompacted  = "compacted"  // the position is compacted
	ReasonRegression = "regression" // the position belongs to a history that is no more
	ReasonVerify     = "verify"     // somebody asked whether anything is missing
	ReasonIndex      = "index"      // not for the handler: the index was lost
)

// Keep is a watch from a saved position that goes on for as long as the cluster lets it.
type Keep struct {
	*Watcher
	Index Index
	// Rebuild says that the index is lost: it is learnt again from the position's revision, or, if that is compacted,
	// from the present, and then everything is sent again.
	Rebuild                   bool
	OnCompacted, OnRegression Policy
	// VerifyEvery is how often the index is compared with the cluster (0: never). What differs is delivered as a resync.
	VerifyEvery time.Duration
	Deliver     func(context.Context, Item) error
	// Mends says whether waiting may end what made a resync fail: it is then begun again; nil: nothing does.
	Mends func(error) bool
	// Live is told when the watch begins, after what had to come before it; nil: nobody is.
	Live func()

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
			err = k.resync(ctx, Resync{From: k.pos, Reason: ReasonCompacted})
		case as[*RegressionError](err) && k.OnRegression == PolicySync:
			k.notice(err.Error() + ": synchronizing")
			err = k.resync(ctx, Resync{Reason: ReasonRegression, Full: true})
		default:
			return err
		}
		if err == nil {
			err = k.follow(ctx)
		}
	}
}

// Check compares the index with the cluster and delivers the difference as a resync, without relying on any revision.
// It does not ask whether the index is whole: what an event lost on its way did to it is what it is to find.
func (k *Keep) Check(ctx context.Context, ev Evidence) error {
	k.ev = ev
	ev.Anchor, ev.Count = nil, -1
	if _, err := k.Verify(ctx, ev); err != nil {
		return err
	}
	k.pos = ev.Rev
	return k.compare(ctx)
}

// compare compares the index with the cluster at the position, or, if that is compacted, at present.
func (k *Keep) compare(ctx context.Context) error {
	err := k.resync(ctx, Resync{Reason: ReasonVerify, From: k.pos, At: k.pos, Full: true})
	if errors.Is(err, rpctypes.ErrCompacted) {
		err = k.resync(ctx, Resync{Reason: ReasonVerify, From: k.pos, Full: true})
	}
	return err
}

// resume checks that the cluster is still the one of the position, and watches on.
func (k *Keep) resume(ctx context.Context) error {
	head, err := k.Verify(ctx, k.ev)
	if err != nil {
		return err
	}
	k.ev.ClusterID, k.ev.Term = head.ClusterID, head.Term
	switch {
	case k.pos <= 0:
		err = k.resync(ctx, Resync{Reason: ReasonStart})
	case k.Rebuild:
		err = k.resync(ctx, Resync{Reason: ReasonIndex, At: k.pos, Full: true})
		if errors.Is(err, rpctypes.ErrCompacted) && k.OnCompacted == PolicySync {
			k.notice("the key index is lost and cannot be rebuilt: sending everything")
			err = k.resync(ctx, Resync{Reason: ReasonStart, Full: true})
		}
	}
	if err != nil {
		return err
	}
	return k.follow(ctx)
}

func (k *Keep) follow(ctx context.Context) error {
	if k.Live != nil {
		k.Live()
	}
	k.Guard = &Evidence{ClusterID: k.ev.ClusterID, Term: k.ev.Term, Count: -1}
	if k.VerifyEvery <= 0 {
		return k.Follow(ctx, After(k.pos), k.deliver)
	}
	for {
		due, cancel := context.WithTimeoutCause(ctx, k.VerifyEvery, errVerify)
		err := k.Follow(due, After(k.pos), k.deliver)
		cancel()
		if !errors.Is(err, errVerify) || ctx.Err() != nil {
			return err
		}
		if err := k.compare(ctx); err != nil {
			return err
		}
	}
}

// errVerify interrupts a watch to compare its index with the cluster.
var errVerify = errors.New("time to verify")

func (k *Keep) resync(ctx context.Context, r Resync) error {
	r.Watcher, r.Index, r.Deliver = k.Watcher, k.Index, k.deliver
	if _, none := k.Index.(NoIndex); none {
		r.Full = true // the handler must sweep what it is not sent
	}
	if r.Reason == ReasonCompacted || r.Reason == ReasonRegression {
		if err := r.Spread(ctx); err != nil {
			return err
		}
	}
	to, err := k.insist(ctx, &r)
	if err != nil {
		return err
	}
	if r.Reason == ReasonRegression {
		head, err := k.head(ctx)
		if err != nil {
			return err
		}
		k.ev = Evidence{ClusterID: head.ClusterID, Term: head.Term, Count: -1}
	}
	k.pos = to
	return nil
}

// insist runs a resync until it succeeds, or fails for a reason that no waiting mends. What was handled is not sent again.
func (k *Keep) insist(ctx context.Context, r *Resync) (int64, error) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		to, err := r.Run(ctx)
		if err == nil || ctx.Err() != nil || as[*HandlerError](err) || k.Mends == nil || !k.Mends(err) {
			return to, err
		}
		k.notice("synchronizing failed (" + err.Error() + "): trying again")
		if err := pause(ctx, wait/2+rand.N(wait/2)); err != nil {
			return 0, err
		}
	}
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
