package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// askTimeout bounds one question to one member, which may be stopped or without leader.
const askTimeout = time.Second

// dial returns a client for member i alone, past its proxy.
func (c *Cluster) dial(i int) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: []string{c.scheme() + "://" + c.members[i].clientAddr}, DialTimeout: askTimeout, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: askTimeout,
		})},
	}
	if c.authOn {
		cfg.Username, cfg.Password = "root", c.cfg.Auth.Password
	}
	if c.cfg.TLS != Plain {
		var err error
		if cfg.TLS, err = c.pki.clientTLS(); err != nil {
			return nil, err
		}
	}
	return clientv3.New(cfg)
}

// ask calls do with a client for member i and askTimeout.
func (c *Cluster) ask(ctx context.Context, i int, do func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cl, err := c.dial(i)
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(ctx, cl)
}

// Ready waits until every member that is neither dead nor stopped answers a linearizable read.
func (c *Cluster) Ready(ctx context.Context) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	return c.ready(ctx)
}

// ready is Ready; it also learns the members' IDs.
func (c *Cluster) ready(ctx context.Context) error {
	for i, m := range c.members {
		if m.proc == nil || !m.proc.running() || m.stopped {
			continue
		}
		for {
			err := c.ask(ctx, i, func(ctx context.Context, cl *clientv3.Client) error {
				resp, err := cl.Get(ctx, "\x00", clientv3.WithCountOnly())
				if err == nil {
					id := strconv.FormatUint(resp.Header.MemberId, 16)
					c.net.change(func() { c.net.ids[i] = id })
				}
				return err
			})
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s is not ready: %w: %s", name(i), err, c.lastWords(i))
			}
			if !c.members[i].proc.running() {
				return fmt.Errorf("%s ended: %s", name(i), c.lastWords(i))
			}
		}
	}
	return nil
}

