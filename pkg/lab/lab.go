// Package lab starts real etcd clusters on the loopback interface and breaks them on purpose.
//
// Every member is a process of its own, so that it can be killed and stopped like the real thing. Its client port and
// its peer port are each reached through a proxy, so that it can also be cut off, slowed down and reset without root.
// The proxies' addresses are the ones that the members advertise.
//
// # What is guaranteed
//
// Close leaves nothing behind: no process, no file. Neither does the end of the process that called Start, however it
// ends: a guard process outlives it just long enough to kill the members, stopped ones too, and to remove their files.
//
// # What is not
//
// A cut link accepts TCP connections and then stays silent, where a real black hole would not even answer a SYN.
// Bytes sent into a cut link wait and arrive when it heals, as they do on TCP when an outage is shorter than its patience.
// Only the ports for clients speak TLS; peers always talk in the clear, since the proxies read who is calling.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Config says what cluster to start. The zero value is three members of the etcd that is linked into this program, fast and in the clear.
type Config struct {
	// Members is the number of members (default 3).
	Members int
	// Heartbeat and Election are etcd's --heartbeat-interval and --election-timeout (defaults 25 ms and 250 ms, which suits
	// tests; etcd's own are 100 ms and 1 s).
	Heartbeat, Election time.Duration
	// Binary is an etcd executable to run instead of the linked one.
	Binary string
	// Args are flags added to every member's command line; they win over the lab's own.
	Args []string
	// Fsync makes members wait for the disk, as etcd does by default. Without it only a crash of the machine could lose data.
	Fsync bool
	// Dir holds the members' data and logs; it is made, and removed by Close. Empty: a new temporary directory.
	Dir string
	// Port is the first of Members consecutive ports for clients; 0: any free ports.
	Port int
	TLS  TLSMode
	Auth Auth
}

// TLSMode says how the client ports are secured.
type TLSMode int

// The modes: in the clear, with a server certificate, and with certificates on both sides.
const (
	Plain TLSMode = iota
	ServerTLS
	MutualTLS
)

// Auth turns authentication on, with the user root whose password is Password. The zero value leaves it off.
type Auth struct {
	Password string
	// JWT makes members issue signed tokens instead of simple ones; both last TokenTTL (whole seconds, default 5 minutes).
	JWT      bool
	TokenTTL time.Duration
}

// roleVar tells a process started by the lab what it is to be.
const roleVar = "ETCDX_LAB_ROLE"

const (
	roleMember = "member"
	roleGuard  = "guard"
)

// Cluster is a running cluster. Its methods may be called from several goroutines.
type Cluster struct {
	cfg     Config
	dir     string
	members []*member
	net     *network
	guard   *guard
	pki     *pki
	// ops serialises what starts and ends members.
	authOn bool
	ops    sync.Mutex
	closed bool
}

// Start starts a cluster and returns when it has a leader and every member answers. ctx bounds the start only.
// The program that calls it calls RunIfMember first thing in main, or in TestMain.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if role := os.Getenv(roleVar); role != "" {
		return nil, fmt.Errorf("this process was started as a lab's %s, but does not call lab.RunIfMember", role)
	}
	cfg = cfg.withDefaults()
	if cfg.Members < 1 {
		return nil, fmt.Errorf("a cluster can't have %d members", cfg.Members)
	}
	c := &Cluster{cfg: cfg, net: newNetwork(cfg.Members)}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c Config) withDefaults() Config {
	if c.Members == 0 {
		c.Members = 3
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 25 * time.Millisecond
	}
	if c.Election == 0 {
		c.Election = 10 * c.Heartbeat
	}
	if c.Auth.JWT && c.Auth.TokenTTL == 0 {
		c.Auth.TokenTTL = 5 * time.Minute
	}
	return c
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.makeDir(); err != nil {
		return err
	}
	var err error
	if c.guard, err = startGuard(c.dir); err != nil {
		return err
	}
	if c.pki, err = newPKI(c.cfg, filepath.Join(c.dir, "pki")); err != nil {
		return err
	}
	for i := range c.cfg.Members {
		m, err := c.newMember(i)
		if err != nil {
			return err
		}
		c.members = append(c.members, m)
	}
	if err := c.startAll(ctx, "new"); err != nil {
		return err
	}
	if c.cfg.Auth.Password != "" {
		return c.enableAuth(ctx)
	}
	return nil
}

func (c *Cluster) makeDir() (err error) {
	if c.cfg.Dir == "" {
		c.dir, err = os.MkdirTemp("", "etcdx-lab-")
		return err
	}
	if c.dir, err = filepath.Abs(c.cfg.Dir); err != nil {
		return err
	}
	// A directory that exists is somebody's: Close would remove it.
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		c.dir = ""
		return err
	}
	return nil
}

// Close ends all members and removes their files. The cluster can't be used afterwards; closing twice does nothing.
func (c *Cluster) Close() error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var errs []error
	for _, m := range c.members {
		if m.proc != nil {
			m.proc.kill()
		}
	}
	c.net.close()
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	if c.guard != nil {
		errs = append(errs, c.guard.release())
	}
	return errors.Join(errs...)
}

// Len returns the number of members. They are numbered from 0; member i is named m<i+1>.
func (c *Cluster) Len() int { return len(c.members) }

// Endpoints returns the members' endpoints for clients, behind the proxies: host:port, or https://host:port with TLS.
func (c *Cluster) Endpoints() []string {
	eps := make([]string, len(c.members))
	for i := range c.members {
		eps[i] = c.Endpoint(i)
	}
	return eps
}

// Endpoint returns member i's endpoint.
func (c *Cluster) Endpoint(i int) string {
	addr := c.members[i].client.addr
	if c.cfg.TLS == Plain {
		return addr
	}
	return "https://" + addr
}

// Direct returns the endpoints past the proxies, which no fault of the network touches. A restarted member has a new one.
func (c *Cluster) Direct() []string {
	c.ops.Lock()
	defer c.ops.Unlock()
	eps := make([]string, len(c.members))
	for i, m := range c.members {
		eps[i] = c.scheme() + "://" + m.clientAddr
	}
	return eps
}

// Dir returns the directory of the cluster's files. Each member logs to <name>.log there.
func (c *Cluster) Dir() string { return c.dir }

// CACert, ClientCert and ClientKey return the files a client needs, empty where the cluster's TLSMode needs none.
func (c *Cluster) CACert() string     { return c.pki.ca }
func (c *Cluster) ClientCert() string { return c.pki.clientCert }
func (c *Cluster) ClientKey() string  { return c.pki.clientKey }

func (c *Cluster) scheme() string {
	if c.cfg.TLS == Plain {
		return "http"
	}
	return "https"
}

func name(i int) string { return "m" + strconv.Itoa(i+1) }
