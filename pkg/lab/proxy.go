package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// proxy listens on the address that a member advertises and passes connections on to the one it really has.
type proxy struct {
	net  *network
	to   int  // the member behind it
	peer bool // whether it stands before the peer port
	addr string

	mu     sync.Mutex
	ln     net.Listener
	target string // where the member listens; empty while it does not serve
}

// openProxy listens on port, or on any free port if it is 0. Connections are reset until up is called.
func (n *network) openProxy(to int, peer bool, port int) (*proxy, error) {
	ln, err := listen(port)
	if err != nil {
		return nil, err
	}
	p := &proxy{net: n, to: to, peer: peer, addr: ln.Addr().String()}
	p.serve(ln)
	return p, nil
}

func (p *proxy) serve(ln net.Listener) {
	p.mu.Lock()
	p.ln = ln
	p.mu.Unlock()
	p.net.work.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p.net.work.Go(func() { p.net.relay(p, conn) })
		}
	})
}

// up lets connections through to the member, now listening on target.
func (p *proxy) up(target string) error {
	p.mu.Lock()
	p.target = target
	closed := p.ln == nil
	p.mu.Unlock()
	if !closed {
		return nil
	}
	ln, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("listen again on the port of %s: %w", name(p.to), err)
	}
	p.serve(ln)
	return nil
}

// down makes new connections be refused, as those to a dead process are.
func (p *proxy) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = ""
	if p.ln != nil {
		_ = p.ln.Close()
		p.ln = nil
	}
}

func (p *proxy) where() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

// The lab's ports lie below those that systems give to outgoing connections (from 32768 on Linux, from 49152 elsewhere):
// a port that is closed while its member is dead is then still free when the member comes back.
const (
	firstPort = 10000
	endPort   = 32000
)

// listen opens a port of the loopback interface; port 0 means any.
func listen(port int) (net.Listener, error) {
	if port != 0 {
		return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	var err error
	for range 100 {
		var ln net.Listener
		port := firstPort + rand.IntN(endPort-firstPort)
		if ln, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return ln, nil
		}
	}
	return nil, fmt.Errorf("no free port: %w", err)
}

// freeAddr returns an address that nobody listens on just now.
func freeAddr() (string, error) {
	ln, err := listen(0)
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
