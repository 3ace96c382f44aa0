package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// source is where a setting came from.
type source struct {
	rank int    // the higher wins
	name string // as people would write it: --cacert, ETCDX_CACERT, context "prod"
}

const (
	fromContext = iota + 1
	fromEtcdctl
	fromEtcdx
	fromFlag
)

// merger brings flags, environment and context together in one flag set.
type merger struct {
	fs      *pflag.FlagSet
	env     func(string) (string, bool)
	sources map[string]source
}

// etcdctlNames returns the names that etcdctl reads from ETCDCTL_*; etcdx's own settings are ETCDX_* only.
func etcdctlNames() map[string]bool {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	addEtcdctlFlags(fs)
	names := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
	return names
}

// Variable returns the name of the environment variable with prefix that stands for a flag.
func Variable(prefix, flag string) string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// environment sets every global flag that the command line left alone from its variables.
func (m *merger) environment() error {
	known := etcdctlNames()
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(own)
	var first error
	own.VisitAll(func(f *pflag.Flag) {
		name := f.Name
		// A filter is for one command line: in the environment it would spoil the output of all others.
		if name == "output" || name == "jq" || first != nil {
			return
		}
		if m.fs.Changed(name) || name == "write-out" && m.fs.Changed("output") {
			m.sources[name] = source{fromFlag, "--" + name}
			return
		}
		// An empty variable counts as none, as in etcdctl.
		if v, key := m.lookup(Variable("ETCDX", name)); v != "" {
			first = m.set(name, v, source{fromEtcdx, key})
			return
		}
		if v, key := m.lookup(Variable("ETCDX", "output")); name == "write-out" && v != "" {
			first = m.set(name, v, source{fromEtcdx, key})
			return
		}
		if v, key := m.lookup(Variable("ETCDCTL", name)); known[name] && v != "" {
			first = m.set(name, v, source{fromEtcdctl, key})
		}
	})
	return first
}

func (m *merger) lookup(key string) (value, name string) {
	v, _ := m.env(key)
	return v, key
}

func (m *merger) text(name string) string { return m.fs.Lookup(name).Value.String() }

// set gives a flag the value found at from.
func (m *merger) set(name, value string, from source) error {
	if err := m.fs.Set(name, value); err != nil {
		kind := m.fs.Lookup(name).Value.Type()
		return &UsageError{
			Text: fmt.Sprintf("%s: %q is not %s", from.name, value, wanted(kind)),
			Next: fmt.Sprintf("correct or unset it, or give --%s", name),
		}
	}
	m.sources[name] = from
	return nil
}

// wanted describes the values of a flag's type to people.
func wanted(kind string) string {
	switch kind {
	case "duration":
		return "a duration such as 5s or 1m30s"
	case "int":
		return "a whole number"
	case "bool":
		return "true or false"
	default:
		return "a list of endpoints such as host1:2379,host2:2379"
	}
}
