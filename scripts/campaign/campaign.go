//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// config is what the command line asks for.
type config struct {
	seed      uint64
	duration  time.Duration
	server    string
	tool      string
	workloads []string
	classes   []Class
	security  string
	ttl       time.Duration
	defaults  bool // etcd's own election timings
	keep      bool
	plan      []Fault // in the place of the one that the seed gives
	breaks    string  // the only promise that counts, as WORKLOAD/RULE; empty: all do
	only      []int   // the numbers of the plan's faults that happen; nil: all
	shrink    int     // how many runs may be spent on finding fewer faults that break a promise
	save      string  // the file for those that are left
}

// workload makes the tool work while faults happen, and then says which promises it saw broken.
type workload interface {
	name() string
	rows() []string
	// run works until ctx ends, and then until what it began has ended.
	run(ctx context.Context) error
	// check judges what was seen. The cluster is healthy again.
	check(ctx context.Context) []Violation
	summary() string
}

// campaign is one run of workloads under a plan of faults.
type campaign struct {
	cfg     config
	dir     string
	cluster *lab.Cluster
	tool    tool
	journal *journal
	procs   *procs
	truth   *truth
	load    []workload
	version string
	used    map[int]Use // by process
}

// verdict is the outcome of a campaign.
type verdict struct {
	violations []Violation
	plan       []Fault
}

// breaks says whether a promise was seen broken, or any if none is named.
func (v verdict) breaks(name string) bool {
	return slices.ContainsFunc(v.violations, func(b Violation) bool { return name == "" || b.name() == name })
}

const password = "campaign"

// startTime bounds the start of the cluster, checkTimeout what is done after the workloads.
const (
	startTime    = 60 * time.Second
	checkTimeout = 3 * time.Minute
)

// open builds the tool and starts the cluster.
func open(ctx context.Context, cfg config) (*campaign, error) {
	c := &campaign{cfg: cfg, journal: newJournal(), procs: &procs{runs: map[string][]*run{}}}
	var err error
	if c.dir, err = os.MkdirTemp("", "etcdx-campaign-"); err != nil {
		return nil, err
	}
	if c.tool, err = buildTool(ctx, cfg.tool, filepath.Join(c.dir, "bin")); err != nil {
		return c, err
	}
	lc, user, err := labConfig(cfg)
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if c.cluster, err = lab.Start(ctx, lc); err != nil {
		return c, err
	}
	c.version = c.cluster.Status(ctx)[0].Version
	if err := c.tool.point(c.cluster, user, c.dir); err != nil {
		return c, err
	}
	c.truth = newTruth(c)
	return c, c.addLoads()
}

// labConfig says what cluster a campaign runs on, and the user and password its clients need.
func labConfig(cfg config) (lc lab.Config, user string, err error) {
	lc = lab.Config{Binary: cfg.server}
	if cfg.defaults {
		lc.Heartbeat, lc.Election = 100*time.Millisecond, time.Second
	}
	switch cfg.security {
	case "plain":
	case "tls":
		lc.TLS = lab.ServerTLS
	case "mtls":
		lc.TLS = lab.MutualTLS
	case "auth", "jwt":
		lc.Auth = lab.Auth{Password: password, JWT: cfg.security == "jwt", TokenTTL: 5 * time.Second}
		user = "root:" + password
	default:
		return lc, "", fmt.Errorf("%q is not plain, tls, mtls, auth or jwt", cfg.security)
	}
	return lc, user, nil
}

func (c *campaign) addLoads() error {
	for _, name := range c.cfg.workloads {
		switch name {
		case "kv":
			l := &kvLoad{campaign: c, execs: 2, conns: 3, keys: 6, pause: 80 * time.Millisecond}
			switch {
			case c.tool.ctl:
				l.execs, l.conns = 4, 0
			case len(c.cfg.workloads) == 1:
				l.conns, l.keys, l.pause = 10, 12, 15*time.Millisecond // the machine is theirs
			}
			c.load = append(c.load, l)
		case "lock":
			c.load = append(c.load, &lockLoad{campaign: c, contenders: 4, crowd: 3})
		case "watch":
			c.load = append(c.load, &watchLoad{campaign: c, writers: 2})
		default:
			return fmt.Errorf("there is no workload %q: kv, watch, lock", name)
		}
	}
	return nil
}

