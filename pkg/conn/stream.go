package conn

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// pulse is how long a stream's member may be quiet before it is probed, and pulseLimit the time that a probe may take:
	// together, and with the way to the next member, less than the second without events that is allowed. An idle
	// stream costs one linearizable read of one key per pulse; one on which events arrive, one every steady.
	pulse, pulseLimit = 300 * time.Millisecond, 350 * time.Millisecond
	// steady is how often a member is probed whose events show that it is alive: they could be old ones.
	steady = 2 * time.Second
)

// Stream runs work on a member that answers. When that member falls silent, loses its leader or lags behind, the context
// given to work ends with the cause ErrMoved, and work is run again on another one. It returns when work returns nil or an
// error that no other member can mend, or when ctx ends.
//
// While nobody can answer, as during an election, work stays where it is.
func (c *Cluster) Stream(ctx context.Context, work func(context.Context, Member) error) error {
	if c.opts.Pin {
		mm, err := c.members[0].use()
		if err != nil {
			return err
		}
		return work(ctx, mm)
	}
	i, pause := c.order()[0], firstPause
	for {
		begun := time.Now()
		next, err := c.serve(ctx, i, work)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if next < 0 {
			return err
		}
		if time.Since(begun) > 10*longestPause {
			pause = firstPause
		}
		if next == i { // work failed here, and there is nobody better
			if !sleep(ctx, pause) {
				return context.Cause(ctx)
			}
			pause = min(2*pause, longestPause)
		}
		i = next
	}
}

// serve runs work on member i while that one is well. It returns the member to go on with; a negative one when work is
// done, with its error.
func (c *Cluster) serve(ctx context.Context, i int, work func(context.Context, Member) error) (next int, err error) {
	mm, err := c.members[i].use()
	if err != nil {
		return -1, err
	}
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan error, 1)
	go func() { over <- work(wctx, mm) }()
	w := watchdog{
		probe:  func(ctx context.Context, k int) error { return c.probeOnce(ctx, k) },
		others: c.others(i),
		heard:  func() time.Time { return time.Unix(0, c.members[i].alive.Load()) },
		failed: c.failed,
	}
	dctx, stop := context.WithCancel(wctx)
	defer stop()
	sick := make(chan int, 1)
	go func() { sick <- w.run(dctx, i) }()
	select {
	case next = <-sick:
		cancel(ErrMoved)
		if err := <-over; err == nil {
			return -1, nil // it was just done
		}
		return next, nil
	case err = <-over:
		stop()
		<-sick
		return c.afterWork(ctx, i, err)
	}
}

// afterWork decides where to go on after work has failed on member i.
func (c *Cluster) afterWork(ctx context.Context, i int, err error) (next int, _ error) {
	if err == nil || ctx.Err() != nil {
		return -1, err
	}
	m := c.members[i]
	if staleLogin(err) && m.token.renewable() {
		m.token.reset()
		return i, nil
	}
	if !mendable(err) {
		return -1, err
	}
	v, why, cause := c.judge(i, err)
	if v == final {
		why = Other
	}
	c.failed(i, why)
	if c.order()[0] != i {
		return c.order()[0], nil
	}
	if v == hopeless && len(c.members) == 1 {
		return -1, &UnavailableError{Attempts: []Attempt{{m.endpoint, why, cause}}}
	}
	return i, nil
}

// mendable says whether a stream that ended with err may do better on another member, or here a little later.
func mendable(err error) bool {
	if errors.Is(err, ErrMoved) {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Internal:
		return true
	}
	if e, ok := errors.AsType[rpctypes.EtcdError](rpctypes.Error(err)); ok {
		return e.Code() == codes.Unavailable
	}
	return false
}

// staleLogin says whether a stream ended because its token did. The server cancels a watch with the reason in plain text:
// the bare message, or the message behind the code (watchServer.recvLoop in etcdserver/api/v3rpc/watch.go).
func staleLogin(err error) bool {
	for _, stale := range []error{rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty} {
		if is(rpctypes.Error(err), stale) || strings.HasSuffix(err.Error(), stale.Error()) {
			return true
		}
	}
	return false
}

// others returns all members but i, the best one first.
func (c *Cluster) others(i int) func() []int {
	return func() []int {
		var rest []int
		for _, k := range c.order() {
			if k != i {
				rest = append(rest, k)
			}
		}
		return rest
	}
}

// probeOnce asks member k for a sign of life, and tells the roster about a good one.
func (c *Cluster) probeOnce(ctx context.Context, k int) error {
	begun := time.Now()
	_, err := attempt(ctx, c.members[k], probe)
	if err == nil {
		c.answered(k, time.Since(begun))
		return nil
	}
	_, _, _ = c.judge(k, err)
	return err
}
