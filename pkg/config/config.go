// Package config finds out what to connect to and how: from flags, the environment and the context file, in this order.
package config

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/etcdx/etcdx/pkg/conn"
)

// Settings is what the global flags, the environment and the context file say together.
type Settings struct {
	Conn conn.Options
	// CommandTimeout bounds a short-running command as a whole, retries included (default 5 s).
	CommandTimeout time.Duration
	// Output is the format named by -w/-o (default "simple"); Hex prints byte strings as hex.
	Output string
	Hex    bool
	Debug  bool
	// StateDir is where checkpoints and verdicts on endpoints live; empty: there is no such place.
	StateDir string
}

// AddFlags defines etcdctl's global flags, with its names and defaults, and etcdx's own, on fs.
func AddFlags(fs *pflag.FlagSet) {
	fs.StringSlice("endpoints", []string{"127.0.0.1:2379"}, "gRPC endpoints")
	fs.Duration("command-timeout", 5*time.Second, "timeout for short running command (excluding dial timeout)")
	fs.StringP("write-out", "w", "simple", "set the output format (fields, json, protobuf, simple, table)")
	fs.Bool("hex", false, "print byte strings as hex encoded strings")
}

// Resolve merges the flags in fs with the environment: a flag wins over ETCDX_*, which wins over ETCDCTL_*.
// env returns a variable's value and whether it is set.
func Resolve(fs *pflag.FlagSet, env func(string) (string, bool)) (Settings, error) {
	var s Settings
	var err error
	if s.Conn.Endpoints, err = fs.GetStringSlice("endpoints"); err != nil {
		return s, err
	}
	if v, ok := env("ETCDCTL_ENDPOINTS"); ok && !fs.Changed("endpoints") {
		s.Conn.Endpoints = []string{v}
	}
	if s.CommandTimeout, err = fs.GetDuration("command-timeout"); err != nil {
		return s, err
	}
	if s.Output, err = fs.GetString("write-out"); err != nil {
		return s, err
	}
	s.Hex, err = fs.GetBool("hex")
	return s, err
}
