package conn_test

import (
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// What waiting cannot mend is told within a second, and told apart.
func TestWrongSetUpsFailAtOnce(t *testing.T) {
	clear := start(t, lab.Config{Members: 1})
	secure := start(t, lab.Config{Members: 1, TLS: lab.ServerTLS})
	mutual := start(t, lab.Config{Members: 1, TLS: lab.MutualTLS})
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	secureWeb := httptest.NewUnstartedServer(http.NotFoundHandler())
	secureWeb.Config.ErrorLog = nil
	secureWeb.StartTLS()
	defer secureWeb.Close()
	webCA := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(webCA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secureWeb.Certificate().Raw}), 0o600))
	host := func(l *lab.Cluster) string {
		_, h, _ := strings.Cut(l.Endpoint(0), "://")
		if h == "" {
			h = l.Endpoint(0)
		}
		return h
	}
	cases := []struct {
		name     string
		endpoint string
		tls      conn.TLS
		want     conn.Reason
	}{
		{"TLS spoken to a plain port", "https://" + host(clear), conn.TLS{}, conn.PlainPort},
		{"TLS by the options spoken to a plain port", host(clear), conn.TLS{CACert: secure.CACert()}, conn.PlainPort},
		{"plain text spoken to a TLS port", "http://" + host(secure), conn.TLS{}, conn.TLSPort},
		{"no scheme, no TLS, to a TLS port", host(secure), conn.TLS{Insecure: true}, conn.TLSPort},
		{"the system's CAs do not know the server", "https://" + host(secure), conn.TLS{}, conn.WrongCA},
		{"another CA", "https://" + host(secure), conn.TLS{CACert: mutual.CACert()}, conn.WrongCA},
		{"another name", "https://" + host(secure), conn.TLS{CACert: secure.CACert(), ServerName: "elsewhere.example"}, conn.WrongCA},
		{"no client certificate", "https://" + host(mutual), conn.TLS{CACert: mutual.CACert()}, conn.NeedCert},
		{"a client certificate of another CA", "https://" + host(mutual), conn.TLS{CACert: mutual.CACert(), Cert: secure.ClientCert(), Key: secure.ClientKey()}, conn.NeedCert},
		{"a web server", web.URL, conn.TLS{}, conn.NotEtcd},
		{"a secure web server", secureWeb.URL, conn.TLS{CACert: webCA}, conn.NotEtcd},
		{"something that talks first", "http://" + talker(t), conn.TLS{}, conn.NotEtcd},
		{"an unknown host", "http://no-such-host.invalid:2379", conn.TLS{}, conn.UnknownHost},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cl := open(t, conn.Options{Endpoints: []string{c.endpoint}, TLS: c.tls})
			begun := time.Now()
			_, err := cl.Put(within(t, 5*time.Second), "k", "v")
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("took %v", took)
			}
			e, ok := errors.AsType[*conn.UnavailableError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if why, ok := e.Lasting(); !ok || why != c.want {
				t.Errorf("got %q, want %q: %v", why, c.want, e.Attempts[0].Err)
			}
		})
	}
	t.Run("good ones work", func(t *testing.T) {
		for _, o := range []conn.Options{
			{Endpoints: clear.Endpoints(), TLS: conn.TLS{Insecure: true}},
			{Endpoints: []string{"http://" + host(clear)}},
			{Endpoints: []string{"https://" + host(secure)}, TLS: conn.TLS{CACert: secure.CACert()}},
			{Endpoints: []string{host(secure)}, TLS: conn.TLS{SkipVerify: true}},
			{Endpoints: []string{"https://" + host(mutual)}, TLS: conn.TLS{CACert: mutual.CACert(), Cert: mutual.ClientCert(), Key: mutual.ClientKey()}},
			// One that will never work does not keep the others from working.
			{Endpoints: []string{web.URL, "http://no-such-host.invalid:2379", "http://" + host(clear)}},
		} {
			_, err := open(t, o).Get(within(t, 5*time.Second), "k")
			if err != nil {
				t.Errorf("%v: %v", o.Endpoints, err)
			}
		}
	})
}

// talker listens and greets everybody, as mail servers do.
func talker(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 mail.example ESMTP\r\n")
			time.AfterFunc(time.Second, func() { _ = c.Close() })
		}
	}()
	return ln.Addr().String()
}

func TestOptionsThatCannotWork(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	check(t, os.WriteFile(empty, nil, 0o600))
	for want, o := range map[string]conn.Options{
		"no endpoint is given":    {},
		`endpoint "": empty`:      {Endpoints: []string{""}},
		"want host:port":          {Endpoints: []string{"localhost"}},
		"unknown scheme":          {Endpoints: []string{"ftp://localhost:1"}},
		"no such file":            {Endpoints: []string{"localhost:1"}, TLS: conn.TLS{CACert: empty + "x"}},
		"no certificate in it":    {Endpoints: []string{"localhost:1"}, TLS: conn.TLS{CACert: empty}},
		"only one is given":       {Endpoints: []string{"localhost:1"}, TLS: conn.TLS{Cert: empty}},
		"mutually exclusive":      {Endpoints: []string{"localhost:1"}, Auth: conn.Auth{User: "u", Token: "t"}},
		"must not be larger than": {Endpoints: []string{"localhost:1"}, MaxSendBytes: 2, MaxRecvBytes: 1},
		"find any PEM data":       {Endpoints: []string{"https://localhost:1"}, TLS: conn.TLS{Insecure: true, Cert: empty, Key: empty}},
	} {
		if c, err := conn.Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", o, err, want)
			_ = c
		}
	}
}

// With authentication on, each refusal comes as etcd's own error, at once.
func TestRefusedUsers(t *testing.T) {
	l := start(t, lab.Config{Members: 1})
	root := client(t, l.Endpoint(0))
	ctx := within(t, 20*time.Second)
	for _, do := range []func() error{
		func() error { _, err := root.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := root.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := root.UserAdd(ctx, "alice", "pw"); return err },
		func() error { _, err := root.RoleAdd(ctx, "writer"); return err },
		func() error { _, err := root.RoleGrantPermission(ctx, "writer", "w", "", 1); return err }, // write only
		func() error { _, err := root.UserGrantRole(ctx, "alice", "writer"); return err },
		func() error { _, err := root.AuthEnable(ctx); return err },
	} {
		check(t, do())
	}
	as := func(a conn.Auth) *conn.Cluster {
		return open(t, conn.Options{Endpoints: l.Endpoints(), TLS: conn.TLS{Insecure: true}, Auth: a})
	}
	for _, c := range []struct {
		name string
		auth conn.Auth
		key  string
		want error
	}{
		{"wrong password", conn.Auth{User: "alice", Password: "x"}, "w", rpctypes.ErrAuthFailed},
		{"unknown user", conn.Auth{User: "bob", Password: "x"}, "w", rpctypes.ErrAuthFailed},
		{"nobody", conn.Auth{}, "w", rpctypes.ErrUserEmpty},
		{"a bad token", conn.Auth{Token: "x.1"}, "w", rpctypes.ErrInvalidAuthToken},
		{"no permission", conn.Auth{User: "alice", Password: "pw"}, "other", rpctypes.ErrPermissionDenied},
		{"write permission only", conn.Auth{User: "alice", Password: "pw"}, "w", nil},
		{"root", conn.Auth{User: "root", Password: "secret"}, "other", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun := time.Now()
			_, err := as(c.auth).Put(within(t, 5*time.Second), c.key, "v")
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			// Refusals come at once, not when the time is up; how soon, scripts/measure tells.
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
