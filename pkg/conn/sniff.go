package conn

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// sniffLimit bounds the look at a port that says nothing: the whole failure is to be explained within a second.
const sniffLimit = 400 * time.Millisecond

// sniff finds out why the server closed the latest connection without a word: a port that wants TLS does so when it gets
// plain text, and the other way round. It makes one connection of its own, speaks the other way, and says what that proves.
func (m *member) sniff() (Reason, bool) {
	s, err, first := m.notes.last()
	if err == nil || !cutShort(s, err, first) || proxied(m.address.addr) {
		return "", false
	}
	ctx, cancel := context.WithTimeout(context.Background(), sniffLimit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, m.address.network, m.address.addr)
	if err != nil {
		return "", false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(sniffLimit))
	if s == stagePlain {
		return TLSPort, speaksTLS(ctx, c)
	}
	return PlainPort, speaksHTTP2(c)
}

// speaksTLS says whether the server answers a TLS hello with one of its own. Whether its certificate is any good does not
// matter here, and nothing is sent over the connection.
func speaksTLS(ctx context.Context, c net.Conn) bool {
	hello := false
	t := tls.Client(c, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // see above
		NextProtos:         []string{"h2"},
		VerifyConnection:   func(tls.ConnectionState) error { hello = true; return nil },
	})
	_ = t.HandshakeContext(ctx)
	return hello
}

// speaksHTTP2 says whether the server answers HTTP/2's opening, in plain text, with its settings.
func speaksHTTP2(c net.Conn) bool {
	const opening = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // and an empty SETTINGS frame
	if _, err := c.Write([]byte(opening)); err != nil {
		return false
	}
	var head [9]byte
	n, _ := c.Read(head[:])
	why, ok := judgeBytes(stageTLS, head[:n])
	return ok && why == PlainPort
}
