package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// login is who to log in as, before the password is known.
type login struct{ user, password, file, command, token string }

// Access is how Complete reaches what lies outside the process.
type Access struct {
	// In is where a password comes from when no other place was named.
	In io.Reader
	// Prompt is where "Password: " is written before In is read; nil: nowhere.
	Prompt io.Writer
	// Hidden reads a line from In without showing it; nil: In is read as it is.
	Hidden func() (string, error)
	// Err is where a password command complains; nil: nowhere.
	Err io.Writer
	// LookupSRV is net.Resolver's.
	LookupSRV func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Complete gets what is needed to connect and was not needed before: endpoints from the DNS, the password. It checks that the
// files for TLS can be read. ctx bounds the look-ups.
func (s *Settings) Complete(ctx context.Context, a Access) error {
	if err := s.discover(ctx, a); err != nil {
		return err
	}
	if len(s.Conn.Endpoints) == 0 {
		return &UsageError{
			Text: s.origin("endpoints") + ": the list of endpoints is empty",
			Next: "give one, such as --endpoints=127.0.0.1:2379",
		}
	}
	if err := s.checkFiles(); err != nil {
		return err
	}
	return s.authenticate(ctx, a)
}

// origin names where a setting was made, for people.
func (s *Settings) origin(name string) string {
	if from, ok := s.sources[name]; ok {
		return from.name
	}
	return "--" + name
}

// discover replaces the endpoints by what the DNS says, if a domain was given.
func (s *Settings) discover(ctx context.Context, a Access) error {
	d := s.discovery
	if d.domain == "" {
		return nil
	}
	var found, ignored []string
	var errs []error
	for _, kind := range []struct{ service, scheme string }{{"etcd-client-ssl", "https"}, {"etcd-client", "http"}} {
		service := kind.service
		if d.service != "" {
			service += "-" + d.service
		}
		_, records, err := a.LookupSRV(ctx, service, "tcp", d.domain)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, r := range records {
			ep := kind.scheme + "://" + net.JoinHostPort(r.Target, strconv.Itoa(int(r.Port)))
			if kind.scheme == "http" && !d.insecure {
				ignored = append(ignored, ep)
				continue
			}
			found = append(found, ep)
		}
	}
	switch {
	case len(errs) == 2:
		return &ImpossibleError{
			Text: s.origin("discovery-srv") + ": no endpoints found for " + strconv.Quote(d.domain), Err: errs[0],
			Next: "the DNS must have SRV records for _etcd-client._tcp or _etcd-client-ssl._tcp in it",
		}
	case len(found) == 0 && len(ignored) > 0:
		return &ImpossibleError{
			Text: fmt.Sprintf("%s: only insecure endpoints found: %s", s.origin("discovery-srv"), strings.Join(ignored, ", ")),
			Next: "give --insecure-discovery to accept them",
		}
	}
	if len(found) > 0 {
		s.Conn.Endpoints = found
	}
	if !d.insecure {
		// Certificates found through the DNS must be for the domain asked for, whatever host a record names.
		s.Conn.TLS.ServerName = d.domain
	}
	return nil
}

// checkFiles makes sure that every file for TLS can be read, so that the one at fault can be named at once.
func (s *Settings) checkFiles() error {
	for _, f := range []struct{ name, path string }{{"cacert", s.Conn.TLS.CACert}, {"cert", s.Conn.TLS.Cert}, {"key", s.Conn.TLS.Key}} {
		if f.path == "" {
			if from, ok := s.sources[f.name]; ok && from.rank == fromFlag {
				return &UsageError{Text: fmt.Sprintf("empty string is passed to --%s option", f.name)}
			}
			continue
		}
		file, err := os.Open(f.path)
		if err != nil {
			return &ImpossibleError{Text: s.origin(f.name), Err: err, Next: "check the path and that this user may read it"}
		}
		_ = file.Close()
	}
	if (s.Conn.TLS.Cert == "") != (s.Conn.TLS.Key == "") {
		return &UsageError{Text: "--cert and --key are needed together", Next: "a client certificate is of no use without its key"}
	}
	return nil
}

// authenticate finds the password, unless a token or no user at all was given.
func (s *Settings) authenticate(ctx context.Context, a Access) error {
	l := s.login
	if l.token != "" {
		s.Conn.Auth.Token = l.token
		return nil
	}
	if l.user == "" {
		return nil
	}
	s.Conn.Auth.User = l.user
	name, inline, hasInline := strings.Cut(l.user, ":")
	file, user, password := s.sources["password-file"].rank, s.sources["user"].rank, s.sources["password"].rank
	var err error
	switch {
	case l.password != "" && password >= file:
		s.Conn.Auth.Password = l.password
	case l.file != "" && (!hasInline || file >= user):
		s.Conn.Auth.Password, err = readPassword(l.file, a.In)
	case hasInline:
		s.Conn.Auth.User, s.Conn.Auth.Password = name, inline
	case l.command != "":
		s.Conn.Auth.Password, err = runPassword(ctx, l.command, a.Err)
	default:
		s.Conn.Auth.Password, err = askPassword(a)
	}
	return err
}

// readPassword returns the first line of a file that not everybody can read.
func readPassword(path string, in io.Reader) (string, error) {
	if path == "-" {
		return firstLine(in)
	}
	if err := notForEverybody(path); err != nil {
		return "", &ImpossibleError{Text: "password file", Err: err, Next: "chmod 600 " + path}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", &ImpossibleError{Text: "password file", Err: err, Next: "check the path and that this user may read it"}
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// runPassword returns the first line that a command prints.
func runPassword(ctx context.Context, command string, stderr io.Writer) (string, error) {
	shell, flag := "sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	c := exec.CommandContext(ctx, shell, flag, command)
	c.Stderr = stderr
	out, err := c.Output()
	if err != nil {
		return "", &ImpossibleError{Text: fmt.Sprintf("password command %q", command), Err: err}
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// askPassword asks for the password where etcdctl does.
func askPassword(a Access) (string, error) {
	if a.Prompt != nil {
		fmt.Fprint(a.Prompt, "Password: ")
		defer fmt.Fprintln(a.Prompt)
	}
	if a.Hidden != nil {
		return a.Hidden()
	}
	return firstLine(a.In)
}

// firstLine reads one line, and not a byte after it: what follows is the command's.
func firstLine(in io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		if n > 0 && b[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		line = append(line, b[:n]...)
	}
	return strings.TrimSpace(string(line)), nil
}

// errReadable says that a secret is not one.
var errReadable = errors.New("every user of this machine can read it")

// notForEverybody returns an error if a regular file can be read by every user. Windows has no such permission bits.
func notForEverybody(path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || runtime.GOOS == "windows" {
		return nil // who opens it reports what is wrong
	}
	if info.Mode().Perm()&0o004 != 0 {
		return fmt.Errorf("%s: %w", path, errReadable)
	}
	return nil
}

// errForeign and errWritable say why a file's word is not taken.
var (
	errForeign  = errors.New("it belongs to another user")
	errWritable = errors.New("every user of this machine can write it")
)

// onlyTrusted returns an error if others than this user and root could have written a file.
func onlyTrusted(path string) error {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" {
		return nil // who opens it reports what is wrong
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s: %w", path, errWritable)
	}
	if owner, known := ownerOf(info); known && owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("%s: %w", path, errForeign)
	}
	return nil
}
