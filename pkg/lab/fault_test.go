//go:build unix

package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call connects to a member's client port.
func call(t *testing.T, c *Cluster, i int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", c.members[i].client.addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// version asks over HTTP for the member's version, and waits up to d for the answer.
func version(conn net.Conn, d time.Duration) (string, error) {
	if _, err := io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: lab\r\n\r\n"); err != nil {
		return "", err
	}
	_ = conn.SetReadDeadline(time.Now().Add(d))
	buf := make([]byte, 1000)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func TestKilledMemberRefusesAndComesBackWithItsData(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	must(t, within(t, 5*time.Second, put(client(t, c, 0))))
	open := call(t, c, 0)
	pid := c.Status(t.Context())[0].Pid
	must(t, c.Kill(0))
	if _, err := version(open, time.Second); err == nil || isTimeout(err) {
		t.Errorf("an open connection does not end: %v", err)
	}
	if _, err := net.Dial("tcp", c.members[0].client.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection is not refused: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d lives: %v", pid, err)
	}
	if s := c.Status(t.Context())[0]; s.State != "dead" {
		t.Errorf("state is %s", s.State)
	}
	if err := c.Kill(0); !errors.Is(err, errDead) {
		t.Errorf("it can be killed twice: %v", err)
	}
	must(t, within(t, 10*time.Second, func(ctx context.Context) error { return c.Restart(ctx, 0) }))
	must(t, within(t, 10*time.Second, c.Ready))
	must(t, within(t, 5*time.Second, func(ctx context.Context) error {
		resp, err := client(t, c, 0).Get(ctx, "k")
		if err == nil && len(resp.Kvs) != 1 {
			t.Error("the key is gone")
		}
		return err
	}))
}

func TestStoppedMemberStaysSilentUntilContinued(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Members: 1})
	must(t, c.Stop(0))
	conn := call(t, c, 0)
	if _, err := version(conn, 300*time.Millisecond); !isTimeout(err) {
		t.Fatalf("it answers: %v", err)
	}
	if s := c.Status(t.Context())[0]; s.State != "stopped" {
		t.Errorf("state is %s", s.State)
	}
	must(t, c.Cont(0))
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 100)); err != nil {
		t.Errorf("it does not answer what it was asked while stopped: %v", err)
	}
}

func TestCutFromClientsHoldsBytesUntilHealed(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Members: 1})
	open := call(t, c, 0)
	if _, err := version(open, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	must(t, c.Cut(0, Clients))
	late := call(t, c, 0)
	for _, conn := range []net.Conn{open, late} {
		if text, err := version(conn, 300*time.Millisecond); !isTimeout(err) {
			t.Errorf("not silent: %q, %v", text, err)
		}
	}
	if s := c.Status(t.Context())[0]; !s.HasLeader || s.Cut != Clients {
		t.Errorf("the member itself is disturbed: %+v", s)
	}
	must(t, c.Heal())
	for _, conn := range []net.Conn{open, late} {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 100)); err != nil {
			t.Errorf("what was sent meanwhile is not answered: %v", err)
		}
	}
}

// A process that is cut off hears nothing, on old connections and new ones, while others are served, until it may rejoin.
func TestIsolatedProcessHearsNothing(t *testing.T) {
	t.Parallel()
	if !knowsOwners {
		t.Skip("this system does not tell whose a connection is")
	}
	c := start(t, Config{Members: 1})
	theirs, ours := call(t, c, 0), call(t, c, 0)
	file, err := theirs.(*net.TCPConn).File()
	must(t, err)
	defer file.Close()
	other := exec.Command("sleep", "60")
	other.ExtraFiles = []*os.File{file} // what a process inherits is its own, too
	must(t, other.Start())
	defer func() { _, _ = other.Process.Kill(), other.Wait() }()
	must(t, syscall.SetNonblock(int(file.Fd()), true)) // giving it away made it block, and deadlines useless
	must(t, c.Isolate(other.Process.Pid))
	if text, err := version(theirs, 300*time.Millisecond); !isTimeout(err) {
		t.Errorf("not silent: %q, %v", text, err)
	}
	if _, err := version(ours, 5*time.Second); err != nil {
		t.Errorf("another process is cut off too: %v", err)
	}
	if err := c.Isolate(1); err == nil {
		t.Error("two such faults at once")
	}
	must(t, c.Heal())
	if text, err := version(theirs, 300*time.Millisecond); !isTimeout(err) {
		t.Errorf("not silent after Heal: %q, %v", text, err)
	}
	c.Rejoin()
	_ = theirs.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := theirs.Read(make([]byte, 100)); err != nil {
		t.Errorf("what was sent meanwhile is not answered: %v", err)
	}
	must(t, c.Isolate(os.Getpid()))
	late := call(t, c, 0)
	if text, err := version(late, 300*time.Millisecond); !isTimeout(err) {
		t.Errorf("a new connection is not silent: %q, %v", text, err)
	}
	c.Rejoin()
	if _, err := version(call(t, c, 0), 5*time.Second); err != nil {
		t.Errorf("it stays cut off: %v", err)
	}
}

