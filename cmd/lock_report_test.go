//go:build unix

package cmd

import (
	"bytes"
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

// The front has not read for a while, and the pipe is full: other reports are lost then, the last one is not.
func TestTheLastReportIsNotLost(t *testing.T) {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	front, keeper := os.NewFile(uintptr(fds[0]), "front"), os.NewFile(uintptr(fds[1]), "keeper")
	defer front.Close()
	full := bytes.Repeat([]byte("\n"), 4096)
	_ = keeper.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		if _, err := keeper.Write(full); err != nil {
			break
		}
	}
	said := make(chan []byte)
	time.AfterFunc(300*time.Millisecond, func() {
		all, _ := io.ReadAll(front)
		said <- bytes.TrimSpace(all)
	})
	r := &reporter{pipe: keeper}
	r.tell(guardReport{Key: "k"})
	r.tell(guardReport{Done: true})
	keeper.Close()
	if got := string(<-said); got != `{"key":"k","done":true}` {
		t.Errorf("the front read %q", got)
	}
}
