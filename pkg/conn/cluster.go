// Package conn opens connections to the members of an etcd cluster and keeps calls and streams on members that answer.
//
// # What is guaranteed
//
// A read is answered as long as any endpoint can answer it, whatever the others do. A write that was certainly not
// applied is sent again; one that may have been is never sent again unless both copies cannot take effect. An error of a
// write that leaves its outcome open satisfies MaybeApplied; after every other error nothing was applied.
//
// # What is not
//
// The API of this package may change before v1.
package conn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Cluster is an etcd cluster seen through its endpoints. It is safe for concurrent use.
type Cluster struct {
	opts    Options
	members []*member

	mu       sync.Mutex // guards what follows
	roster   *roster
	answers  []time.Time // when each member last answered
	served   bool
	reviving bool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Member is one endpoint with the client that talks to it alone.
type Member struct {
	Endpoint string
	Client   *clientv3.Client
}

// Open prepares connections to the endpoints of o; none is made before it is needed.
// It returns an error for options that can never work: no endpoint, a malformed one, an unreadable certificate.
func Open(o Options) (*Cluster, error) {
	o.Endpoints = slices.Clone(o.Endpoints)
	if len(o.Endpoints) == 0 {
		return nil, errors.New("no endpoint is given")
	}
	if o.Auth.Token != "" && (o.Auth.User != "" || o.Auth.Password != "") {
		return nil, clientv3.ErrMutuallyExclusiveCfg
	}
	if o.MaxRecvBytes > 0 && o.MaxSendBytes > o.MaxRecvBytes {
		return nil, fmt.Errorf("the largest request (%d bytes) must not be larger than the largest answer (%d bytes)", o.MaxSendBytes, o.MaxRecvBytes)
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = 2 * time.Second
	}
	if o.RetryAfter <= 0 {
		o.RetryAfter = defaultRetryAfter
	}
	c := &Cluster{opts: o, roster: newRoster(o.Endpoints, o.RetryAfter), answers: make([]time.Time, len(o.Endpoints))}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	secure := false
	for _, e := range o.Endpoints {
		a, err := parseEndpoint(e)
		if err != nil {
			return nil, err
		}
		secure = secure || a.tls == tlsAlways || a.tls == tlsIfSet && o.TLS.wanted()
		c.members = append(c.members, &member{endpoint: e, address: a, opts: o, token: newToken(o.Auth)})
	}
	if secure {
		if _, err := o.TLS.config(); err != nil {
			return nil, err
		}
	}
	if !o.Pin {
		loadState(o.StateFile, time.Now(), c.roster)
	}
	return c, nil
}

// Close ends all connections and every stream on them.
func (c *Cluster) Close() error {
	c.cancel()
	for _, m := range c.members {
		m.close()
	}
	c.tasks.Wait()
	return nil
}

// Endpoints returns the endpoints as they were given.
func (c *Cluster) Endpoints() []string { return slices.Clone(c.opts.Endpoints) }

func (c *Cluster) order() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster.order(time.Now())
}

func (c *Cluster) patience(i int) time.Duration {
	ready := c.members[i].ready()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster.patience(i, ready)
}

func (c *Cluster) judge(i int, err error) (verdict, Reason, error) {
	m := c.members[i]
	v, why, cause := judge(err, &m.notes)
	if m.token.stale(err) {
		v = elsewhere // it logged in again, and a member that lags did not know of it yet
	}
	if v == elsewhere && why == Other {
		if found, ok := m.sniff(); ok {
			return hopeless, found, cause
		}
	}
	if v == elsewhere {
		m.redial()
	}
	return v, why, cause
}

// Served says whether any member has answered since Open: the settings were right then, and whoever refuses them now may be a
// load balancer whose etcd is away, or a member that got its new certificate before this host got the new CA.
func (c *Cluster) Served() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.served
}

func (c *Cluster) answered(i int, took time.Duration) {
	c.members[i].notes.settled()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[i], c.served = time.Now(), true
	if c.roster.answered(i, took) {
		c.save()
	}
}

func (c *Cluster) failed(i int, why Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[i] = time.Time{}
	if c.roster.failedAt(i, time.Now(), why) {
		c.save()
	}
	c.revive()
}

// save writes the verdicts down, with c.mu held.
func (c *Cluster) save() {
	if !c.opts.Pin {
		saveState(c.opts.StateFile, time.Now(), c.roster)
	}
}
