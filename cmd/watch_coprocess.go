package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/child"
)

// coprocess is a handler that runs as long as the watch does: it gets events on its standard input as JSON lines, and
// answers on its file descriptor 3. A second descriptor than standard output keeps a stray print from breaking the protocol.
type coprocess struct {
	spec   childSpec
	retry  retry
	cancel context.CancelFunc
	cmd    *child.Process
	in     io.WriteCloser
	acks   chan answer
	done   chan error
	sent   int64 // number of the last line group that was sent
}

// stretch is the seq that goes with each group of lines: what is acknowledged.
type stretch struct {
	Schema   string `json:"schema"`
	Type     string `json:"type"` // "commit"
	Seq      int64  `json:"seq"`
	Revision int64  `json:"revision,omitempty"`
}

func (h *coprocess) handle(ctx context.Context, groups []group, acked func(int) error) error {
	done, tries := 0, 0
	upTo := func(n int) error { done, tries = n, 0; return acked(n) }
	for done < len(groups) {
		if len(groups[done].events) == 0 && groups[done].control == nil {
			if err := upTo(done + 1); err != nil {
				return err
			}
			continue
		}
		at := done
		err := h.try(ctx, groups[at:], func(n int) error { return upTo(at + n) })
		if err == nil || as[*handlerError](err) || as[*checkpoint.WriteError](err) {
			return err
		}
		tries++
		lines, lerr := groups[done].lines(nil)
		if lerr != nil {
			return lerr
		}
		gaveUp, err := h.retry.after(ctx, tries, groups[done].name(), lines, err)
		if err == nil && gaveUp {
			err = upTo(done + 1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// try sends groups to a running coprocess and waits until it acknowledged them all. One that asks for something again
// keeps running; one that breaks the protocol, or ends, does not.
func (h *coprocess) try(ctx context.Context, groups []group, acked func(int) error) error {
	if err := h.start(); err != nil {
		return err
	}
	b := batch{groups: groups, first: h.sent + 1}
	h.sent += int64(len(groups))
	wrote := make(chan error, 1)
	go func() { wrote <- h.send(groups, b.first) }()
	err := h.collect(ctx, b, acked)
	if as[*nackError](err) {
		// The rest of what was sent has to be out before it is sent again.
		select {
		case werr := <-wrote:
			if werr == nil {
				return err
			}
			wrote <- werr
		case gone := <-h.done:
			h.done <- gone
		case <-ctx.Done():
		}
	}
	if err != nil {
		h.stop() // lets a blocked write go
	}
	if werr := <-wrote; err == nil && werr != nil {
		err = werr
	}
	return err
}

// batch is what was sent at once: groups whose seq begins at first.
type batch struct {
	groups []group
	first  int64
}

func (h *coprocess) send(groups []group, seq int64) error {
	w := bufio.NewWriterSize(h.in, 64<<10)
	for i, g := range groups {
		lines, err := g.lines(nil)
		if err == nil {
			lines, err = appendLine(lines, stretch{Schema: schemaControl, Type: "commit", Seq: seq + int64(i), Revision: g.rev})
		}
		if err == nil {
			_, err = w.Write(lines)
		}
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// collect reads answers until every group of b is acknowledged or given up.
func (h *coprocess) collect(ctx context.Context, b batch, acked func(int) error) error {
	for n := 0; n < len(b.groups); {
		var a answer
		select {
		case a = <-h.acks:
		case err := <-h.done:
			h.done <- err
			return fmt.Errorf("the coprocess ended before it acknowledged everything: %w", cmpErr(err, errors.New("exit status 0")))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		upTo, err := b.apply(a, n, h.retry)
		if err != nil {
			return err
		}
		if upTo > n {
			if err := acked(upTo); err != nil {
				return err
			}
			n = upTo
		}
	}
	return nil
}

// apply returns how many groups are done with after answer a, n having been before. What a says of an earlier batch, or of
// what it acknowledged already, is old news.
func (b batch) apply(a answer, n int, r retry) (int, error) {
	next := b.first + int64(n)
	switch {
	case a.bad != nil:
		return n, a.bad
	case a.Ack != nil:
		upTo, err := a.upTo(b.first, len(b.groups))
		return max(n, upTo), err
	case a.Nack != nil && *a.Nack >= next:
		return n, &nackError{seq: *a.Nack, reason: a.Reason, after: a.pause()}
	case a.Reject != nil && *a.Reject > next:
		return n, fmt.Errorf("the coprocess rejected %d before it acknowledged %d", *a.Reject, next)
	case a.Reject != nil && *a.Reject == next:
		lines, err := b.groups[n].lines(nil)
		if err == nil {
			err = r.giveUp(b.groups[n].name(), lines, &rejectedError{a.Reason})
		}
		return n + 1, err
	}
	return n, nil
}

// start starts the coprocess unless it runs.
func (h *coprocess) start() error {
	if h.cmd != nil {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return errors.Join(err, r.Close(), w.Close())
	}
	spec := h.spec
	spec.extra, spec.in = []*os.File{w}, in
	p, err := spec.command().Start()
	_, _ = w.Close(), in.Close() // the coprocess has its own
	if err != nil {
		return errors.Join(err, r.Close(), out.Close())
	}
	// Its life is not that of one delivery's context: a stop lets it finish what it has.
	ctx, cancel := context.WithCancel(context.Background())
	h.cmd, h.in, h.cancel = p, out, cancel
	h.acks, h.done = make(chan answer), make(chan error, 1)
	go readAnswers(ctx, r, h.acks)
	go func(done chan<- error) { done <- p.Wait(ctx) }(h.done)
	return nil
}

func readAnswers(ctx context.Context, r *os.File, acks chan<- answer) {
	defer r.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		select {
		case acks <- parseAnswer(lines.Bytes()):
		case <-ctx.Done():
			return
		}
	}
	// A line longer than the scanner's buffer ends the reading: without a word of it the watch would wait for ever.
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		select {
		case acks <- answer{bad: fmt.Errorf("the coprocess's file descriptor 3: %w", err)}:
		case <-ctx.Done():
		}
	}
}

// stop ends the coprocess: its input ends, then it has the grace, then it is ended.
func (h *coprocess) stop() {
	if h.cmd == nil {
		return
	}
	_ = h.in.Close()
	select {
	case err := <-h.done:
		h.done <- err
	case <-time.After(h.spec.grace):
	}
	h.cancel()
	<-h.done
	h.cmd = nil
}

func (h *coprocess) close() error {
	h.stop()
	return nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
