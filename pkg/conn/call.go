package conn

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// call is a read on its way. resp and err may be read once ready is closed.
type call struct {
	ready  chan struct{}
	cancel context.CancelFunc
	resp   *pb.RangeResponse
	err    error
}

func startCall(ctx context.Context, do func(context.Context) (*pb.RangeResponse, error)) *call {
	ctx, cancel := context.WithCancel(ctx)
	c := &call{ready: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(c.ready)
		c.resp, c.err = do(ctx)
	}()
	return c
}

// stop gives the call up if it is not done, and returns when it has ended.
func (c *call) stop() {
	c.cancel()
	<-c.ready
}

// idle ends a context when nothing has happened for some time.
type idle struct {
	wait   time.Duration // 0: never
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// newIdle returns a context that ends after wait without a pause or resume.
func newIdle(ctx context.Context, wait time.Duration) (context.Context, *idle) {
	ctx, cancel := context.WithCancelCause(ctx)
	i := &idle{wait: wait, cancel: cancel}
	if wait > 0 {
		i.timer = time.AfterFunc(wait, func() { cancel(context.DeadlineExceeded) })
	}
	return ctx, i
}

// pause stops the clock while somebody else is at work.
func (i *idle) pause() {
	if i.timer != nil {
		i.timer.Stop()
	}
}

// resume starts the clock from zero.
func (i *idle) resume() {
	if i.timer != nil {
		i.timer.Reset(i.wait)
	}
}

// expired says whether ctx, or the context above it, ended because nothing came in time.
func (i *idle) expired(ctx context.Context) bool {
	return i.timer != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}

func (i *idle) close() {
	i.pause()
	i.cancel(nil)
}
