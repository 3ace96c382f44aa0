package conn

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
)

// member is one endpoint, with a client that is made when it is first needed and talks to it alone.
type member struct {
	endpoint string
	address  address
	opts     Options
	notes    notes
	token    *token
	alive    atomic.Int64 // when events last arrived, in Unix nanoseconds: see meter.go

	mu     sync.Mutex
	client *clientv3.Client
	closed bool
}

// use returns the member with its client. The connection itself is made by the first call.
func (m *member) use() (Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Member{}, context.Canceled
	}
	if m.client == nil {
		cl, err := clientv3.New(m.config())
		if err != nil {
			return Member{}, err
		}
		m.client = cl
	}
	return Member{Endpoint: m.endpoint, Client: m.client}, nil
}

// ready says whether a connection stands.
func (m *member) ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client != nil && m.client.ActiveConnection().GetState() == connectivity.Ready
}

// redial makes gRPC try again now if it waits before its next attempt to connect.
func (m *member) redial() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		m.client.ActiveConnection().ResetConnectBackoff()
	}
}

func (m *member) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.client != nil {
		_ = m.client.Close() // context.Canceled, always
	}
}

// config is what etcdctl sets, but for three things: the user logs in by token.go, no call is repeated by clientv3
// (unless o.Pin asks for its plain ways), and back-off is short, so that a member which comes back is noticed within a second.
func (m *member) config() clientv3.Config {
	o := m.opts
	cfg := clientv3.Config{
		Endpoints:            []string{m.endpoint},
		DialTimeout:          o.DialTimeout,
		DialKeepAliveTime:    o.KeepAliveTime,
		DialKeepAliveTimeout: o.KeepAliveTimeout,
		MaxCallSendMsgSize:   o.MaxSendBytes,
		MaxCallRecvMsgSize:   o.MaxRecvBytes,
		Logger:               zap.NewNop(),
	}
	if !o.Pin {
		cfg.MaxUnaryRetries = 1
	}
	cfg.DialOptions = []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(m.unary),
		grpc.WithChainStreamInterceptor(m.stream),
		grpc.WithStatsHandler(meter{m}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: o.DialTimeout,
		}),
	}
	secure := m.address.tls == tlsAlways || m.address.tls == tlsIfSet && o.TLS.wanted()
	if secure {
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithTransportCredentials(newHandshaker(o.TLS, &m.notes)))
	}
	if !proxied(m.address.addr) {
		first := stagePlain
		if secure {
			first = stageTLS
		}
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return m.dial(ctx, addr, first)
		}))
	}
	return cfg
}

// dial connects to the address that gRPC names, and notes what comes of it.
func (m *member) dial(ctx context.Context, addr string, first stage) (net.Conn, error) {
	network := "tcp"
	if rest, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", strings.TrimPrefix(rest, "//")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		m.notes.failed(stageDial, err)
		return nil, err
	}
	m.notes.opened(c)
	return &watched{Conn: c, notes: &m.notes, stage: first}, nil
}

// proxied says whether the environment (HTTPS_PROXY, NO_PROXY) asks for a proxy on the way to addr. gRPC goes through it by
// itself as long as it dials by itself; the causes of failures then stay its secret.
func proxied(addr string) bool {
	u, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: addr}})
	return err == nil && u != nil
}
