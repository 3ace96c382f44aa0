package config

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
)

// resolve runs args and env through Resolve as the root command does. Neither home nor system files are read unless env
// names them.
func resolve(t *testing.T, env map[string]string, args ...string) (Settings, *pflag.FlagSet, error) {
	t.Helper()
	all := map[string]string{"XDG_CONFIG_HOME": t.TempDir(), "XDG_CONFIG_DIRS": t.TempDir()}
	maps.Copy(all, env)
	fs := pflag.NewFlagSet("etcdx", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	s, err := Resolve(fs, func(k string) (string, bool) { v, ok := all[k]; return v, ok })
	return s, fs, err
}

func TestFlagWinsOverEtcdxOverEtcdctlOverContextOverDefault(t *testing.T) {
	home := contextFile(t, 0o600, "current-context: c\ncontexts: {c: {command-timeout: 4s}}")
	layers := []struct {
		env  map[string]string
		args []string
		want time.Duration
	}{
		{want: 5 * time.Second},
		{env: map[string]string{"XDG_CONFIG_HOME": home}, want: 4 * time.Second},
		{env: map[string]string{"ETCDCTL_COMMAND_TIMEOUT": "3s"}, want: 3 * time.Second},
		{env: map[string]string{"ETCDX_COMMAND_TIMEOUT": "2s"}, want: 2 * time.Second},
		{args: []string{"--command-timeout=1s"}, want: time.Second},
	}
	// Each layer is laid over all the ones before it.
	env := map[string]string{}
	for _, l := range layers {
		maps.Copy(env, l.env)
		s, fs, err := resolve(t, env, l.args...)
		if err != nil {
			t.Fatal(err)
		}
		if s.CommandTimeout != l.want {
			t.Errorf("with %v %v: %v, want %v", env, l.args, s.CommandTimeout, l.want)
		}
		if got, _ := fs.GetDuration("command-timeout"); got != l.want {
			t.Errorf("with %v %v: the flag says %v, want %v: mounted commands read it", env, l.args, got, l.want)
		}
	}
}

func TestEveryEtcdctlFlagIsHere(t *testing.T) {
	// etcdctl's own root prints its persistent flags; ours must be the same to the letter.
	help := etcdctlOptions(t)
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	addEtcdctlFlags(fs)
	if got := fs.FlagUsages(); !strings.Contains(help, got) {
		t.Errorf("flags differ\ngot:\n%s\nwant:\n%s", got, help)
	}
}

// etcdctlOptions returns what "etcdctl options" prints.
func etcdctlOptions(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, args := os.Stdout, os.Args
	os.Stdout, os.Args = w, []string{"etcdctl", "options"}
	err = ctlv3.Start()
	os.Stdout, os.Args = stdout, args
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	var b strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := r.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func TestOutputIsOneValueUnderTwoNames(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want string
	}{
		{want: "simple"},
		{args: []string{"-w", "json", "-o", "yaml"}, want: "yaml"},
		{args: []string{"--output=yaml", "--write-out=json"}, want: "json"},
		{env: map[string]string{"ETCDCTL_WRITE_OUT": "json"}, want: "json"},
		{env: map[string]string{"ETCDCTL_WRITE_OUT": "json", "ETCDX_OUTPUT": "yaml"}, want: "yaml"},
		{args: []string{"-o", "table"}, env: map[string]string{"ETCDX_WRITE_OUT": "json"}, want: "table"},
	} {
		s, _, err := resolve(t, c.env, c.args...)
		if err != nil || s.Output != c.want {
			t.Errorf("%v %v: %q, %v; want %q", c.args, c.env, s.Output, err, c.want)
		}
	}
}

func TestMalformedVariableIsNamed(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"ETCDX_DIAL_TIMEOUT", "soon", `ETCDX_DIAL_TIMEOUT: "soon" is not a duration such as 5s or 1m30s`},
		{"ETCDCTL_MAX_REQUEST_BYTES", "2MB", `ETCDCTL_MAX_REQUEST_BYTES: "2MB" is not a whole number`},
		{"ETCDX_FAILOVER", "perhaps", `ETCDX_FAILOVER: "perhaps" is not true or false`},
		{"ETCDX_ENDPOINTS", `"a`, `ETCDX_ENDPOINTS: "\"a" is not a list of endpoints such as host1:2379,host2:2379`},
	} {
		_, _, err := resolve(t, map[string]string{c.key: c.value})
		var usage *UsageError
		if !errors.As(err, &usage) || usage.Text != c.want || usage.Next == "" {
			t.Errorf("%s=%s: %v, want %q and a hint", c.key, c.value, err, c.want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"a:1, b:2 ,c:3", []string{"a:1", "b:2", "c:3"}},
		{"a:1,,", []string{"a:1"}},
		{"https://a:1,unix://s", []string{"https://a:1", "unix://s"}},
	} {
		s, _, err := resolve(t, nil, "--endpoints="+c.in)
		if err != nil || !reflect.DeepEqual(s.Conn.Endpoints, c.want) {
			t.Errorf("%q: %v, %v", c.in, s.Conn.Endpoints, err)
		}
	}
	s, _, _ := resolve(t, nil, "--endpoints=")
	err := s.Complete(context.Background(), Access{})
	if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), "the list of endpoints is empty") {
		t.Errorf("empty list: %v", err)
	}
}

