package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/etcdx/etcdx/pkg/output"
)

// interact reads "watch ..." and "progress" lines and runs the watches side by side, as etcdctl watch -i does. It ends
// with its input.
func (o *watchOptions) interact(ctx context.Context, g *globals) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	s := &session{g: g, running: &running}
	lines := make(chan string)
	ended := make(chan error, 1)
	go func() { ended <- readLines(ctx, g.streams.In, lines) }()
	for {
		select {
		case line := <-lines:
			if err := s.do(ctx, line); err != nil {
				return err
			}
		case err := <-ended:
			return badLine{fmt.Errorf("error reading watch request line: %w", err)}
		case <-ctx.Done():
			return nil
		}
	}
}

// badLine is an interactive line that cannot be read (etcdctl's code 3).
type badLine struct{ err error }

func (e badLine) Error() string { return e.err.Error() }
func (e badLine) Unwrap() error { return e.err }

func readLines(ctx context.Context, in io.Reader, lines chan<- string) error {
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		select {
		case lines <- strings.TrimSuffix(line, "\n"):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// session is one watch -i.
type session struct {
	g       *globals
	running *sync.WaitGroup
	asks    []chan struct{} // one per watch: asks it for its progress
}

func (s *session) do(ctx context.Context, line string) error {
	args := words(line)
	if len(args) == 0 {
		fmt.Fprintf(s.g.streams.Err, "Invalid command: %s (watch and progress supported)\n", line)
		return nil
	}
	switch args[0] {
	case "watch":
		return s.watch(ctx, line, args[1:])
	case "progress":
		for _, ask := range s.asks {
			select {
			case ask <- struct{}{}:
			default: // asked already
			}
		}
	default:
		fmt.Fprintf(s.g.streams.Err, "Invalid command %s (only support watch)\n", line)
	}
	return nil
}

// watch starts the watch that a line asks for.
func (s *session) watch(ctx context.Context, line string, args []string) error {
	if key, _ := s.g.env("ETCDCTL_WATCH_KEY"); len(args) == 0 && key == "" {
		fmt.Fprintf(s.g.streams.Err, "Invalid command %s (command type or key is not provided)\n", line)
		return nil
	}
	o := watchOptions{interactive: true}
	fs := pflag.NewFlagSet("watch", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o.addFlags(fs)
	if err := fs.Parse(args); err != nil {
		return badArgs(err.Error())
	}
	t, err := parseWatch(fs.Args(), fs.ArgsLenAtDash(), s.g.env)
	if err != nil {
		return err
	}
	r, err := o.rangeOf(t)
	if err != nil {
		fmt.Fprintf(s.g.streams.Err, "Invalid command %s (%v)\n", line, err)
		return nil
	}
	p, err := s.g.printer(output.Options{})
	if err != nil {
		return err
	}
	w, err := o.plainWatcher(s.g, r)
	if err != nil {
		return err
	}
	ask := make(chan struct{}, 1)
	w.Ask = ask
	s.asks = append(s.asks, ask)
	plain := plainWatch{g: s.g, p: p, exec: t.exec, progress: true}
	s.running.Go(func() {
		err := plain.run(ctx, w, o.rev)
		if err != nil && !as[*watchEndedError](err) && !as[codeError](err) && !errors.Is(err, context.Canceled) {
			s.g.notice(err.Error())
		}
	})
	return nil
}

// words splits a line as etcdctl does: at white space, except inside quotes; double quotes know Go's escapes.
func words(line string) []string {
	found := regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|[^'"\s]\S*[^'"\s]?`).FindAllString(line, -1)
	for i, w := range found {
		switch w[0] {
		case '\'':
			found[i] = w[1 : len(w)-1]
		case '"':
			if text, err := strconv.Unquote(w); err == nil {
				found[i] = text
			}
		}
	}
	return found
}
