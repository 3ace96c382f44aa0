package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

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
	done := 0
	for done < len(groups) {
		if len(groups[done].events) == 0 && groups[done].control == nil {
			done++
			if err := acked(done); err != nil {
				return err
			}
			continue
		}
		lines, err := groups[done].lines(nil)
		if err != nil {
			return err
		}
		err = h.retry.do(ctx, groups[done].name(), lines, func() error {
			n, err := h.try(ctx, groups[done:], func(n int) error { return acked(done + n) })
			done += n
			if done == len(groups) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if done < len(groups) { // given up: skipped or dead-lettered
			done++
			if err := acked(done); err != nil {
				return err
			}
		}
	}
	return nil
}

// try sends groups to a running coprocess and waits until it acknowledged them. It returns how many it did.
func (h *coprocess) try(ctx context.Context, groups []group, acked func(int) error) (int, error) {
	if err := h.start(); err != nil {
		return 0, err
	}
	first := h.sent + 1
	wrote := make(chan error, 1)
	go func() { wrote <- h.send(groups, first) }()
	n, err := h.collect(ctx, len(groups), first, acked)
	if err != nil {
		h.stop() // lets a blocked write go
	}
	if werr := <-wrote; err == nil && werr != nil {
		err = werr
	}
	h.sent = first + int64(len(groups)) - 1
	return n, err
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

// collect reads answers until all of total groups, the first of which has the number first, are acknowledged.
func (h *coprocess) collect(ctx context.Context, total int, first int64, acked func(int) error) (int, error) {
	n := 0
	for n < total {
		var a answer
		select {
		case a = <-h.acks:
		case err := <-h.done:
			h.done <- err
			return n, fmt.Errorf("the coprocess ended before it acknowledged everything: %w", cmpErr(err, errors.New("exit status 0")))
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
		switch {
		case a.bad != nil:
			return n, a.bad
		case a.Ack != nil:
			upTo, err := a.upTo(first, total)
			if err != nil {
				return n, err
			}
			if upTo <= n {
				continue
			}
			if err := acked(upTo); err != nil {
				return n, err
			}
			n = upTo
		case a.Nack != nil:
			select {
			case <-time.After(a.pause()):
			case <-ctx.Done():
				return n, context.Cause(ctx)
			}
			return n, fmt.Errorf("the coprocess asked for %d again: %s", *a.Nack, a.Reason)
		case a.Reject != nil:
			return n, &rejectedError{a.Reason}
		}
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
