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
	c := s.cluster
	arg := func(i int, missing string) string {
		if i < len(args) {
			return args[i]
		}
		return missing
	}
	switch verb {
	case "kill", "stop", "cont", "restart", "reset", "cut", "slow", "noleader":
		i, err := s.member(ctx, arg(0, ""))
		if err != nil {
			return err
		}
		return s.memberVerb(ctx, verb, i, arg(1, ""))
	case "heal":
		return c.Heal()
	case "ready":
		return c.Ready(ctx)
	case "leader":
		return s.setLeader(ctx, ts)
	case "compact":
		rev, err := strconv.ParseInt(arg(0, "0"), 10, 64)
		if err != nil {
			return err
		}
		rev, err = c.Compact(ctx, rev)
		ts.Setenv("REV", strconv.FormatInt(rev, 10))
		return err
	case "rev":
		rev, err := c.Revision(ctx)
		ts.Setenv("REV", strconv.FormatInt(rev, 10))
		return err
	case "snapshot":
		return c.Snapshot(ctx, ts.MkAbs(arg(0, "snapshot.db")))
	case "restore":
		return c.Restore(ctx, ts.MkAbs(arg(0, "snapshot.db")))
	case "end":
		s.cluster = nil
		return c.Close()
	}
	return fmt.Errorf("unknown verb: etcd %s", verb)
}

// memberVerb runs a verb on member i.
func (s *script) memberVerb(ctx context.Context, verb string, i int, arg string) error {
	c := s.cluster
	switch verb {
	case "kill":
		return c.Kill(i)
	case "stop":
		return c.Stop(i)
	case "cont":
		return c.Cont(i)
	case "restart":
		return c.Restart(ctx, i)
	case "reset":
		return c.Reset(i)
	case "cut":
		side, err := lab.ParseSide(arg)
		if err != nil {
			return err
		}
		return c.Cut(i, side)
	case "slow":
		d, err := time.ParseDuration(arg)
		if err != nil {
			return err
		}
		return c.Slow(i, d)
	}
	return c.NoLeader(ctx, i)
}

// member returns the number of the member that a script calls 1, m1, leader or follower.
func (s *script) member(ctx context.Context, what string) (int, error) {
	switch what {
	case "leader":
		return s.cluster.Leader(ctx)
	case "follower":
		leader, err := s.cluster.Leader(ctx)
		return s.followers(leader)[0], err
	}
	n, err := strconv.Atoi(strings.TrimPrefix(what, "m"))
	if err != nil || n < 1 || n > s.cluster.Len() {
		return 0, fmt.Errorf("no such member: %q", what)
	}
	return n - 1, nil
}

// followers returns the members other than leader.
func (s *script) followers(leader int) []int {
	var others []int
	for i := range s.cluster.Len() {
		if i != leader {
			others = append(others, i)
		}
	}
	return append(others, leader)[:max(1, len(others))]
}

// setLeader sets LEADER and LEADER_EP, FOLLOWER and FOLLOWER_EP (the first of the others), and ETCDCTL_ENDPOINTS in the order
// leader, others.
func (s *script) setLeader(ctx context.Context, ts *testscript.TestScript) error {
	leader, err := s.cluster.Leader(ctx)
	if err != nil {
		return err
	}
	eps := []string{s.cluster.Endpoint(leader)}
	for _, i := range s.followers(leader) {
		if i != leader {
			eps = append(eps, s.cluster.Endpoint(i))
		}
	}
	follower := s.followers(leader)[0]
	ts.Setenv("LEADER", "m"+strconv.Itoa(leader+1))
	ts.Setenv("LEADER_EP", s.cluster.Endpoint(leader))
	ts.Setenv("FOLLOWER", "m"+strconv.Itoa(follower+1))
	ts.Setenv("FOLLOWER_EP", s.cluster.Endpoint(follower))
	ts.Setenv("LEADER_FIRST", strings.Join(eps, ","))
	return nil
}
