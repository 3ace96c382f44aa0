package lab

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// knowsOwners says whether owner can tell.
const knowsOwners = true

// owner returns which of pids holds the other end of a TCP connection, or -1.
func owner(conn net.Conn, pids []int) int {
	inode := socketInode(conn.RemoteAddr(), conn.LocalAddr())
	if inode == "" {
		return -1
	}
	for _, pid := range pids {
		fds, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && to == "socket:["+inode+"]" {
				return pid
			}
		}
	}
	return -1
}

// Family returns a process and all its descendants, parents first. One whose parent has ended is not found. On other systems than Linux it
// returns the process alone.
func Family(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, Family(child)...)
			}
		}
	}
	return all
}

// threadsStopped says whether every thread of a process is stopped, or has ended.
func threadsStopped(pid int) bool {
	stats, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// The thread's name in parentheses may hold anything; its state follows.
		end := bytes.LastIndexByte(stat, ')')
		if end < 0 || end+2 >= len(stat) || !bytes.ContainsRune([]byte("TtZX"), rune(stat[end+2])) {
			return false
		}
	}
	return true
}

// socketInode looks the socket of a connection from one IPv4 address to another up in the kernel's table. Both count: Linux lets
// connections to different addresses share a local port.
func socketInode(from, to net.Addr) string {
	local, remote := inTable(from), inTable(to)
	if local == "" || remote == "" {
		return ""
	}
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		if col := strings.Fields(lines.Text()); len(col) > 9 && col[1] == local && col[2] == remote {
			return col[9]
		}
	}
	return ""
}

// inTable writes an IPv4 address as that table does: as a number in the host's byte order.
func inTable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.To4() == nil {
		return ""
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(tcp.IP.To4()), tcp.Port)
}
