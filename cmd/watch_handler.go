package cmd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/output"
)

// handlerError says that a handler did not do its part.
type handlerError struct {
	what string // of which events
	err  error
}

func (e *handlerError) Error() string { return fmt.Sprintf("handler failed at %s: %v", e.what, e.err) }
func (e *handlerError) Unwrap() error { return e.err }

// name says what a group is, for people.
func (g group) name() string {
	switch {
	case g.control != nil:
		return g.control.Type
	case g.rev > 0:
		return fmt.Sprintf("revision %d", g.rev)
	case len(g.events) > 0:
		return fmt.Sprintf("key %q of a resync", g.events[0].GetKv().GetKey())
	}
	return "a resync"
}

// printHandler writes events to standard output; written is handled.
type printHandler struct {
	out   *bufio.Writer
	p     *output.Printer // nil: JSON lines of etcdx's own
	lines []byte
	// terminal says that people read the lines.
	terminal bool
}

func (h *printHandler) handle(_ context.Context, groups []group, acked func(int) error) error {
	for _, g := range groups {
		if err := h.print(g); err != nil {
			return err
		}
	}
	if err := h.out.Flush(); err != nil {
		return &output.WriteError{Err: err}
	}
	return acked(len(groups))
}

func (h *printHandler) print(g group) error {
	if h.p != nil {
		if len(g.events) == 0 {
			return nil
		}
		return h.p.Watch(&clientv3.WatchResponse{Header: g.item.Header, Events: g.events})
	}
	var err error
	if h.lines, err = g.lines(h.lines[:0]); err != nil {
		return err
	}
	if h.terminal {
		h.lines = output.EscapeJSON(h.lines)
	}
	if _, err := h.out.Write(h.lines); err != nil {
		return &output.WriteError{Err: err}
	}
	return nil
}

func (h *printHandler) close() error { return nil }

// execHandler runs a command per event, or per batch of revisions. Its exit code is its word: 0 handled, 65 never try
// this again, else try again.
type execHandler struct {
	args     []string
	out, err io.Writer
	grace    time.Duration
	batch    bool
	mark     string
	retry    retry
}

func (h *execHandler) handle(ctx context.Context, groups []group, acked func(int) error) error {
	if h.batch {
		return h.handleBatch(ctx, groups, acked)
	}
	for i, g := range groups {
		if h.retry.stopped() {
			return errStopping
		}
		for j := range g.events {
			line, err := appendLine(nil, g.record(j))
			if err != nil {
				return err
			}
			env := append(os.Environ(), etcdctlEnv(g.events[j].GetKv().GetModRevision(), g.events[j])...)
			env = append(env, "ETCDX_EVENT_ID="+g.record(j).ID, "ETCDX_EVENT_KIND="+g.record(j).Kind)
			if err := h.retry.do(ctx, g.name(), line, func() error { return h.run(ctx, env, line) }); err != nil {
				return err
			}
		}
		if err := acked(i + 1); err != nil {
			return err
		}
	}
	return nil
}

// handleBatch runs the command once for all groups.
func (h *execHandler) handleBatch(ctx context.Context, groups []group, acked func(int) error) error {
	var lines []byte
	var err error
	for _, g := range groups {
		if lines, err = g.lines(lines); err != nil {
			return err
		}
	}
	if len(lines) > 0 {
		name := groups[0].name() + " and on"
		if err := h.retry.do(ctx, name, lines, func() error { return h.run(ctx, os.Environ(), lines) }); err != nil {
			return err
		}
	}
	return acked(len(groups))
}

func (h *execHandler) run(ctx context.Context, env []string, in []byte) error {
	return runChild(ctx, childSpec{args: h.args, env: env, in: bytes.NewReader(in), out: h.out, err: h.err, mark: h.mark, grace: h.grace})
}

func (h *execHandler) close() error { return nil }
