// Package config finds out what to connect to and how: from flags, the environment and the context file, in this order.
//
// A setting given in several places is never an error: a flag wins over ETCDX_*, which wins over ETCDCTL_*, which wins
// over the context, which wins over the default.
package config

import (
	"path/filepath"
	"strings"
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
	// Color is "auto", "always" or "never".
	Color string
	// StateDir is where checkpoints and verdicts on endpoints live; empty: there is no such place.
	StateDir string
	// Context is the name of the context in force; empty: none. ContextFile is the file that defines it.
	Context, ContextFile string
	// Protected says that the context asks for --write before anything is changed; Write that it was given.
	Protected, Write bool
	// Prefix is where the completion of keys begins.
	Prefix string
	// Filter is the expression that records are given to; empty: none.
	Filter string

	discovery discovery
	login     login
	// sources names where each setting that is not a default came from, by flag name.
	sources map[string]source
}

// discovery is where to look the endpoints up in the DNS; without a domain, nowhere.
type discovery struct {
	domain, service string
	insecure        bool
}

// AddFlags defines etcdctl's global flags, with its names and defaults, and etcdx's own, on fs.
func AddFlags(fs *pflag.FlagSet) {
	addEtcdctlFlags(fs)
	// One value behind both names: the last one on the command line wins, as with a repeated -w.
	fs.VarPF(fs.Lookup("write-out").Value, "output", "o", "the same as --write-out; also jsonl, yaml, value where a command prints records")
	fs.Bool("failover", true, "move calls and streams to members that answer (false: the first endpoint only)")
	fs.Duration("retry-after", 30*time.Second, "how long an endpoint that failed is set aside")
	fs.String("password-file", "", "file with the password for --user ('-': one line of standard input)")
	fs.String("state-dir", "", "directory for checkpoints and verdicts on endpoints")
	fs.String("context", "", "context to use instead of the current one")
	fs.String("color", "auto", "colour on a terminal (auto, always, never)")
	fs.Bool("write", false, "allow changes in a protected context")
	fs.String("jq", "", "print what this jq expression makes of each record")
}

// addEtcdctlFlags defines the persistent flags of etcdctl 3.7. The mounted commands read each of them by name and type.
func addEtcdctlFlags(fs *pflag.FlagSet) {
	fs.StringSlice("endpoints", []string{"127.0.0.1:2379"}, "gRPC endpoints")
	fs.Bool("debug", false, "enable client-side debug logging")
	fs.StringP("write-out", "w", "simple", "set the output format (fields, json, protobuf, simple, table)")
	fs.Bool("hex", false, "print byte strings as hex encoded strings")
	fs.Duration("dial-timeout", 2*time.Second, "dial timeout for client connections")
	fs.Duration("command-timeout", 5*time.Second, "timeout for short running command (excluding dial timeout)")
	fs.Duration("keepalive-time", 2*time.Second, "keepalive time for client connections")
	fs.Duration("keepalive-timeout", 6*time.Second, "keepalive timeout for client connections")
	fs.Int("max-request-bytes", 0, "client-side request send limit in bytes (if 0, it defaults to 2.0 MiB (2 * 1024 * 1024).)")
	fs.Int("max-recv-bytes", 0, "client-side response receive limit in bytes (if 0, it defaults to \"math.MaxInt32\")")
	fs.Bool("insecure-transport", true, "disable transport security for client connections")
	fs.Bool("insecure-discovery", true, "accept insecure SRV records describing cluster endpoints")
	fs.Bool("insecure-skip-tls-verify", false, "skip server certificate verification (CAUTION: this option should be enabled only for testing purposes)")
	fs.String("cert", "", "identify secure client using this TLS certificate file")
	fs.String("key", "", "identify secure client using this TLS key file")
	fs.String("cacert", "", "verify certificates of TLS-enabled secure servers using this CA bundle")
	fs.String("auth-jwt-token", "", "JWT token used for authentication (if this option is used, --user and --password should not be set)")
	fs.String("user", "", "username[:password] for authentication (prompt if password is not supplied)")
	fs.String("password", "", "password for authentication (if this option is used, --user option shouldn't include password)")
	fs.StringP("discovery-srv", "d", "", "domain name to query for SRV records describing cluster endpoints")
	fs.String("discovery-srv-name", "", "service name to query when using DNS discovery")
}

