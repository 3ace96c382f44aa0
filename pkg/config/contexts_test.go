package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// contextFile writes the user's context file and returns the XDG_CONFIG_HOME it is in.
func contextFile(t *testing.T, mode os.FileMode, text string) (home string) {
	t.Helper()
	home = t.TempDir()
	path := filepath.Join(home, "etcdx", "config.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return home
}

const twoContexts = `current-context: prod
contexts:
  prod:
    endpoints: [https://a:2379, https://b:2379]
    cacert: /ca.pem
    user: reader
    password: secret
    retry-after: 10s
    failover: false
    protected: true
  test:
    endpoints: [t:2379]
    discovery-srv: example
`

func TestContextsAreStackedUserOverSystem(t *testing.T) {
	user := contextFile(t, 0o600, twoContexts)
	system := contextFile(t, 0o644, "current-context: base\ncontexts: {base: {endpoints: [x:1]}, test: {endpoints: [y:1]}}")
	env := map[string]string{"XDG_CONFIG_HOME": user, "XDG_CONFIG_DIRS": system}
	for _, c := range []struct {
		args    []string
		context string
		want    []string
	}{
		{nil, "prod", []string{"https://a:2379", "https://b:2379"}},
		{[]string{"--context=test"}, "test", []string{"t:2379"}},
		{[]string{"--context=base"}, "base", []string{"x:1"}},
		{[]string{"--endpoints=z:1"}, "prod", []string{"z:1"}},
	} {
		s, _, err := resolve(t, env, c.args...)
		if err != nil || s.Context != c.context || !reflect.DeepEqual(s.Conn.Endpoints, c.want) {
			t.Errorf("%v: context %q, endpoints %v, %v; want %q %v", c.args, s.Context, s.Conn.Endpoints, err, c.context, c.want)
		}
	}
	s, _, err := resolve(t, env)
	if err != nil || !s.Protected || !s.Conn.Pin || s.Conn.RetryAfter.Seconds() != 10 || s.Conn.TLS.CACert != "/ca.pem" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestContextKeepsItsSecretForItsUser(t *testing.T) {
	env := map[string]string{"XDG_CONFIG_HOME": contextFile(t, 0o600, twoContexts)}
	for _, c := range []struct {
		args           []string
		user, password string
	}{
		{nil, "reader", "secret"},
		{[]string{"--user=root"}, "root", ""},
		{[]string{"--password=other"}, "reader", "other"},
		{[]string{"--auth-jwt-token=t"}, "", ""},
	} {
		s, _, err := resolve(t, env, c.args...)
		if err != nil || s.login.user != c.user || s.login.password != c.password {
			t.Errorf("%v: %q %q %v, want %q %q", c.args, s.login.user, s.login.password, err, c.user, c.password)
		}
	}
}

func TestGivenEndpointsEndAContextsDiscovery(t *testing.T) {
	env := map[string]string{"XDG_CONFIG_HOME": contextFile(t, 0o600, twoContexts), "ETCDX_CONTEXT": "test"}
	s, _, err := resolve(t, env)
	if err != nil || s.discovery.domain != "example" {
		t.Errorf("%+v, %v", s.discovery, err)
	}
	if s, _, err = resolve(t, env, "--endpoints=a:1"); err != nil || s.discovery.domain != "" {
		t.Errorf("%+v, %v", s.discovery, err)
	}
}

func TestBrokenContextFileSaysWhere(t *testing.T) {
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"contexts:\n  a:\n    endpoint: [x]\n", 0o600, `config.yaml:3:5: unknown field "endpoint"`},
		{"contexts:\n  a:\n    failover: perhaps\n", 0o600, "config.yaml:3:"},
		{"contexts: [", 0o600, "config.yaml:1"},
		{"contexts: {a: {password: p}}", 0o644, "every user of this machine can read it"},
		{"contexts: {a: {user: 'root:p'}}", 0o604, "every user of this machine can read it"},
		{"contexts: {a: {auth-jwt-token: t}}", 0o604, "every user of this machine can read it"},
	} {
		_, _, err := resolve(t, map[string]string{"XDG_CONFIG_HOME": contextFile(t, c.mode, c.text)})
		if _, ok := errors.AsType[*ImpossibleError](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
	_, _, err := resolve(t, map[string]string{"XDG_CONFIG_HOME": contextFile(t, 0o600, "current-context: a\ncontexts: {a: {dial-timeout: soon}}")})
	if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), `context "a": dial-timeout: "soon" is not a duration`) {
		t.Errorf("malformed duration: %v", err)
	}
	_, _, err = resolve(t, map[string]string{"XDG_CONFIG_HOME": contextFile(t, 0o600, twoContexts)}, "--context=tset")
	if usage, ok := errors.AsType[*UsageError](err); !ok || usage.Next != "there are: prod, test" {
		t.Errorf("unknown context: %v", err)
	}
}

func TestWrittenContextFileIsPrivateAndReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcdx", "config.yaml")
	yes := true
	want := File{Current: "a", Contexts: map[string]Context{"a": {Endpoints: []string{"x:1"}, Password: "p", Failover: &yes}}}
	if err := WriteFile(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("%d files are left behind, want the context file alone", len(entries))
	}
}