func TestCutFollowerHearsNothingOfTheOthers(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	cut := (leader(t, c) + 1) % c.Len()
	must(t, c.Cut(cut, Peers))
	must(t, within(t, 10*time.Second, func(ctx context.Context) error { return c.NoLeader(ctx, cut) }))
	before := c.Status(t.Context())[cut].Revision
	other := client(t, c, (cut+1)%c.Len())
	// Longer than rafthttp takes to dial anew, and than several elections.
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		must(t, within(t, 5*time.Second, put(other)))
		if s := c.Status(t.Context())[cut]; s.HasLeader || s.Revision != before {
			t.Fatalf("it hears of the others: %+v", s)
		}
	}
}

func TestSlowHoldsBackEachWay(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Members: 1})
	conn := call(t, c, 0)
	if _, err := version(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	const d = 150 * time.Millisecond
	must(t, c.Slow(0, d))
	began := time.Now()
	if _, err := version(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*d || took > 10*d {
		t.Errorf("a round trip took %v, want %v or a little more", took, 2*d)
	}
}

func TestResetBreaksOpenConnectionsOnly(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Members: 1})
	conn := call(t, c, 0)
	if _, err := version(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	must(t, c.Reset(0))
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a reset: %v", err)
	}
	if _, err := version(call(t, c, 0), 5*time.Second); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}

func TestRestoreGoesBackUnderTheSameAddresses(t *testing.T) {
	t.Parallel()
	c := start(t, Config{})
	cl := client(t, c, 0)
	must(t, within(t, 5*time.Second, put(cl)))
	file := filepath.Join(t.TempDir(), "snapshot.db")
	must(t, within(t, 5*time.Second, func(ctx context.Context) error { return c.Snapshot(ctx, file) }))
	for range 5 {
		must(t, within(t, 5*time.Second, put(cl)))
	}
	eps := strings.Join(c.Endpoints(), ",")
	must(t, within(t, 20*time.Second, func(ctx context.Context) error { return c.Restore(ctx, file) }))
	if now := strings.Join(c.Endpoints(), ","); now != eps {
		t.Errorf("endpoints are %s, were %s", now, eps)
	}
	must(t, within(t, 5*time.Second, func(ctx context.Context) error {
		rev, err := c.Revision(ctx)
		if rev != 2 {
			t.Errorf("revision is %d, want that of the snapshot, 2", rev)
		}
		return err
	}))
	must(t, within(t, 5*time.Second, put(client(t, c, 2))))
}

func TestCompactForgets(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Members: 1})
	cl := client(t, c, 0)
	for range 3 {
		must(t, within(t, 5*time.Second, put(cl)))
	}
	must(t, within(t, 5*time.Second, func(ctx context.Context) error {
		rev, err := c.Compact(ctx, 3)
		if rev != 3 {
			t.Errorf("compacted at %d, want 3", rev)
		}
		return err
	}))
	must(t, within(t, 5*time.Second, func(ctx context.Context) error {
		if _, err := cl.Get(ctx, "k", clientv3.WithRev(2)); err == nil {
			t.Error("revision 2 can still be read")
		}
		_, err := cl.Get(ctx, "k", clientv3.WithRev(3))
		return err
	}))
}

// Every byte arrives, in its order, on a line that loses half of them.
func TestLossLosesNoByte(t *testing.T) {
	t.Parallel()
	c := start(t, Config{Members: 1})
	conn := call(t, c, 0)
	must(t, c.Lose(0, 0.5))
	began := time.Now()
	for range 8 {
		if _, err := version(conn, 30*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < firstRTO { // fails once in 65,536 runs
		t.Errorf("8 round trips took %v: nothing was lost", took)
	}
}
