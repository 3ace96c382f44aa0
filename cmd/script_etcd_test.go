//go:build unix

package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"github.com/etcdx/etcdx/pkg/lab"
)

// etcdTimeout bounds what one etcd verb waits for.
const etcdTimeout = 30 * time.Second

// etcdVerb is the verb "etcd": it starts the script's cluster and breaks it.
func etcdVerb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: etcd start|kill|stop|cont|restart|cut|slow|reset|heal|compact|rev|leader|noleader|ready|snapshot|restore|end ...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	s := scriptOf(ts)
	if args[0] == "start" {
		ts.Check(s.startCluster(ctx, ts, args[1:]))
		return
	}
	if s.cluster == nil {
		ts.Fatalf("there is no cluster: etcd start comes first")
	}
	ts.Check(s.clusterVerb(ctx, ts, args[0], args[1:]))
}

func (s *script) startCluster(ctx context.Context, ts *testscript.TestScript, args []string) error {
	if s.cluster != nil {
		return fmt.Errorf("the cluster runs already; etcd end comes first")
	}
	cfg := lab.Config{Binary: os.Getenv("ETCDX_TEST_ETCD")}
	fs := pflag.NewFlagSet("etcd start", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.DurationVar(&cfg.Heartbeat, "heartbeat", 0, "")
	fs.DurationVar(&cfg.Election, "election", 0, "")
	fs.StringArrayVar(&cfg.Args, "arg", nil, "")
	fs.StringVar(&cfg.Auth.Password, "auth", "", "")
	fs.BoolVar(&cfg.Auth.JWT, "jwt", false, "")
	fs.DurationVar(&cfg.Auth.TokenTTL, "token-ttl", 0, "")
	serverTLS := fs.Bool("tls", false, "")
	mutualTLS := fs.Bool("mtls", false, "")
	defaults := fs.Bool("defaults", false, "")
	version := fs.String("version", "", "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		n, err := strconv.Atoi(fs.Arg(0))
		if err != nil {
			return err
		}
		cfg.Members = n
	}
	if *version != "" {
		if cfg.Binary = serverBinary(*version); cfg.Binary == "" {
			return fmt.Errorf("no etcd %s in $ETCDX_ETCD_DIR", *version)
		}
	}
	switch {
	case *mutualTLS:
		cfg.TLS = lab.MutualTLS
	case *serverTLS:
		cfg.TLS = lab.ServerTLS
	}
	if *defaults {
		cfg.Heartbeat, cfg.Election = 100*time.Millisecond, time.Second
	}
	var err error
	if s.cluster, err = lab.Start(ctx, cfg); err != nil {
		return err
	}
	s.setVars(ts, cfg)
	return nil
}

// setVars tells the script where its cluster is.
func (s *script) setVars(ts *testscript.TestScript, cfg lab.Config) {
	c := s.cluster
	all := strings.Join(c.Endpoints(), ",")
	ts.Setenv("EPS", all)
	ts.Setenv("ETCDCTL_ENDPOINTS", all)
	for i, ep := range c.Endpoints() {
		ts.Setenv("EP"+strconv.Itoa(i+1), ep)
		ts.Setenv("LOG"+strconv.Itoa(i+1), c.LogFile(i))
	}
	vars := map[string]string{"ETCDCTL_CACERT": c.CACert(), "ETCDCTL_CERT": c.ClientCert(), "ETCDCTL_KEY": c.ClientKey()}
	if cfg.Auth.Password != "" {
		vars["ETCDCTL_USER"] = "root:" + cfg.Auth.Password
	}
	for name, value := range vars {
		if value != "" {
			ts.Setenv(name, value)
		}
	}
}

// clusterVerb runs a verb that needs the cluster.
func (s *script) clusterVerb(ctx context.Context, ts *testscript.TestScript, verb string, args []string) error {
	switch verb {
	case "end":
		c := s.cluster
		s.cluster = nil
		return c.Close()
	case "leader":
		return s.setLeader(ctx, ts)
	case "snapshot", "restore":
		for i := range args {
			args[i] = ts.MkAbs(args[i])
		}
	}
	text, err := s.cluster.Apply(ctx, append([]string{verb}, args...))
	if verb == "rev" || verb == "compact" {
		ts.Setenv("REV", text)
	}
	return err
}

// setLeader sets LEADER and LEADER_EP, FOLLOWER and FOLLOWER_EP (the first of the others), and LEADER_FIRST: all endpoints.
func (s *script) setLeader(ctx context.Context, ts *testscript.TestScript) error {
	leader, err := s.cluster.Leader(ctx)
	if err != nil {
		return err
	}
	ts.Setenv("LEADER", "m"+strconv.Itoa(leader+1))
	ts.Setenv("LEADER_EP", s.cluster.Endpoint(leader))
	eps := []string{s.cluster.Endpoint(leader)}
	for i := range s.cluster.Len() {
		if i == leader {
			continue
		}
		if len(eps) == 1 {
			ts.Setenv("FOLLOWER", "m"+strconv.Itoa(i+1))
			ts.Setenv("FOLLOWER_EP", s.cluster.Endpoint(i))
		}
		eps = append(eps, s.cluster.Endpoint(i))
	}
	ts.Setenv("LEADER_FIRST", strings.Join(eps, ","))
	return nil
}
