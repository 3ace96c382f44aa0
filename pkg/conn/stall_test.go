package conn_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/conn"
)

// With its post-quantum key share a ServerHello is 1024 to 1279 bytes long. That length has, where HTTP/2 has a frame's type,
// what would be SETTINGS there: a member that was slow to finish a handshake was said to speak no TLS, which ended watches.
func TestAHandshakeThatStallsIsNoPlainPort(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.Listener = stalls{server.Listener}
	server.StartTLS()
	defer server.Close()
	defer server.CloseClientConnections()

	_, err := open(t, conn.Options{Endpoints: []string{server.URL}, TLS: conn.TLS{}}).Get(within(t, time.Second), "k")
	e, ok := errors.AsType[*conn.UnavailableError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	if why, lasting := e.Lasting(); lasting || e.Attempts[0].Reason != conn.Silent {
		t.Errorf("got %q, %q, want %q: %v", why, e.Attempts[0].Reason, conn.Silent, e.Attempts[0].Err)
	}
}

// stalls is a listener on whose connections nothing follows the first part of what the server says.
type stalls struct{ net.Listener }

func (l stalls) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &stalled{Conn: c}, err
}

type stalled struct {
	net.Conn
	begun bool
}

func (c *stalled) Write(p []byte) (int, error) {
	if !c.begun {
		c.begun = true
		_, err := c.Conn.Write(p[:100])
		return len(p), err
	}
	return len(p), nil
}
