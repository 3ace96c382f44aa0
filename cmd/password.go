package cmd

import (
	"context"
	"net"
	"os"

	"golang.org/x/term"

	"github.com/etcdx/etcdx/pkg/config"
)

// access lets the configuration reach the DNS, and the person who knows the password.
func (g *globals) access() config.Access {
	a := config.Access{In: g.streams.In, Err: g.streams.Err, LookupSRV: net.DefaultResolver.LookupSRV}
	in, ok := g.streams.In.(*os.File)
	onTerminal := ok && term.IsTerminal(int(in.Fd()))
	switch {
	case g.asEtcdctl:
		a.Prompt = g.streams.Out // where etcdctl asks, on a terminal or not
	case onTerminal:
		a.Prompt = g.streams.Err
	}
	if onTerminal {
		a.Hidden = func() (string, error) { return readHidden(g.process, in) }
	}
	return a
}

// readHidden reads a line without echo. When ctx ends first, the terminal is left as it was found.
func readHidden(ctx context.Context, in *os.File) (string, error) {
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", err
	}
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	// Nothing can end a blocked read of a terminal but the end of the process, which is near when ctx has ended.
	go func() {
		text, err := term.ReadPassword(int(in.Fd()))
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		return string(l.text), l.err
	case <-ctx.Done():
		_ = term.Restore(int(in.Fd()), before)
		return "", context.Cause(ctx)
	}
}
