package lab

import (
	"bytes"
	"net"
	"strings"
)

// maxHeaderBytes bounds what is read of a request to find out who sends it.
const maxHeaderBytes = 16 << 10

// readCaller reads the header of the first request that a member sends to another, and returns what it read and the ID in
// X-Server-From. All of etcd's raft requests have that header (rafthttp, 3.4 to 3.7); others return "".
func readCaller(conn net.Conn) (read []byte, caller string) {
	buf := make([]byte, 0, maxHeaderBytes)
	for len(buf) < cap(buf) {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if end := bytes.Index(buf, []byte("\r\n\r\n")); end >= 0 {
			return buf, headerValue(string(buf[:end]), "x-server-from")
		}
		if err != nil {
			break
		}
	}
	return buf, ""
}

// headerValue returns the value of the HTTP header field named key, in lower case.
func headerValue(head, key string) string {
	for line := range strings.SplitSeq(head, "\r\n") {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(k), key) {
			return strings.ToLower(strings.TrimSpace(v))
		}
	}
	return ""
}
