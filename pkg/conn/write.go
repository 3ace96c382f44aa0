package conn

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// proofAge is how long an answer of a member counts as proof that it serves writes.
const proofAge = 300 * time.Millisecond

// Write runs call on the best member, after a cheap read has shown that it serves. It is run again only while the
// failed attempt was certainly not applied; when it may have been, the error satisfies MaybeApplied. call makes one request.
//
// Its other errors are those of Read.
func Write[T any](ctx context.Context, c *Cluster, call func(context.Context, Member) (T, error)) (T, error) {
	var zero T
	pause := firstPause
	for {
		i, err := c.prove(ctx)
		if err != nil {
			return zero, err
		}
		begun := time.Now()
		v, t, err := send(ctx, c, i, call)
		if err == nil {
			c.answered(i, time.Since(begun))
			return v, nil
		}
		verdict, why, cause := c.judge(i, err)
		switch {
		case t.left() && !refused(err):
			return zero, &UnknownOutcomeError{Err: err}
		case verdict == final:
			return zero, err
		}
		c.failed(i, why)
		if verdict == hopeless && len(c.members) == 1 {
			return zero, &UnavailableError{Attempts: []Attempt{{c.members[i].endpoint, why, cause}}}
		}
		if !sleep(ctx, pause) {
			return zero, c.gaveUp(ctx, i, why, cause)
		}
		pause = min(2*pause, longestPause)
	}
}

// gaveUp is the error of a write that was not sent before ctx ended.
func (c *Cluster) gaveUp(ctx context.Context, i int, why Reason, cause error) error {
	if end := context.Cause(ctx); !errors.Is(end, context.DeadlineExceeded) {
		return end
	}
	return &UnavailableError{Attempts: []Attempt{{c.members[i].endpoint, why, cause}}, Cause: context.DeadlineExceeded}
}

// prove returns a member that has just shown that it reaches a majority.
func (c *Cluster) prove(ctx context.Context) (int, error) {
	if c.opts.Pin {
		return 0, nil
	}
	best := c.order()[0]
	c.mu.Lock()
	fresh := time.Since(c.answers[best]) < proofAge
	c.mu.Unlock()
	if fresh {
		return best, nil
	}
	_, i, err := readFrom(ctx, c, 0, probe)
	return i, err
}

// send runs call once and returns what became of the request on its way. It gives up when there is no connection in time.
func send[T any](ctx context.Context, c *Cluster, i int, call func(context.Context, Member) (T, error)) (v T, t *trip, err error) {
	ctx, t = follow(ctx)
	mm, err := c.members[i].use()
	if err != nil {
		return v, t, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !c.opts.Pin {
		late := time.AfterFunc(c.opts.DialTimeout, func() {
			if !t.left() {
				cancel()
			}
		})
		defer late.Stop()
	}
	v, err = call(ctx, mm)
	return v, t, err
}

// refused says whether err is a server's word that the request was not, and will not be, applied. By the source of etcd 3.7.3:
//
//   - api/v3rpc/interceptor.go: no leader, not capable, learner: before the handler sees the request;
//   - etcdserver/v3_server.go, processInternalRaftRequestOnce: too many requests, too large, and all of AuthInfoFromCtx
//     (invalid token, no user): before the proposal;
//   - raft.ErrProposalDropped, from Propose in the same function: raft took the proposal neither into its log nor to a leader;
//   - every error of the apply phase (apply/apply.go, apply_auth.go): no space, lease or key not found, permission, old
//     auth revision, compacted: the entry is in the log, and each member refuses it.
//
// What is left is open: request timed out (each of its forms), server stopped, request cancelled: all from the wait after the
// proposal; and leader changed.
func refused(err error) bool {
	if strings.Contains(rpctypes.ErrorDesc(err), "raft proposal dropped") {
		return true
	}
	e, ok := errors.AsType[rpctypes.EtcdError](rpctypes.Error(err))
	if !ok {
		// A server, or something before it, that does not know the method or the user.
		c := status.Code(err)
		return c == codes.Unimplemented || c == codes.Unauthenticated || c == codes.PermissionDenied
	}
	if is(e, rpctypes.ErrNoLeader) {
		return true
	}
	switch e.Code() {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Unknown, codes.Internal:
		return false
	}
	return true
}

// Passing says whether a server's answer is one that another member, or the same one later, may not give; and whether a write that
// got it may have been applied.
func Passing(answer error) (passing, open bool) {
	v, _, ok := judgeAnswer(answer)
	return ok && v == elsewhere, !refused(answer)
}

// sleep returns false when ctx ends before d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Commit runs the transaction If(cmps).Then(then).Else(orElse) with Write; one that only reads, with Read.
func (c *Cluster) Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error) {
	call := func(ctx context.Context, m Member) (*clientv3.TxnResponse, error) {
		return m.Client.Txn(ctx).If(cmps...).Then(then...).Else(orElse...).Commit()
	}
	if readsOnly(then) && readsOnly(orElse) {
		return Read(ctx, c, call)
	}
	return Write(ctx, c, call)
}

func readsOnly(ops []clientv3.Op) bool {
	for _, op := range ops {
		if op.IsTxn() {
			_, then, orElse := op.Txn()
			if !readsOnly(then) || !readsOnly(orElse) {
				return false
			}
		} else if !op.IsGet() {
			return false
		}
	}
	return true
}
