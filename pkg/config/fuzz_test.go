package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/spf13/pflag"
)

// A context file is understood as a whole or is an *ImpossibleError, and what is understood is the same after writing it.
func FuzzContextFile(f *testing.F) {
	for _, s := range []string{
		"", "current-context: a\ncontexts:\n  a:\n    endpoints: [x:1, 'y:2']\n    failover: false\n    password: p\n",
		"contexts: {a: {user: 'u:p', protected: true}}", "contexts: [a]", "a: &a [*a]", "contexts:\n  ? [x]\n  : {}\n", "contexts: {a: {endpoints: null}}\n---\nx",
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := ReadFile(path)
		if err != nil {
			if _, ok := errors.AsType[*ImpossibleError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for name, c := range file.Contexts {
			if _, err := Show(name, c); err != nil {
				t.Fatal(err)
			}
		}
		if err := WriteFile(path, file); err != nil {
			t.Fatal(err)
		}
		again, err := ReadFile(path)
		if err != nil {
			t.Fatalf("written, but not read: %v", err)
		}
		if again.Current != file.Current || len(again.Contexts) != len(file.Contexts) {
			t.Fatalf("%+v became %+v", file, again)
		}
		for name, c := range file.Contexts {
			if !reflect.DeepEqual(c.settings(), again.Contexts[name].settings()) {
				t.Fatalf("%+v became %+v", c, again.Contexts[name])
			}
		}
	})
}

// Any values of the variables are settings or a *UsageError, and no list of endpoints has an empty or a padded one in it.
func FuzzSettings(f *testing.F) {
	f.Add("a:1,b:2", "5s", "true", "0")
	f.Add(" , a:1 ,,\"b", "-1h", "TRUE", "99999999999999999999")
	f.Add("\"a,b\",c\"", "NaN", "2", "0x10")
	f.Fuzz(func(t *testing.T, endpoints, timeout, yes, size string) {
		vars := map[string]string{
			"ETCDX_ENDPOINTS": endpoints, "ETCDCTL_COMMAND_TIMEOUT": timeout, "ETCDX_FAILOVER": yes, "ETCDCTL_MAX_REQUEST_BYTES": size,
			"XDG_CONFIG_HOME": "/nowhere", "XDG_CONFIG_DIRS": "/nowhere",
		}
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		AddFlags(fs)
		s, err := Resolve(fs, func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
		if err != nil {
			if _, ok := errors.AsType[*UsageError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, e := range s.Conn.Endpoints {
			if e == "" || trimmed([]string{e})[0] != e {
				t.Fatalf("endpoints %q", s.Conn.Endpoints)
			}
		}
	})
}
