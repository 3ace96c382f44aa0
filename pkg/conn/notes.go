package conn

import (
	"fmt"
	"net"
	"sync"
)

// stage is how far a connection came.
type stage int

const (
	stageNone    stage = iota
	stageDial          // looking up the name, connecting
	stagePlain         // connected, speaking without TLS
	stageTLS           // in the TLS handshake
	stageSecured       // the client's side of the handshake is done
)

// notes is what an endpoint's latest connection met. gRPC hides the causes of its failures in texts; here they are kept as
// they came. A mutex guards it: gRPC's transport writes it, calls read it.
type notes struct {
	mu    sync.Mutex
	stage stage
	err   error  // nil: nothing has failed since the last answer
	first []byte // the first bytes that the server sent on that connection
	conn  net.Conn
}

func (n *notes) failed(s stage, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// In the handshake both the reading of bytes and the handshake itself fail: the latter says more and comes last.
	n.stage, n.err = s, err
}

// opened starts the notes on a new connection.
func (n *notes) opened(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.first, n.conn = nil, c
	n.stage, n.err = stageNone, nil
}

// heard keeps the first bytes that arrive. gRPC's complaint about bytes that no etcd sends would not reach Read.
func (n *notes) heard(s stage, p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.first = append([]byte(nil), p[:min(len(p), 16)]...)
	if _, wrong := judgeBytes(s, n.first); wrong {
		n.stage, n.err = s, fmt.Errorf("the server said %q", n.first)
	}
}

// settled forgets failures: a call was answered.
func (n *notes) settled() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err, n.stage = nil, stageNone
}

// last returns the latest failure, how far the connection had come, and what the server had sent.
func (n *notes) last() (stage, error, []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stage, n.err, n.first
}

// hangUp closes the present connection under gRPC's feet, so that it makes a new one: a connection that a blackhole has
// silenced would wait for TCP's next retransmission, up to two minutes, however long the network has been well again.
func (n *notes) hangUp() {
	n.mu.Lock()
	c := n.conn
	n.conn = nil
	n.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// watched is a connection that notes the first bytes that arrive, and why reading failed before any did.
type watched struct {
	net.Conn
	notes *notes
	stage stage
	some  bool // bytes have arrived; only gRPC's one reader touches it
}

func (w *watched) Read(p []byte) (int, error) {
	k, err := w.Conn.Read(p)
	if w.some {
		return k, err
	}
	if k > 0 {
		w.some = true
		w.notes.heard(w.stage, p[:k])
	} else if err != nil {
		w.notes.failed(w.stage, err)
	}
	return k, err
}
