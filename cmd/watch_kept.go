package cmd

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/child"
	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
	"github.com/etcdx/etcdx/pkg/watch"
)

// keptWatch is a watch with a checkpoint that is open.
type keptWatch struct {
	g    *globals
	spec watchSpec
	file *checkpoint.File
	// verify compares the index with the cluster, and watches nothing.
	verify bool
}

// run watches until the watch cannot go on or ctx ends, and records what was handled.
func (k keptWatch) run(ctx context.Context) error {
	defer k.boundMemory()()
	s := &sink{file: k.file, state: k.file.State()}
	s.stats = newWatchStats(s.state.Rev, s.state.Updated)
	s.state.Writer, s.state.Mark = thisWriter(), ""
	if len(k.spec.Exec) > 0 {
		s.state.Mark = rand.Text()
	}
	s.state.Spec, _ = json.Marshal(k.spec)
	s.handled, s.fed = s.state.Rev, s.state.Rev
	keep := &watch.Keep{
		Index: watch.NoIndex{}, OnCompacted: watch.Policy(k.spec.OnCompacted), OnRegression: watch.Policy(k.spec.OnRegression),
		VerifyEvery: k.spec.VerifyEvery, Deliver: s.deliver, Live: s.stats.live,
	}
	if err := k.endLeft(); err != nil {
		return errors.Join(err, k.file.Close())
	}
	// Put before anything else is done: whoever finds the file in use can then be told by whom.
	if err := k.file.Put(s.state); err != nil {
		return errors.Join(err, k.file.Close())
	}
	err := k.open(s, keep)
	if err == nil {
		err = k.follow(ctx, s, keep)
	}
	closeErr := s.close()
	if ctx.Err() != nil && !as[*checkpoint.WriteError](err) && !as[*handlerError](err) {
		err = nil // asked to stop
	}
	return errors.Join(err, closeErr)
}

// handlerLeftError says that the handler of a watch that was killed does not end.
type handlerLeftError struct{ pids []int }

func (e *handlerLeftError) Error() string {
	return fmt.Sprintf("the handler of the watch before was left behind and does not die: processes %v", e.pids)
}

// endLeft ends what the handler of a watch that was killed has left behind, so that two never work at once.
func (k keptWatch) endLeft() error {
	mark := k.file.State().Mark
	if mark == "" {
		return nil
	}
	if err := k.file.Trusted(); err != nil {
		return err
	}
	if left := child.KillMarked(mark, 5*time.Second); len(left) > 0 {
		return &handlerLeftError{left}
	}
	return nil
}

// itemBytes is how much of a message is handled at a time: what is handled no longer takes memory.
const itemBytes = 2 << 20

// boundMemory lets garbage be collected early: beside the queue, a watch needs room for one message and its decoded events.
// Whoever sets GOMEMLIMIT knows better.
func (k keptWatch) boundMemory() func() {
	old := debug.SetMemoryLimit(-1)
	if old != math.MaxInt64 {
		return func() {}
	}
	debug.SetMemoryLimit(48<<20 + k.spec.QueueMiB<<20)
	return func() { debug.SetMemoryLimit(old) }
}

// open prepares cluster, index and handler.
func (k keptWatch) open(s *sink, keep *watch.Keep) error {
	var err error
	s.handler = noHandler{}
	c, err := k.g.connect()
	if err != nil {
		return err
	}
	source := watchSource{c, k.g.notice}
	keep.Mends = func(err error) bool { return as[*conn.UnavailableError](err) && source.mends(err) }
	keep.Watcher = &watch.Watcher{
		Config: watch.Config{
			Range: k.spec.watchRange(), PrevKV: k.spec.PrevKV, ProgressNotify: true, Fragment: true, QueueBytes: k.spec.QueueMiB << 20, ItemBytes: itemBytes,
			ProgressEvery: progressEvery, StallAfter: stallAfter, Debounce: k.spec.Debounce, Notice: k.g.notice,
			Idle:        watch.Idle{Mode: watch.IdleMode(k.spec.IdleAdvance), After: k.spec.IdleAfter, Lag: k.spec.IdleLag},
			Compactions: func() time.Duration { return s.stats.read().cadence.Shortest },
		},
		Source: source, KV: c,
	}
	if k.spec.TrackKeys {
		if s.index, err = checkpoint.OpenIndex(indexPath(k.file.Path())); err != nil {
			return err
		}
		keep.Index = keyIndex{&s.mu, s.index}
		keep.Rebuild = s.index.Rev() == 0 && s.state.Rev > 0
		if !keep.Rebuild {
			s.fed = min(s.fed, s.index.Rev())
		}
	}
	h, err := k.handler(s)
	if err == nil {
		s.handler = h
	}
	return err
}

