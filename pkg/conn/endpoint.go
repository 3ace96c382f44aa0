package conn

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// address is how an endpoint is reached: for explaining failures only. The connection itself is made by clientv3, which
// is given the endpoint as it is, so that the :authority that servers see is what it is with etcdctl.
type address struct {
	network, addr string
	tls           wantTLS
}

// wantTLS is what an endpoint's scheme says about TLS.
type wantTLS int

const (
	tlsIfSet  wantTLS = iota // no scheme, or unix: as the options say
	tlsNever                 // http
	tlsAlways                // https, unixs
)

// parseEndpoint reads the forms that clientv3 knows: host:port, http(s)://host:port, unix(s)://path, unix(s):path.
func parseEndpoint(e string) (address, error) {
	if e == "" {
		return address{}, fmt.Errorf("endpoint %q: empty", e)
	}
	scheme, rest, found := strings.Cut(e, ":")
	if found && (scheme == "unix" || scheme == "unixs") {
		a := address{network: "unix", addr: strings.TrimPrefix(rest, "//")}
		if scheme == "unixs" {
			a.tls = tlsAlways
		}
		if a.addr == "" {
			return a, fmt.Errorf("endpoint %q: no path", e)
		}
		return a, nil
	}
	a := address{network: "tcp", addr: e}
	if strings.Contains(e, "://") {
		u, err := url.Parse(e)
		if err != nil {
			return a, fmt.Errorf("endpoint %q: not a URL", e)
		}
		switch u.Scheme {
		case "http":
			a.tls = tlsNever
		case "https":
			a.tls = tlsAlways
		default:
			return a, fmt.Errorf("endpoint %q: unknown scheme %q", e, u.Scheme)
		}
		a.addr = u.Host
	}
	if _, port, err := net.SplitHostPort(a.addr); err != nil || port == "" {
		return a, fmt.Errorf("endpoint %q: want host:port", e)
	}
	return a, nil
}
