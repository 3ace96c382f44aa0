package lab

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"
)

// Connections to different addresses may have one local port; each has its own owner.
func TestOwnerTellsConnectionsOfOnePortApart(t *testing.T) {
	var port int
	var conns [2]net.Conn
	for i := range conns {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer ln.Close()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Control: reuse}
		conns[i], err = dialer.Dial("tcp", ln.Addr().String())
		must(t, err)
		defer conns[i].Close()
		port = conns[i].LocalAddr().(*net.TCPAddr).Port
	}
	for _, conn := range conns {
		if got, want := socketInode(conn.LocalAddr(), conn.RemoteAddr()), inode(t, conn.(*net.TCPConn)); got != want {
			t.Errorf("socket %s, want %s", got, want)
		}
	}
}

func reuse(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) { set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
	return errors.Join(err, set)
}

func inode(t *testing.T, conn *net.TCPConn) string {
	t.Helper()
	file, err := conn.File()
	must(t, err)
	defer file.Close()
	info, err := file.Stat()
	must(t, err)
	return strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)
}