// close ends the cluster and removes the campaign's files, unless they tell about a violation.
func (c *campaign) close(keep bool) error {
	for pid := range marked(c.dir) {
		killPid(pid)
	}
	var errs []error
	if c.cluster != nil {
		errs = append(errs, c.cluster.Close())
	}
	if !keep && !c.cfg.keep {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// run runs the workloads under the plan and judges what was seen.
func (c *campaign) run(ctx context.Context) (verdict, error) {
	var targets []string
	for _, l := range c.load {
		if l.name() != "kv" {
			targets = append(targets, l.name())
		}
	}
	v := verdict{plan: c.cfg.plan}
	if v.plan == nil {
		v.plan = Plan(Shape{Seed: c.cfg.seed, Duration: c.cfg.duration, Classes: c.cfg.classes, Targets: targets, TTL: c.cfg.ttl})
	}
	n := &nemesis{cluster: c.cluster, journal: c.journal, procs: c.procs, tool: c.tool, beforeCompact: c.truth.wait}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	truthDone := make(chan struct{})
	go func() { defer close(truthDone); c.truth.run(watching) }()

	c.journal.began = time.Now()
	witnessed := make(chan struct{})
	go func() { defer close(witnessed); c.witness(watching) }()
	sampling, stopSampling := context.WithCancel(ctx)
	defer stopSampling()
	var looking sync.WaitGroup
	looking.Go(func() { c.sample(sampling) })
	looking.Go(func() { c.pace(sampling) })
	errs := make([]error, len(c.load))
	var work sync.WaitGroup
	working, stop := context.WithTimeout(ctx, c.cfg.duration)
	defer stop()
	for i, l := range c.load {
		work.Go(func() { errs[i] = l.run(working) })
	}
	n.run(working, part(v.plan, c.cfg.only))
	<-working.Done()
	errs = append(errs, c.recover(ctx))
	work.Wait()
	stopSampling()
	looking.Wait()
	err := errors.Join(errs...)
	if err == nil {
		judging, cancel := context.WithTimeout(ctx, checkTimeout)
		v.violations = c.judge(judging)
		cancel()
	}
	stopWatching()
	<-truthDone
	<-witnessed
	return v, err
}

// recover makes the cluster healthy again.
func (c *campaign) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
	defer cancel()
	if err := c.cluster.Heal(); err != nil {
		return err
	}
	for i, s := range c.cluster.Status(ctx) {
		if s.State == "dead" {
			if err := c.cluster.Restart(ctx, i); err != nil {
				return err
			}
		}
	}
	return c.cluster.Ready(ctx)
}

func (c *campaign) judge(ctx context.Context) []Violation {
	found := c.truth.check(ctx)
	for _, l := range c.load {
		found = append(found, l.check(ctx)...)
	}
	found = append(found, c.leaks(ctx)...)
	found = append(found, CheckUse(c.used)...)
	slices.SortStableFunc(found, func(a, b Violation) int { return int(a.From - b.From) })
	return found
}

// options are what a client of the cluster in this process needs.
func (c *campaign) options() conn.Options {
	o := conn.Options{Endpoints: c.cluster.Endpoints()}
	o.TLS.Insecure = true // unless an endpoint's scheme says otherwise, as the command line has it
	o.TLS.CACert, o.TLS.Cert, o.TLS.Key = c.cluster.CACert(), c.cluster.ClientCert(), c.cluster.ClientKey()
	if c.cfg.security == "auth" || c.cfg.security == "jwt" {
		o.Auth.User, o.Auth.Password = "root", password
	}
	return o
}

// direct returns a client of the members past their proxies, or of those given alone.
func (c *campaign) direct(members ...int) (*clientv3.Client, error) {
	cfg := clientv3.Config{Logger: zap.NewNop(), DialTimeout: 2 * time.Second}
	for i, e := range c.cluster.Direct() {
		if len(members) == 0 || slices.Contains(members, i) {
			cfg.Endpoints = append(cfg.Endpoints, e)
		}
	}
	o := c.options()
	cfg.Username, cfg.Password = o.Auth.User, o.Auth.Password
	if strings.HasPrefix(cfg.Endpoints[0], "https:") {
		pem, err := os.ReadFile(o.TLS.CACert)
		if err != nil {
			return nil, err
		}
		cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		cfg.TLS.RootCAs.AppendCertsFromPEM(pem)
		if o.TLS.Cert != "" {
			cert, err := tls.LoadX509KeyPair(o.TLS.Cert, o.TLS.Key)
			if err != nil {
				return nil, err
			}
			cfg.TLS.Certificates = []tls.Certificate{cert}
		}
	}
	return clientv3.New(cfg)
}
