package lab

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is one connection through a proxy.
type link struct {
	to     int // the member called
	from   int // the member calling, or -1
	peer   bool
	caller string // the calling member's ID, if it said so
	alone  bool   // the calling process is isolated
	in     net.Conn
	delay  atomic.Int64  // nanoseconds
	loss   atomic.Uint64 // a float64's bits: the share of segments that are lost

	mu     sync.Mutex
	out    net.Conn
	gate   chan struct{} // closed while bytes may pass
	cut    bool
	done   chan struct{} // closed when the link has ended
	closed bool
}

// set makes the link silent or lets it speak, with the given delay and loss.
func (l *link) set(cut bool, delay time.Duration, loss float64) {
	l.delay.Store(int64(delay))
	l.loss.Store(math.Float64bits(loss))
	l.mu.Lock()
	defer l.mu.Unlock()
	if cut == l.cut {
		return
	}
	l.cut = cut
	if cut {
		l.gate = make(chan struct{})
	} else {
		close(l.gate)
	}
}

// waitOpen waits until bytes may pass; it returns false when the link has ended.
func (l *link) waitOpen() bool {
	for {
		l.mu.Lock()
		gate := l.gate
		l.mu.Unlock()
		select {
		case <-gate:
		case <-l.done:
			return false
		}
		l.mu.Lock()
		open, closed := !l.cut, l.closed
		l.mu.Unlock()
		if closed || open {
			return !closed
		}
	}
}

// connect gives the link its outgoing end; it returns false when the link has ended meanwhile.
func (l *link) connect(out net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = out.Close()
		return false
	}
	l.out = out
	return true
}

// close ends the link, silently if it is cut: the ends are closed, not reset.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	linger0(l.in)
	if l.out != nil {
		linger0(l.out)
	}
	l.end()
}

func (l *link) end() {
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	_ = l.in.Close()
	if l.out != nil {
		_ = l.out.Close()
	}
}

// run passes bytes both ways until both have ended. first has been read from the calling end already.
func (l *link) run(first []byte) {
	var both sync.WaitGroup
	both.Go(func() { l.pump(l.out, l.in, first) })
	both.Go(func() { l.pump(l.in, l.out, nil) })
	both.Wait()
}

// chunk is bytes on their way, with the time at which they may arrive. An err comes last: it ended the reading.
type chunk struct {
	data []byte
	due  time.Time
	err  error
}

// chunkBytes and chunksInFlight bound what a link holds in each direction: 2 MiB.
const (
	chunkBytes     = 32 << 10
	chunksInFlight = 64
)

// pump passes bytes from src to dst. Reading is ahead of writing, so that a delay does not narrow the link.
func (l *link) pump(dst, src net.Conn, first []byte) {
	flow := make(chan chunk, chunksInFlight)
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() {
		if len(first) > 0 {
			flow <- chunk{data: first, due: l.due()}
		}
		for {
			buf := make([]byte, chunkBytes)
			n, err := src.Read(buf)
			select {
			case flow <- chunk{data: buf[:n], due: l.due(), err: err}:
			case <-l.done:
				return
			}
			if err != nil {
				return
			}
		}
	})
	for {
		var c chunk
		select {
		case c = <-flow:
		case <-l.done:
			return
		}
		if !l.waitDue(c.due) || !l.waitOpen() {
			return
		}
		if !l.deliver(dst, c) {
			return
		}
	}
}

// deliver writes c to dst and passes on how the reading ended; it returns false after the last chunk.
func (l *link) deliver(dst net.Conn, c chunk) bool {
	if len(c.data) > 0 {
		if _, err := dst.Write(c.data); err != nil {
			l.reset()
			return false
		}
	}
	switch {
	case c.err == nil:
		return true
	case errors.Is(c.err, io.EOF):
		closeWrite(dst)
	default:
		l.reset()
	}
	return false
}

// due says when what was just read may arrive: behind the delay, and behind the retransmissions if it was lost.
func (l *link) due() time.Time {
	return time.Now().Add(time.Duration(l.delay.Load()) + retransmission(math.Float64frombits(l.loss.Load()), rand.Float64))
}

// firstRTO is the least retransmission timeout of Linux (TCP_RTO_MIN in include/net/tcp.h). It doubles with each loss.
const (
	firstRTO = 200 * time.Millisecond
	lastRTO  = 3200 * time.Millisecond
)

// retransmission draws how much later a segment arrives on a line that loses that share of them. TCP loses no byte: it sends
// the segment again after a timeout, and holds back what came after it.
func retransmission(loss float64, draw func() float64) (late time.Duration) {
	for rto := firstRTO; rto <= lastRTO && draw() < loss; rto *= 2 {
		late += rto
	}
	return late
}

func (l *link) waitDue(due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.done:
		return false
	}
}

func closeWrite(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// reset closes c so that the other end sees the connection reset.
func reset(c net.Conn) {
	linger0(c)
	_ = c.Close()
}

// linger0 makes the closing of c send RST instead of FIN.
func linger0(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