// follow runs the watch with its clocks beside it.
func (k keptWatch) follow(ctx context.Context, s *sink, keep *watch.Keep) error {
	ev := watch.Evidence{ClusterID: s.state.ClusterID, Term: s.state.Term, Rev: s.state.Rev, Count: -1}
	if a := s.state.Anchor; a != nil {
		anchor := watch.Anchor(*a)
		ev.Anchor = &anchor
	}
	if s.index != nil && s.index.Rev() == s.state.Rev && s.state.Phase == phaseLive {
		ev.Count = keep.Index.Len()
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	clocks, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	beside.Go(func() { s.tick(clocks) })
	beside.Go(func() { k.show(clocks, s.stats) })
	look := observer{
		w:    &watch.Watcher{Config: watch.Config{Range: keep.Range}, Source: keep.Source, KV: keep.KV},
		path: horizonsPath(k.file.Path()), sink: s,
	}
	beside.Go(func() { look.run(clocks) })
	var release func()
	s.work, release = graceful(ctx, k.spec.Grace)
	s.stopping = ctx.Done()
	defer release()
	if k.verify {
		return k.runVerify(ctx, keep, ev)
	}
	return keep.Run(ctx, ev, s.fed)
}

// graceful returns a context that outlives ctx by two thirds of the grace: the handler's time to finish. The last third
// is for a command that has to be ended.
func graceful(ctx context.Context, grace time.Duration) (context.Context, func()) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(grace * 2 / 3)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-work.Done():
		}
	})
	return work, func() { stop(); cancel() }
}

func (g *globals) notice(text string) {
	fmt.Fprintf(g.streams.Err, "etcdx: %s\n", output.Escape(text, true))
}

// handler returns what the spec says should handle the events.
func (k keptWatch) handler(s *sink) (handler, error) {
	if k.spec.Only != "" {
		want := clientv3.EventTypePut
		if k.spec.Only == "delete" {
			want = clientv3.EventTypeDelete
		}
		s.keep = func(e *clientv3.Event) bool { return e.GetType() == want }
	}
	r := retry{
		attempts: k.spec.Attempts, first: 200 * time.Millisecond, most: time.Minute, onFail: k.spec.OnFail, dead: k.spec.DeadLetter,
		notice: k.g.notice, stopping: func() <-chan struct{} { return s.stopping },
	}
	switch {
	case len(k.spec.Exec) > 0 && k.g.filter != nil:
		return nil, badArgs("--jq changes what is printed: the command of a watch gets every event as it is")
	case k.spec.Mode == "coprocess":
		spec := childSpec{args: k.spec.Exec, env: os.Environ(), out: k.g.streams.Out, err: k.g.streams.Err, mark: s.state.Mark, grace: k.spec.Grace / 3}
		return &coprocess{spec: spec, retry: r}, nil
	case len(k.spec.Exec) > 0:
		return &execHandler{
			args: k.spec.Exec, out: k.g.streams.Out, err: k.g.streams.Err, grace: k.spec.Grace / 3, batch: k.spec.Mode == "batch", mark: s.state.Mark, retry: r,
		}, nil
	}
	o := output.Options{Format: output.Format(k.spec.Format), Hex: k.spec.Hex, Terminal: isTerminal(k.g.streams.Out)}
	out := k.g.streams.Out
	if k.g.filter != nil {
		o.Format = output.Format(k.g.settings.Output)
		out = k.g.filter.Writer(out, o)
	}
	h := &printHandler{out: bufio.NewWriterSize(out, 64<<10), terminal: o.Terminal}
	if o.Format == output.JSONL {
		return h, nil
	}
	p, err := output.New(h.out, o)
	if err == nil {
		err = p.Answers()
	}
	if err != nil {
		return nil, badFeature(err.Error())
	}
	h.p = p
	return h, nil
}

// noHandler stands in until there is one.
type noHandler struct{}

func (noHandler) handle(context.Context, []group, func(int) error) error { return nil }
func (noHandler) close() error                                           { return nil }
