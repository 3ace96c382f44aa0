package lab

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestReadCallerFindsTheMember(t *testing.T) {
	for head, want := range map[string]string{
		"GET /raft/stream/message/1 HTTP/1.1\r\nHost: a\r\nX-Server-From: 9A85\r\n\r\n":   "9a85",
		"POST /raft HTTP/1.1\r\nx-server-from:  9a85 \r\nContent-Length: 3\r\n\r\nabc":    "9a85",
		"GET /members HTTP/1.1\r\nHost: a\r\n\r\n":                                        "",
		"POST /raft HTTP/1.1\r\nContent-Length: 21\r\n\r\nX-Server-From: 9a85\r\n":        "",
		"GET / HTTP/1.1\r\nX-Long: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\n\r\n": "",
		"GET / HTTP/1.1\r\nX-Server-From: 9a85\r\n":                                       "", // cut short
	} {
		near, far := net.Pipe()
		go func() {
			_, _ = near.Write([]byte(head))
			_ = near.Close()
		}()
		read, caller := readCaller(far)
		_ = far.Close()
		if caller != want {
			t.Errorf("%.60q: caller %q, want %q", head, caller, want)
		}
		if !strings.HasPrefix(head, string(read)) {
			t.Errorf("%.60q: read %.60q", head, read)
		}
	}
}

func TestOwnerFindsTheProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialed, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if pid := owner(accepted, []int{1, os.Getpid()}); pid != os.Getpid() {
		t.Errorf("owner is %d, want %d", pid, os.Getpid())
	}
	if pid := owner(accepted, []int{os.Getppid()}); pid != -1 {
		t.Errorf("owner is %d, want none", pid)
	}
}

func TestCauseIsWhatEndedTheMember(t *testing.T) {
	for log, want := range map[string]string{
		"flag provided but not defined: -bogus\nUsage:\n\n  etcd [flags]\n": "flag provided but not defined: -bogus",
		`{"level":"warn","msg":"peer is down","error":"eof"}
{"level":"fatal","msg":"discovery failed","error":"listen tcp 1.2.3.4:22: bind: cannot assign requested address"}`: "discovery failed: listen tcp 1.2.3.4:22: bind: cannot assign requested address",
		`{"level":"info","msg":"hello"}` + "\npanic: what": "panic: what",
		"": "",
	} {
		if got := cause(log); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}