// Resolve merges the flags in fs with the environment and the context file, and sets the flags to the result, so that
// whoever reads them by name sees the same. env returns a variable's value and whether it is set.
// It asks nobody and connects to nothing: see Settings.Complete. It returns a *UsageError for a malformed value and an
// *ImpossibleError for a broken context file.
func Resolve(fs *pflag.FlagSet, env func(string) (string, bool)) (Settings, error) {
	m := merger{fs: fs, env: env, sources: map[string]source{}}
	if err := m.environment(); err != nil {
		return Settings{}, err
	}
	var s Settings
	if err := m.context(&s); err != nil {
		return s, err
	}
	s.sources = m.sources
	s.read(fs)
	s.StateDir = stateDir(m.text("state-dir"), env)
	if s.StateDir != "" {
		s.Conn.StateFile = filepath.Join(s.StateDir, "endpoints.json")
	}
	return s, nil
}

// read takes the settings from the merged flags, which AddFlags has defined.
func (s *Settings) read(fs *pflag.FlagSet) {
	text := func(name string) string { return fs.Lookup(name).Value.String() }
	yes := func(name string) bool { return text(name) == "true" }
	span := func(name string) time.Duration { d, _ := fs.GetDuration(name); return d }
	size := func(name string) int { n, _ := fs.GetInt(name); return n }

	endpoints, _ := fs.GetStringSlice("endpoints")
	s.Conn.Endpoints = trimmed(endpoints)
	s.Conn.DialTimeout, s.CommandTimeout = span("dial-timeout"), span("command-timeout")
	s.Conn.KeepAliveTime, s.Conn.KeepAliveTimeout = span("keepalive-time"), span("keepalive-timeout")
	s.Conn.MaxSendBytes, s.Conn.MaxRecvBytes = size("max-request-bytes"), size("max-recv-bytes")
	s.Conn.TLS = conn.TLS{
		CACert: text("cacert"), Cert: text("cert"), Key: text("key"),
		SkipVerify: yes("insecure-skip-tls-verify"), Insecure: yes("insecure-transport"),
	}
	s.Conn.Pin, s.Conn.RetryAfter = !yes("failover"), span("retry-after")
	s.discovery = discovery{domain: text("discovery-srv"), service: text("discovery-srv-name"), insecure: yes("insecure-discovery")}
	s.login.user, s.login.password = text("user"), text("password")
	s.login.file, s.login.token = text("password-file"), text("auth-jwt-token")
	s.Output, s.Hex, s.Debug, s.Color = text("write-out"), yes("hex"), yes("debug"), text("color")
	s.Write, s.Filter = yes("write"), text("jq")
}

// Presentation returns what the flags and the environment say of the format, the filter and the colours, for commands that
// must work while other settings do not.
func Presentation(fs *pflag.FlagSet, env func(string) (string, bool)) Settings {
	s := Settings{Output: fs.Lookup("write-out").Value.String(), Color: fs.Lookup("color").Value.String(), Filter: fs.Lookup("jq").Value.String()}
	first := func(names ...string) string {
		for _, name := range names {
			if v, _ := env(name); v != "" {
				return v
			}
		}
		return ""
	}
	if v := first(Variable("ETCDX", "write-out"), Variable("ETCDX", "output"), Variable("ETCDCTL", "write-out")); v != "" && !fs.Changed("write-out") && !fs.Changed("output") {
		s.Output = v
	}
	if v := first(Variable("ETCDX", "color")); v != "" && !fs.Changed("color") {
		s.Color = v
	}
	return s
}

// trimmed returns the parts without surrounding space, leaving out empty ones.
func trimmed(parts []string) []string {
	var out []string
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// stateDir returns the directory for state: the one asked for, systemd's, or the user's; empty when there is none,
// as in a cron job without HOME.
func stateDir(asked string, env func(string) (string, bool)) string {
	if asked != "" {
		return asked
	}
	// systemd may list several directories, separated by colons: the first is this service's own.
	if dir, _ := env("STATE_DIRECTORY"); dir != "" {
		first, _, _ := strings.Cut(dir, ":")
		return first
	}
	if dir, _ := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "etcdx")
	}
	if dir, _ := env("LocalAppData"); dir != "" {
		return filepath.Join(dir, "etcdx", "state")
	}
	if home, _ := env("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "etcdx")
	}
	return ""
}