func TestStateDir(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{want: ""},
		{env: map[string]string{"HOME": "/home/u"}, want: "/home/u/.local/state/etcdx"},
		{env: map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, want: "/s/etcdx"},
		{env: map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "not/absolute"}, want: "/home/u/.local/state/etcdx"},
		{env: map[string]string{"XDG_STATE_HOME": "/s", "STATE_DIRECTORY": "/var/lib/job:/var/lib/x"}, want: "/var/lib/job"},
		{env: map[string]string{"STATE_DIRECTORY": "/var/lib/job", "ETCDX_STATE_DIR": "/e"}, want: "/e"},
		{env: map[string]string{"ETCDX_STATE_DIR": "/e"}, args: []string{"--state-dir=/f"}, want: "/f"},
	} {
		s, _, err := resolve(t, c.env, c.args...)
		if err != nil || s.StateDir != c.want {
			t.Errorf("%v %v: %q, %v; want %q", c.env, c.args, s.StateDir, err, c.want)
		}
		if (s.Conn.StateFile == "") != (c.want == "") {
			t.Errorf("%v %v: state file %q", c.env, c.args, s.Conn.StateFile)
		}
	}
}

func TestPassword(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("from file\r\nsecond line\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private, public := write("private", 0o640), write("public", 0o644)
	for _, c := range []struct {
		name           string
		env            map[string]string
		args           []string
		user, password string
		failure        string
	}{
		{name: "nobody"},
		{name: "inline", args: []string{"--user=root:p:w"}, user: "root", password: "p:w"},
		{name: "flag", args: []string{"--user=root:x", "--password=p"}, user: "root:x", password: "p"},
		{name: "file", args: []string{"--user=root", "--password-file=" + private}, user: "root", password: "from file"},
		{name: "file over variable", env: map[string]string{"ETCDCTL_PASSWORD": "p"}, args: []string{"--user=root", "--password-file=" + private}, user: "root", password: "from file"},
		{name: "flag over file variable", env: map[string]string{"ETCDX_PASSWORD_FILE": private}, args: []string{"--user=root", "--password=p"}, user: "root", password: "p"},
		{name: "inline over file variable", env: map[string]string{"ETCDX_PASSWORD_FILE": private}, args: []string{"--user=root:p"}, user: "root", password: "p"},
		{name: "asked", args: []string{"--user=root"}, user: "root", password: "typed"},
		{name: "line of stdin", args: []string{"--user=root", "--password-file=-"}, user: "root", password: "typed"},
		{name: "readable by all", args: []string{"--user=root", "--password-file=" + public}, failure: "every user of this machine can read it"},
		{name: "no such file", args: []string{"--user=root", "--password-file=" + dir + "/none"}, failure: "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, err := resolve(t, c.env, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Complete(t.Context(), Access{In: strings.NewReader("typed\nvalue")})
			if c.failure != "" {
				if _, ok := errors.AsType[*ImpossibleError](err); !ok || !strings.Contains(err.Error(), c.failure) {
					t.Fatalf("%v, want %q", err, c.failure)
				}
				return
			}
			if got := s.Conn.Auth; err != nil || got.User != c.user || got.Password != c.password {
				t.Errorf("%q %q %v, want %q %q", got.User, got.Password, err, c.user, c.password)
			}
		})
	}
}

func TestAskingForAPasswordLeavesTheRestOfStdin(t *testing.T) {
	in := strings.NewReader("typed\nvalue")
	s, _, _ := resolve(t, nil, "--user=root")
	if err := s.Complete(t.Context(), Access{In: in}); err != nil {
		t.Fatal(err)
	}
	if in.Len() != len("value") {
		t.Errorf("%d bytes are left, want those of the value", in.Len())
	}
}

func TestUnreadableFileIsNamed(t *testing.T) {
	for _, flag := range []string{"cacert", "cert", "key"} {
		s, _, err := resolve(t, map[string]string{Variable("ETCDX", flag): "/nowhere/f.pem"})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Complete(t.Context(), Access{})
		want := Variable("ETCDX", flag) + ": open /nowhere/f.pem: no such file or directory"
		if _, ok := errors.AsType[*ImpossibleError](err); !ok || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestDiscovery(t *testing.T) {
	records := map[string][]*net.SRV{
		"etcd-client-ssl":    {{Target: "s.example.", Port: 2379}},
		"etcd-client":        {{Target: "p.example.", Port: 2380}},
		"etcd-client-ssl-eu": {{Target: "eu.example.", Port: 1}},
	}
	lookup := func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		if r, ok := records[service]; ok && proto == "tcp" && name == "example" {
			return "", r, nil
		}
		return "", nil, &net.DNSError{Err: "no such host", Name: service, IsNotFound: true}
	}
	for _, c := range []struct {
		args   []string
		want   []string
		server string
		fails  bool
	}{
		{args: []string{"-d", "example"}, want: []string{"https://s.example.:2379", "http://p.example.:2380"}},
		{args: []string{"-d", "example", "--insecure-discovery=false"}, want: []string{"https://s.example.:2379"}, server: "example"},
		{args: []string{"-d", "example", "--discovery-srv-name=eu"}, want: []string{"https://eu.example.:1"}},
		{args: []string{"-d", "elsewhere"}, fails: true},
	} {
		s, _, err := resolve(t, nil, c.args...)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Complete(t.Context(), Access{LookupSRV: lookup})
		if (err != nil) != c.fails || err == nil && (!reflect.DeepEqual(s.Conn.Endpoints, c.want) || s.Conn.TLS.ServerName != c.server) {
			t.Errorf("%v: %v, server name %q, %v; want %v", c.args, s.Conn.Endpoints, s.Conn.TLS.ServerName, err, c.want)
		}
	}
}
