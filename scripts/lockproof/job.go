package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// longVariable tells a job that one in so many takes long.
const longVariable = "LOCKPROOF_LONG"

// job is the command under the lock: job DIR. It ends with 9 when it meets another one.
func job(args []string) int {
	dir := args[0]
	if len(args) > 1 { // the descendant: it holds the flock, in a session of its own, and ignores SIGTERM
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the job closes the pipe, or for ever if that end is inherited
		time.Sleep(time.Hour)
		return 0
	}
	oracle, err := os.OpenFile(dir+"/flock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 1
	}
	if err := syscall.Flock(int(oracle.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		note(dir, "OVERLAP %d", os.Getpid())
		return 9
	}
	key, token := lockOf()
	note(dir, "HELD %d", token)
	descendant, err := leave(dir, oracle)
	if err != nil {
		note(dir, "BROKEN %v", err)
		return 1
	}
	if rand.IntN(3) == 0 {
		count(dir, key, token)
	}
	long, _ := strconv.Atoi(os.Getenv(longVariable))
	if rand.IntN(max(long, 1)) == 0 {
		note(dir, "LONG")
		time.Sleep(time.Duration(2+rand.IntN(5)) * time.Second) // long enough for a lease to end meanwhile
	} else {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	_ = descendant.Process.Kill()
	_ = descendant.Wait()
	return 0
}

// leave starts a process that has left the job's session and process group, and holds the flock as long as it lives.
func leave(dir string, oracle *os.File) (*exec.Cmd, error) {
	c := exec.Command(os.Args[0], "job", dir, "descendant")
	c.ExtraFiles = []*os.File{oracle}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return c, c.Start()
}

// note adds a line to the log; who wrote it when is for people.
func note(dir, format string, args ...any) {
	f, err := os.OpenFile(dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(f, format+" # pid %d at %s\n", append(args, os.Getpid(), time.Now().Format("15:04:05.000"))...)
	_ = f.Close()
}

// lockOf returns the lock's key with its fencing token; etcdctl has only a revision, which rises as well.
func lockOf() (key string, token int64) {
	if fence := os.Getenv("ETCDX_FENCE"); fence != "" {
		i := strings.LastIndexByte(fence, '@')
		token, _ = strconv.ParseInt(fence[i+1:], 10, 64)
		return fence[:i], token
	}
	token, _ = strconv.ParseInt(os.Getenv("ETCD_LOCK_REV"), 10, 64)
	return os.Getenv("ETCD_LOCK_KEY"), token
}

// count adds one to a counter in etcd in two steps, fenced: what was read may be out of date if somebody else holds the lock.
func count(dir, key string, token int64) {
	c, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(os.Getenv("ETCDCTL_ENDPOINTS"), ",")})
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	got, err := c.Get(ctx, "counter")
	if err != nil {
		return
	}
	n := 0
	if len(got.Kvs) > 0 {
		n, _ = strconv.Atoi(string(got.Kvs[0].Value))
	}
	guard := clientv3.Compare(clientv3.CreateRevision(key), "=", token)
	if os.Getenv("ETCDX_FENCE") == "" {
		guard = clientv3.Compare(clientv3.Version(key), ">", 0)
	}
	resp, err := c.Txn(ctx).If(guard).Then(clientv3.OpPut("counter", strconv.Itoa(n+1))).Commit()
	switch {
	case err != nil:
		note(dir, "UNKNOWN")
	case resp.Succeeded:
		note(dir, "COUNTED")
	default:
		note(dir, "FENCED")
	}
}
