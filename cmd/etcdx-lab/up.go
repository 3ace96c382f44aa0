package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etcdx/etcdx/cmd"
	"github.com/etcdx/etcdx/pkg/lab"
)

func newUp(s cmd.Streams, name *string) *cobra.Command {
	var opts upOptions
	c := &cobra.Command{
		Use:   "up [-- ETCD-FLAG...]",
		Short: "Start a cluster of real etcd members on this machine",
		Long: `Start a cluster of real etcd members on this machine, each a process of its own, and run it until Ctrl-C or "lab down".

Every member is reached through proxies in front of its two ports, so that it can be killed, stopped, cut off and slowed down while
clients look on. Nothing is left behind, even if this process is killed. Flags after -- go to every member.`,
		Example: `  etcdx lab up --detach && eval "$(etcdx lab env)"
  etcdx lab up --members 5 --election 1s
  etcdx lab up --mtls --auth secret -- --auto-compaction-retention=1h`,
		RunE: func(c *cobra.Command, args []string) error {
			if opts.config.Members < 1 {
				return cmd.UsageError(fmt.Sprintf("--members %d: there must be one at least", opts.config.Members))
			}
			opts.config.Args = args
			p, err := findPlace(*name)
			if err != nil {
				return err
			}
			return opts.run(c.Context(), s, p)
		},
	}
	opts.addFlags(c.Flags())
	return c
}

type upOptions struct {
	config    lab.Config
	detach    bool
	tls, mtls bool
}

func (o *upOptions) addFlags(fs *pflag.FlagSet) {
	fs.IntVar(&o.config.Members, "members", 3, "number of members")
	fs.BoolVar(&o.detach, "detach", false, "return when the cluster is ready, and let it run in the background")
	fs.IntVar(&o.config.Port, "port", 0, "first of consecutive ports for clients (default: any free ones)")
	fs.DurationVar(&o.config.Heartbeat, "heartbeat", 0, "heartbeat interval of the members (default 25ms; etcd's own is 100ms)")
	fs.DurationVar(&o.config.Election, "election", 0, "election timeout of the members (default 10 heartbeats)")
	fs.StringVar(&o.config.Binary, "binary", "", "run this etcd executable instead of the built-in server")
	fs.BoolVar(&o.config.Fsync, "fsync", false, "wait for the disk as a production member does")
	fs.BoolVar(&o.tls, "tls", false, "serve clients over TLS")
	fs.BoolVar(&o.mtls, "mtls", false, "serve clients over TLS and ask for their certificate")
	fs.StringVar(&o.config.Auth.Password, "auth", "", "turn authentication on, with user root and this password")
	fs.BoolVar(&o.config.Auth.JWT, "jwt", false, "issue signed tokens")
	fs.DurationVar(&o.config.Auth.TokenTTL, "token-ttl", 0, "how long tokens last (default: etcd's)")
}

// detachedVar tells the process that --detach starts that it is that process.
const detachedVar = "ETCDX_LAB_DETACHED"

// maxLogBytes bounds what is shown of a failed start.
const maxLogBytes = 64 << 10

// upTimeout bounds the start of a cluster.
const upTimeout = 30 * time.Second

func (o *upOptions) run(ctx context.Context, s cmd.Streams, p place) error {
	switch {
	case o.mtls:
		o.config.TLS = lab.MutualTLS
	case o.tls:
		o.config.TLS = lab.ServerTLS
	}
	if o.detach && os.Getenv(detachedVar) == "" {
		return detach(ctx, s.Err, p)
	}
	release, err := p.claim()
	if err != nil {
		return err
	}
	defer release()
	starting, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	began := time.Now()
	c, err := lab.Start(starting, o.config)
	if err != nil {
		return fmt.Errorf("lab %q: %w", p.name, err)
	}
	ready := time.Since(began)
	k, err := serveControl(c)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	r := record{Name: p.name, Pid: os.Getpid(), URL: k.url, Token: k.token, Env: o.settings(c)}
	if err := p.save(r); err != nil {
		k.close()
		return errors.Join(err, c.Close())
	}
	fmt.Fprintf(s.Err, "etcdx: lab %q is up after %v\n", p.name, ready.Round(time.Millisecond))
	greet(s.Err, r)
	select {
	case <-ctx.Done():
	case <-k.down:
	}
	k.close()
	return c.Close()
}

// settings returns the environment that leads clients to c.
func (o *upOptions) settings(c *lab.Cluster) []setting {
	all := []setting{
		{"ETCDCTL_ENDPOINTS", strings.Join(c.Endpoints(), ",")},
		{"ETCDCTL_CACERT", c.CACert()},
		{"ETCDCTL_CERT", c.ClientCert()},
		{"ETCDCTL_KEY", c.ClientKey()},
	}
	if o.config.Auth.Password != "" {
		all = append(all, setting{"ETCDCTL_USER", "root:" + o.config.Auth.Password})
	}
	set := all[:0]
	for _, v := range all {
		if v.Value != "" {
			set = append(set, v)
		}
	}
	return set
}

func greet(w io.Writer, r record) {
	for _, v := range r.Env {
		fmt.Fprintf(w, "etcdx:   %s=%s\n", v.Name, v.Value)
	}
	flag := ""
	if r.Name != defaultName {
		flag = " --name " + r.Name
	}
	fmt.Fprintf(w, "etcdx: hint: eval \"$(etcdx lab env%s)\", then etcdx put, get, watch; etcdx lab kill m1%s; etcdx lab down%s\n", flag, flag, flag)
}

// detach runs this command line in the background and returns when its lab is up, or has failed.
func detach(ctx context.Context, stderr io.Writer, p place) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	if _, err := p.call(ctx, "status"); err == nil {
		return fmt.Errorf("lab %q is up already", p.name)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(p.file(".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	child := exec.Command(self, os.Args[1:]...)
	child.Env = append(os.Environ(), detachedVar+"=1")
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = apart()
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = child.Wait()
		close(ended)
	}()
	for {
		if r, err := p.load(); err == nil && r.Pid == child.Process.Pid {
			fmt.Fprintf(stderr, "etcdx: lab %q is up, in process %d\n", p.name, r.Pid)
			greet(stderr, r)
			return nil
		}
		select {
		case <-ended:
			// The process took the file away with the rest of its place, but what it wrote is still here.
			text, _ := io.ReadAll(io.NewSectionReader(log, 0, maxLogBytes))
			_ = os.Remove(log.Name())
			return errors.New(strings.TrimPrefix(strings.TrimSpace(string(text)), "etcdx: "))
		case <-ctx.Done():
			_ = child.Process.Kill()
			<-ended
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
