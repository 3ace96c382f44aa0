package conn_test

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// relay stands before a member and lets everything through, until a request with the mark in it comes by. Then it calls trap,
// passes the request on, and swallows whatever the client sends behind it on that connection: its cancellation above all.
type relay struct {
	addr string
	mark []byte
	trap func()
	mute bool // also swallow what the member sends back from then on

	mu      sync.Mutex
	trapped chan struct{} // closed when the request has been passed on
	sprung  bool
	back    int // bytes that the member has sent on that connection since
}

func newRelay(t *testing.T, target, mark string, mute bool, trap func()) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	r := &relay{addr: ln.Addr().String(), mark: []byte(mark), mute: mute, trap: trap, trapped: make(chan struct{})}
	var tasks sync.WaitGroup
	var conns sync.Map
	tasks.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			conns.Store(in, out)
			mine := new(bool)
			tasks.Go(func() { r.forth(in, out, mine) })
			tasks.Go(func() { r.answer(in, out, mine) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		conns.Range(func(in, out any) bool {
			_ = in.(net.Conn).Close()
			_ = out.(net.Conn).Close()
			return true
		})
		tasks.Wait()
	})
	return r
}

// forth passes on what the client sends.
func (r *relay) forth(in, out net.Conn, mine *bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if err != nil {
			if !r.is(mine) {
				_ = out.Close()
			}
			return
		}
		if r.is(mine) {
			continue
		}
		r.mu.Lock()
		hit := !r.sprung && bytes.Contains(buf[:n], r.mark)
		r.sprung = r.sprung || hit
		*mine = hit
		r.mu.Unlock()
		if hit {
			r.trap()
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return
		}
		if hit {
			close(r.trapped)
		}
	}
}

// answer passes on what the member sends.
func (r *relay) answer(in, out net.Conn, mine *bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if err != nil {
			_ = in.Close()
			return
		}
		if r.is(mine) {
			r.mu.Lock()
			r.back += n
			r.mu.Unlock()
			if r.mute {
				continue
			}
		}
		_, _ = in.Write(buf[:n])
	}
}

func (r *relay) is(mine *bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *mine
}

// answered says whether the member has sent anything since the request with the mark, or since forget.
func (r *relay) answered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.back > 0
}

// forget makes answered start anew.
func (r *relay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.back = 0
}