func (c *Cluster) enableAuth(ctx context.Context) error {
	err := c.anyone(ctx, func(ctx context.Context, cl *clientv3.Client) error {
		if _, err := cl.UserAdd(ctx, "root", c.cfg.Auth.Password); err != nil {
			return err
		}
		if _, err := cl.RoleAdd(ctx, "root"); err != nil {
			return err
		}
		if _, err := cl.UserGrantRole(ctx, "root", "root"); err != nil {
			return err
		}
		_, err := cl.AuthEnable(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("enable authentication: %w", err)
	}
	c.authOn = true
	return nil
}

// Status is what is known of a member, from its process and from what it says past its proxy.
type Status struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	// State is running, stopped or dead.
	State string `json:"state"`
	Pid   int    `json:"pid,omitempty"`
	// ID is the member's ID in hex.
	ID string `json:"id"`
	// Answers says whether the member answered within a second. The fields after it are zero otherwise.
	Answers bool `json:"answers"`
	// IsLeader says whether it takes itself for the leader, HasLeader whether it knows one.
	IsLeader  bool   `json:"is_leader"`
	HasLeader bool   `json:"has_leader"`
	Term      uint64 `json:"raft_term"`
	Revision  int64  `json:"revision"`
	Version   string `json:"version"`
	// Clients is the number of connections that clients have to it.
	Clients int `json:"clients"`
	// Cut and Delay are the faults of its links, as Cut and Slow set them.
	Cut   Side          `json:"cut"`
	Delay time.Duration `json:"delay_ns"`
	// Loss is the share of segments that its links lose, as Lose sets it.
	Loss float64 `json:"loss"`
}

// Status asks every member at once. It takes at most a second or so.
func (c *Cluster) Status(ctx context.Context) []Status {
	c.ops.Lock()
	defer c.ops.Unlock()
	return c.status(ctx)
}

func (c *Cluster) status(ctx context.Context) []Status {
	all := make([]Status, len(c.members))
	done := make(chan int)
	for i := range c.members {
		go func() {
			all[i] = c.statusOf(ctx, i)
			done <- i
		}()
	}
	for range all {
		<-done
	}
	return all
}

func (c *Cluster) statusOf(ctx context.Context, i int) Status {
	m := c.members[i]
	s := Status{Name: name(i), Endpoint: c.Endpoint(i), State: "running"}
	c.net.change(func() {
		s.Cut, s.Delay, s.Loss, s.ID, s.Clients = c.net.cuts[i], c.net.delays[i], c.net.losses[i], c.net.ids[i], c.net.clients(i)
	})
	if m.proc == nil || !m.proc.running() {
		s.State = "dead"
		return s
	}
	s.Pid = m.proc.cmd.Process.Pid
	if m.stopped {
		s.State = "stopped"
		return s
	}
	err := c.ask(ctx, i, func(ctx context.Context, cl *clientv3.Client) error {
		resp, err := cl.Status(ctx, cl.Endpoints()[0])
		if err != nil {
			return err
		}
		s.HasLeader, s.IsLeader = resp.Leader != 0, resp.Leader == resp.Header.MemberId
		s.Term, s.Revision, s.Version = resp.RaftTerm, resp.Header.Revision, resp.Version
		return nil
	})
	s.Answers = err == nil
	return s
}

// Leader returns which member is the leader. It waits for an election to end as long as ctx allows.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	for {
		leader, term := -1, uint64(0)
		for i, s := range c.Status(ctx) {
			// A leader that was cut off takes itself for one until it notices; the term tells.
			if s.IsLeader && s.Term > term {
				leader, term = i, s.Term
			}
		}
		if leader >= 0 {
			return leader, nil
		}
		select {
		case <-ctx.Done():
			return -1, fmt.Errorf("no leader: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// NoLeader waits until member i answers that it knows no leader.
func (c *Cluster) NoLeader(ctx context.Context, i int) error {
	for {
		if s := c.Status(ctx)[i]; s.Answers && !s.HasLeader {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has a leader: %w", name(i), context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Revision returns the cluster's current revision.
func (c *Cluster) Revision(ctx context.Context) (rev int64, err error) {
	err = c.anyone(ctx, func(ctx context.Context, cl *clientv3.Client) error {
		rev, err = currentRevision(ctx, cl)
		return err
	})
	return rev, err
}

func currentRevision(ctx context.Context, cl *clientv3.Client) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	resp, err := cl.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// anyone calls do with a client for one member after the other, leaders first, until one succeeds.
func (c *Cluster) anyone(ctx context.Context, do func(context.Context, *clientv3.Client) error) error {
	var leaders, others []int
	for i, s := range c.Status(ctx) {
		switch {
		case s.IsLeader:
			leaders = append(leaders, i)
		case s.Answers:
			others = append(others, i)
		}
	}
	err := errors.New("no member answers")
	for _, i := range append(leaders, others...) {
		cl, dialErr := c.dial(i)
		if dialErr != nil {
			err = dialErr
			continue
		}
		err = do(ctx, cl)
		_ = cl.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

// Compact compacts the history up to revision rev (0: the current one) and returns the revision used.
func (c *Cluster) Compact(ctx context.Context, rev int64) (int64, error) {
	err := c.anyone(ctx, func(ctx context.Context, cl *clientv3.Client) error {
		if rev == 0 {
			var err error
			if rev, err = currentRevision(ctx, cl); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(ctx, 5*askTimeout)
		defer cancel()
		_, err := cl.Compact(ctx, rev, clientv3.WithCompactPhysical())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("compact: %w", err)
	}
	return rev, nil
}

// Snapshot writes the leader's database to file.
func (c *Cluster) Snapshot(ctx context.Context, file string) error {
	err := c.anyone(ctx, func(ctx context.Context, cl *clientv3.Client) error {
		from, err := cl.Snapshot(ctx)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, from)
		return errors.Join(err, to.Close())
	})
	if err != nil {
		return fmt.Errorf("snapshot to %s: %w", file, err)
	}
	return nil
}

// clientTLS returns what a client of the lab needs to be let in.
func (p *pki) clientTLS() (*tls.Config, error) {
	pem, err := os.ReadFile(p.ca)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	cfg.RootCAs.AppendCertsFromPEM(pem)
	if p.clientCert == "" {
		return cfg, nil
	}
	cert, err := tls.LoadX509KeyPair(p.clientCert, p.clientKey)
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, err
}
