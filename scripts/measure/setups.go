package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/etcdx/etcdx/pkg/lab"
)

// wrongSetup is a command line that can never succeed.
type wrongSetup struct {
	name string
	args []string
}

// setups: how long each program takes to say that what it was given cannot work, and what it says.
func setups(ctx context.Context, b *bench) error {
	tls, err := b.cluster(ctx, lab.Config{TLS: lab.MutualTLS, Members: 1})
	if err != nil {
		return err
	}
	defer tls.Close()
	plain, err := b.cluster(ctx, lab.Config{Members: 1})
	if err != nil {
		return err
	}
	defer plain.Close()
	other, err := b.cluster(ctx, lab.Config{TLS: lab.ServerTLS, Members: 1})
	if err != nil {
		return err
	}
	defer other.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()

	header("what is wrong", "etcdx: n, exits with", "after, s", "says", "etcdctl: n, exits with", "after, s", "says")
	for _, w := range []wrongSetup{
		{"wrong CA", []string{
			"--endpoints", tls.Endpoint(0), "--cacert", other.CACert(), "--cert", tls.ClientCert(), "--key", tls.ClientKey(),
		}},
		{"no client certificate", []string{"--endpoints", tls.Endpoint(0), "--cacert", tls.CACert()}},
		{"https to a plain port", []string{"--endpoints", "https://" + bare(plain.Endpoint(0))}},
		{"plain to a TLS port", []string{"--endpoints", "http://" + bare(tls.Endpoint(0))}},
		{"unknown host", []string{"--endpoints", "http://no-such-host.invalid:2379"}},
		{"an HTTP server", []string{"--endpoints", web.URL}},
	} {
		var x, ctl sample
		for i := range b.n {
			p, s := b.etcdx, &x
			if err := addCall(ctx, p, s, w.args); err != nil {
				return err
			}
			if i%(b.n/3) == 0 {
				if err := addCall(ctx, b.etcdctl, &ctl, w.args); err != nil {
					return err
				}
			}
		}
		row(w.name, fmt.Sprintf("%d, %s", x.n(), x.exits()), spread(x.failed), said(x, w.args),
			fmt.Sprintf("%d, %s", ctl.n(), ctl.exits()), spread(ctl.failed), said(ctl, w.args))
	}
	return nil
}

// bare returns an endpoint without its scheme.
func bare(endpoint string) string {
	if _, host, ok := strings.Cut(endpoint, "://"); ok {
		return host
	}
	return endpoint
}

func addCall(ctx context.Context, p program, s *sample, args []string) error {
	o, err := p.call(ctx, slices.Concat([]string{"get", "k"}, args)...)
	if err == nil {
		s.add(o)
	}
	return err
}

// said returns the line that was said most, with the endpoint of this run left out.
func said(s sample, args []string) string {
	best := ""
	for line, n := range s.lines {
		if best == "" || n > s.lines[best] {
			best = line
		}
	}
	endpoint := args[1]
	for _, e := range []string{endpoint, bare(endpoint)} {
		if !strings.Contains(e, ".invalid") {
			best = strings.ReplaceAll(best, e, "ENDPOINT")
		}
	}
	return "`" + strings.ReplaceAll(best, "|", `\|`) + "`"
}
