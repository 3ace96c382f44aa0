package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/etcdx/etcdx/pkg/yaml"
)

// Context is a named set of settings. A field that is not set leaves the default alone.
type Context struct {
	Endpoints          []string `yaml:"endpoints,omitempty" json:"endpoints,omitempty"`
	DiscoverySRV       string   `yaml:"discovery-srv,omitempty" json:"discovery-srv,omitempty"`
	DiscoverySRVName   string   `yaml:"discovery-srv-name,omitempty" json:"discovery-srv-name,omitempty"`
	InsecureDiscovery  *bool    `yaml:"insecure-discovery,omitempty" json:"insecure-discovery,omitempty"`
	InsecureTransport  *bool    `yaml:"insecure-transport,omitempty" json:"insecure-transport,omitempty"`
	InsecureSkipVerify *bool    `yaml:"insecure-skip-tls-verify,omitempty" json:"insecure-skip-tls-verify,omitempty"`
	CACert             string   `yaml:"cacert,omitempty" json:"cacert,omitempty"`
	Cert               string   `yaml:"cert,omitempty" json:"cert,omitempty"`
	Key                string   `yaml:"key,omitempty" json:"key,omitempty"`
	User               string   `yaml:"user,omitempty" json:"user,omitempty"`
	Password           string   `yaml:"password,omitempty" json:"password,omitempty"`
	PasswordFile       string   `yaml:"password-file,omitempty" json:"password-file,omitempty"`
	// PasswordCommand is run by sh -c (cmd /C on Windows); its first output line is the password.
	PasswordCommand string `yaml:"password-command,omitempty" json:"password-command,omitempty"`
	Token           string `yaml:"auth-jwt-token,omitempty" json:"auth-jwt-token,omitempty"`
	DialTimeout     string `yaml:"dial-timeout,omitempty" json:"dial-timeout,omitempty"`
	CommandTimeout  string `yaml:"command-timeout,omitempty" json:"command-timeout,omitempty"`
	RetryAfter      string `yaml:"retry-after,omitempty" json:"retry-after,omitempty"`
	Failover        *bool  `yaml:"failover,omitempty" json:"failover,omitempty"`
	// Protected asks for --write before anything is changed.
	Protected bool `yaml:"protected,omitempty" json:"protected,omitempty"`
	// Prefix is where the completion of keys begins.
	Prefix string `yaml:"prefix,omitempty" json:"prefix,omitempty"`
}

// File is a context file.
type File struct {
	Current  string             `yaml:"current-context,omitempty"`
	Contexts map[string]Context `yaml:"contexts,omitempty"`
}

// Contexts is what the system's and the user's context files say together: the user's wins, context by context.
type Contexts struct {
	Current string
	byName  map[string]Context
	origin  map[string]string
}

// UserFile returns the path of the user's context file; empty when the environment names no home.
func UserFile(env func(string) (string, bool)) string {
	if dir, _ := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "etcdx", "config.yaml")
	}
	if dir, _ := env("AppData"); dir != "" {
		return filepath.Join(dir, "etcdx", "config.yaml")
	}
	if home, _ := env("HOME"); home != "" {
		return filepath.Join(home, ".config", "etcdx", "config.yaml")
	}
	return ""
}

// SystemFile returns the path of the context file for all users: etcdx/config.yaml in /etc, or in the first directory
// of XDG_CONFIG_DIRS.
func SystemFile(env func(string) (string, bool)) string {
	if dirs, _ := env("XDG_CONFIG_DIRS"); dirs != "" {
		first, _, _ := strings.Cut(dirs, string(filepath.ListSeparator))
		return filepath.Join(first, "etcdx", "config.yaml")
	}
	return filepath.Join("/etc", "etcdx", "config.yaml")
}

// ReadContexts reads both context files. One that does not exist is an empty one.
func ReadContexts(env func(string) (string, bool)) (Contexts, error) {
	all := Contexts{byName: map[string]Context{}, origin: map[string]string{}}
	for _, path := range []string{SystemFile(env), UserFile(env)} {
		if path == "" {
			continue
		}
		f, err := ReadFile(path)
		if err != nil {
			return all, err
		}
		if f.Current != "" {
			all.Current = f.Current
		}
		for name, c := range f.Contexts {
			all.byName[name], all.origin[name] = c, path
		}
	}
	return all, nil
}

