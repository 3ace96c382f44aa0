package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/etcdx/etcdx/pkg/yaml"
)

// Take changes the context's settings to values, by flag name; an empty value removes a setting. Flags that are no setting of a
// context are left alone. It returns a *UsageError for a value that such a flag cannot have.
func (c *Context) Take(values map[string]string) error {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(fs)
	for _, name := range sortedKeys(values) {
		value := values[name]
		if !settable(name) {
			continue
		}
		f := fs.Lookup(name)
		if value != "" && f.Value.Set(value) != nil {
			return &UsageError{Text: fmt.Sprintf("%s: %q is not %s", name, value, wanted(f.Value.Type()))}
		}
		if value != "" && f.Value.Type() == "bool" {
			value = f.Value.String() // "1" and "TRUE" are true, too
		}
		c.put(name, value)
	}
	return nil
}

// settable says whether a global flag can be a setting of a context.
func settable(name string) bool {
	return slices.Contains([]string{
		"endpoints", "discovery-srv", "discovery-srv-name", "insecure-discovery", "insecure-transport", "insecure-skip-tls-verify",
		"cacert", "cert", "key", "user", "password", "password-file", "auth-jwt-token", "dial-timeout", "command-timeout", "retry-after", "failover",
	}, name)
}

// put changes one setting.
func (c *Context) put(name, value string) {
	texts := map[string]*string{
		"discovery-srv": &c.DiscoverySRV, "discovery-srv-name": &c.DiscoverySRVName, "cacert": &c.CACert, "cert": &c.Cert, "key": &c.Key,
		"user": &c.User, "password": &c.Password, "password-file": &c.PasswordFile, "auth-jwt-token": &c.Token,
		"dial-timeout": &c.DialTimeout, "command-timeout": &c.CommandTimeout, "retry-after": &c.RetryAfter,
	}
	switches := map[string]**bool{
		"insecure-discovery": &c.InsecureDiscovery, "insecure-transport": &c.InsecureTransport,
		"insecure-skip-tls-verify": &c.InsecureSkipVerify, "failover": &c.Failover,
	}
	switch {
	case name == "endpoints":
		c.Endpoints = trimmed(strings.Split(value, ","))
	case texts[name] != nil:
		*texts[name] = value
	case value == "":
		*switches[name] = nil
	default:
		on := value == "true"
		*switches[name] = &on
	}
}

// FromEnvironment returns the settings of a context that the variables hold, by flag name: ETCDX_* before ETCDCTL_*.
func FromEnvironment(env func(string) (string, bool)) map[string]string {
	known, values := etcdctlNames(), map[string]string{}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if !settable(f.Name) {
			return
		}
		if v, _ := env(Variable("ETCDX", f.Name)); v != "" {
			values[f.Name] = v
		} else if v, _ := env(Variable("ETCDCTL", f.Name)); v != "" && known[f.Name] {
			values[f.Name] = v
		}
	})
	return values
}

// WithoutSecrets returns a copy that says where secrets are, and not what they are.
func (c Context) WithoutSecrets() Context {
	c.Password, c.Token = WithoutSecret("password", c.Password), WithoutSecret("auth-jwt-token", c.Token)
	c.User = WithoutSecret("user", c.User)
	return c
}

// Show returns a context as YAML, with its secrets left out.
func Show(name string, c Context) (string, error) {
	data, err := yaml.Marshal(map[string]Context{name: c.WithoutSecrets()})
	return string(data), err
}

// WithoutSecret returns the value of a global flag as it may be shown: the password and the token are left out.
func WithoutSecret(flag, value string) string {
	const secret = "(not shown)"
	switch flag {
	case "password", "auth-jwt-token":
		if value != "" {
			return secret
		}
	case "user":
		if user, _, ok := strings.Cut(value, ":"); ok {
			return user + ":" + secret
		}
	}
	return value
}
