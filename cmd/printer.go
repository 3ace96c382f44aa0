package cmd

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdx/etcdx/pkg/output"
)

// printer returns the printer that the global flags ask for; o says the rest. A format that cannot show what etcd answers
// is refused here, before a command has done anything.
func (g *globals) printer(o output.Options) (*output.Printer, error) {
	p, err := g.anyPrinter(o)
	if err == nil {
		err = g.badFormat(p.Answers())
	}
	return p, err
}

// anyPrinter returns the printer that the global flags ask for, whatever it is to print.
func (g *globals) anyPrinter(o output.Options) (*output.Printer, error) {
	o.Format, o.Hex, o.Filter = output.Format(g.settings.Output), g.settings.Hex, g.filter
	// Under etcdctl's name a terminal gets the very bytes that a pipe gets, as from etcdctl.
	o.Terminal = isTerminal(g.streams.Out) && !g.asEtcdctl
	env := g.env
	if g.asEtcdctl {
		env = func(string) (string, bool) { return "", false } // etcdctl knows no colours: no variable asks for them
	}
	o.Style = output.NewStyle(output.ColorWhen(g.settings.Color), o.Terminal, env)
	p, err := output.New(g.streams.Out, o)
	return p, g.badFormat(err)
}

// badFormat turns a *output.FormatError into wrong usage.
func (g *globals) badFormat(err error) error {
	e, ok := errors.AsType[*output.FormatError](err)
	if !ok {
		return err
	}
	text, hint, _ := strings.Cut(err.Error(), ": ")
	switch {
	case g.asEtcdctl && e.Format == output.Table:
		text = "table not supported as output format"
	case g.asEtcdctl:
		text = "unsupported output format"
	}
	return usageError{text: text, hint: hint, feature: true}
}

// isTerminal says whether people sit at the other end of a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func badArgs(text string) error    { return usageError{text: text} }
func badFeature(text string) error { return usageError{text: text, feature: true} }

// notFoundError says that what a command was told to insist on is not there.
type notFoundError struct{ text string }

func (e notFoundError) Error() string { return e.text }

// tooLargeToSend says whether a request was larger than this side sends.
func tooLargeToSend(err error) bool {
	var st interface{ GRPCStatus() *status.Status }
	return errors.As(err, &st) && st.GRPCStatus().Code() == codes.ResourceExhausted &&
		strings.Contains(st.GRPCStatus().Message(), "trying to send message larger than max")
}

// argOrStdin returns the argument at index i, else all of standard input, which must not be empty.
func argOrStdin(args []string, stdin io.Reader, i int) (string, error) {
	if i < len(args) {
		return args[i], nil
	}
	text, err := io.ReadAll(stdin)
	if err != nil {
		return "", err
	}
	if len(text) == 0 {
		return "", errors.New("no value given, and standard input is empty")
	}
	return string(text), nil
}