// ReadFile reads one context file, strictly. It returns an *ImpossibleError for one that cannot be read or understood,
// and for one that holds a secret and can be read by everybody.
func ReadFile(path string) (File, error) {
	var f File
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, &ImpossibleError{Text: "context file", Err: err, Next: "make it readable, or move it away"}
	}
	if err := yaml.Decode(path, data, &f); err != nil {
		return f, &ImpossibleError{Text: "context file", Err: err, Next: "docs/configuration.md lists the fields"}
	}
	for name, c := range f.Contexts {
		if err := onlyTrusted(path); c.PasswordCommand != "" && err != nil {
			return f, &ImpossibleError{Text: fmt.Sprintf("context %q names a command to run", name), Err: err, Next: "make the file your own, and chmod 600 " + path}
		}
		if c.Password == "" && c.Token == "" && !strings.Contains(c.User, ":") {
			continue
		}
		if err := notForEverybody(path); err != nil {
			return f, &ImpossibleError{Text: fmt.Sprintf("context %q holds a secret", name), Err: err, Next: "chmod 600 " + path}
		}
	}
	return f, nil
}

// WriteFile replaces a context file as a whole, so that a reader never sees half of it. The directory is made if needed.
func WriteFile(path string, f File) error {
	data, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".config-*.yaml") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Names returns the contexts' names in order.
func (c Contexts) Names() []string {
	names := make([]string, 0, len(c.byName))
	for name := range c.byName {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Get returns a context and the file that defines it.
func (c Contexts) Get(name string) (ctx Context, file string, err error) {
	ctx, ok := c.byName[name]
	if !ok {
		next := "there is none yet: etcdx context set NAME --endpoints HOST:PORT"
		if len(c.byName) > 0 {
			next = "there are: " + strings.Join(c.Names(), ", ")
		}
		return ctx, "", &UsageError{Text: fmt.Sprintf("no context %q", name), Next: next}
	}
	return ctx, c.origin[name], nil
}

// settings returns the context's fields by flag name.
func (c Context) settings() map[string]string {
	all := map[string]string{
		"endpoints": strings.Join(c.Endpoints, ","), "discovery-srv": c.DiscoverySRV, "discovery-srv-name": c.DiscoverySRVName,
		"insecure-discovery": flagText(c.InsecureDiscovery), "insecure-transport": flagText(c.InsecureTransport),
		"insecure-skip-tls-verify": flagText(c.InsecureSkipVerify), "cacert": c.CACert, "cert": c.Cert, "key": c.Key,
		"user": c.User, "password": c.Password, "password-file": c.PasswordFile, "auth-jwt-token": c.Token,
		"dial-timeout": c.DialTimeout, "command-timeout": c.CommandTimeout, "retry-after": c.RetryAfter,
		"failover": flagText(c.Failover),
	}
	for name, v := range all {
		if v == "" {
			delete(all, name)
		}
	}
	return all
}

func flagText(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "true"
	default:
		return "false"
	}
}

// context applies the context in force to the flags that neither command line nor environment set.
func (m *merger) context(s *Settings) error {
	name, asked := m.text("context"), m.text("context") != ""
	all, err := ReadContexts(m.env)
	if err != nil {
		return err
	}
	if !asked {
		name = all.Current
	}
	if name == "" {
		return nil
	}
	c, file, err := all.Get(name)
	if err != nil {
		return err
	}
	s.Context, s.ContextFile, s.Protected, s.Prefix = name, file, c.Protected, c.Prefix
	return m.apply(c, name, s)
}

// apply sets the flags from c, leaving out what belongs to a setting that was made elsewhere: the password of another
// user, or where to look up other endpoints.
func (m *merger) apply(c Context, name string, s *Settings) error {
	dropped := map[string]bool{}
	if m.given("user", "auth-jwt-token", "password", "password-file") {
		drop(dropped, "user", "password", "password-file", "auth-jwt-token")
		c.PasswordCommand = ""
	}
	// A password of its own for the context's user is no other user.
	if !m.given("user", "auth-jwt-token") && m.given("password", "password-file") {
		delete(dropped, "user")
	}
	if m.given("endpoints") {
		drop(dropped, "discovery-srv", "discovery-srv-name", "insecure-discovery")
	}
	s.login.command = c.PasswordCommand
	values := c.settings()
	for _, flag := range sortedKeys(values) {
		if dropped[flag] || m.given(flag) {
			continue
		}
		if err := m.set(flag, values[flag], source{fromContext, fmt.Sprintf("context %q: %s", name, flag)}); err != nil {
			return err
		}
	}
	return nil
}

// given says whether any of the flags has a value that is not its default.
func (m *merger) given(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return m.sources[n].rank > 0 })
}

func drop(from map[string]bool, names ...string) {
	for _, n := range names {
		from[n] = true
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
