//go:build unix

package cmd

import (
	"fmt"
	"net"
	"os"
)

// notifiedMain is systemd's side of sd_notify(3) for scripts: it listens on a datagram socket and prints what comes.
func notifiedMain() {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: os.Args[1], Net: "unixgram"})
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	for b := make([]byte, 64<<10); ; {
		n, err := conn.Read(b)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", b[:n])
	}
}
