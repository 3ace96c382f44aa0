//go:build unix

package cmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lab"
)

// rangeCluster starts a cluster with n keys under r/, whose values value returns. Like the scripts, it runs the servers that
// ETCDX_TEST_ETCD names: those before 3.7 have no RangeStream, so that ranges are read in pages.
func rangeCluster(t *testing.T, members, n int, value func(i int) string) (*lab.Cluster, *clientv3.Client) {
	t.Helper()
	c, err := lab.Start(t.Context(), lab.Config{Members: members, Binary: os.Getenv("ETCDX_TEST_ETCD"), Args: []string{"--max-txn-ops=10000", "--quota-backend-bytes=8000000000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	// The last endpoint is for the test itself: the others may be killed.
	cl, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints()[members-1:], DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	var ops []clientv3.Op
	size := 0
	for i := range n {
		v := value(i)
		ops, size = append(ops, clientv3.OpPut(rangeKey(i), v)), size+len(v)+50
		if i == n-1 || len(ops) == 2000 || size > 600_000 {
			if _, err := cl.Txn(t.Context()).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
			ops, size = nil, 0
		}
	}
	return c, cl
}

func rangeKey(i int) string { return fmt.Sprintf("r/%07d", i) }

// runGet runs etcdx get in this process with stdout as its output, and returns the exit code and standard error.
func runGet(ctx context.Context, c *lab.Cluster, stdout io.Writer, args ...string) (int, string) {
	var stderr bytes.Buffer
	env := func(name string) (string, bool) {
		if name != "ETCDCTL_ENDPOINTS" {
			return "", false
		}
		return strings.Join(c.Endpoints(), ","), true
	}
	args = append([]string{"get", "--endpoints", strings.Join(c.Endpoints(), ",")}, args...)
	code := Run(ctx, args, env, Streams{In: strings.NewReader(""), Out: stdout, Err: &stderr})
	return code, stderr.String()
}

// tripwire is an output that does something once when it has taken a number of bytes.
type tripwire struct {
	bytes.Buffer
	at   int
	trip func()
	once sync.Once
}

func (w *tripwire) Write(p []byte) (int, error) {
	if w.Len() >= w.at {
		w.once.Do(w.trip)
	}
	return w.Buffer.Write(p)
}

func TestGetRangeSurvivesItsMemberAndSeesOneRevision(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*lab.Cluster) error{
		"killed": func(c *lab.Cluster) error { return c.Kill(0) }, // the first endpoint serves first
		"hung":   func(c *lab.Cluster) error { return c.Stop(0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testSurvives(t, fault)
		})
	}
}

func testSurvives(t *testing.T, fault func(*lab.Cluster) error) {
	t.Helper()
	const n = 60000
	c, cl := rangeCluster(t, 3, n, func(i int) string { return fmt.Sprint(i, strings.Repeat("v", 100)) })
	var want bytes.Buffer
	for i := range n {
		fmt.Fprintf(&want, "%s\n%d%s\n", rangeKey(i), i, strings.Repeat("v", 100))
	}
	out := &tripwire{at: 300_000, trip: func() {
		if err := fault(c); err != nil {
			t.Error(err)
		}
		// Keys ahead change, come and go: none of it is at the revision that is being read.
		for _, op := range []clientv3.Op{
			clientv3.OpPut(rangeKey(n-1), "changed"), clientv3.OpPut(rangeKey(n-2)+"x", "new"), clientv3.OpDelete(rangeKey(n - 3)),
		} {
			var err error
			for range 20 { // the member may have been the leader
				if _, err = cl.Do(t.Context(), op); err == nil {
					break
				}
			}
			if err != nil {
				t.Error(err)
			}
		}
	}}
	code, stderr := runGet(t.Context(), c, out, "--prefix", "r/", "--command-timeout", "20s")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if !bytes.Equal(out.Bytes(), want.Bytes()) {
		t.Errorf("got %d bytes (sha256 %x), want %d: not every key once, in order, at one revision",
			out.Len(), sha256.Sum256(out.Bytes()), want.Len())
	}
}

func TestGetRangeCompactedOnTheWay(t *testing.T) {
	t.Parallel()
	const n = 60000
	c, cl := rangeCluster(t, 1, n, func(int) string { return strings.Repeat("v", 200) })
	out := &tripwire{at: 100_000, trip: func() {
		resp, err := cl.Put(t.Context(), rangeKey(n), "")
		if err == nil {
			_, err = cl.Compact(t.Context(), (*pb.PutResponse)(resp).GetHeader().GetRevision())
		}
		if err != nil {
			t.Error(err)
		}
	}}
	code, stderr := runGet(t.Context(), c, out, "--prefix", "r/")
	if code != exitCompacted || !strings.Contains(stderr, "stopped after ") || !strings.Contains(stderr, "compacted") {
		t.Errorf("exit code %d, want %d: %s", code, exitCompacted, stderr)
	}
}

// A slow reader of the output is not a slow server: --command-timeout does not count the time that writing takes.
func TestGetRangeWaitsForItsReader(t *testing.T) {
	t.Parallel()
	c, _ := rangeCluster(t, 1, 20000, func(int) string { return strings.Repeat("v", 200) })
	out := &tripwire{at: 1_000_000, trip: func() { <-time.After(1500 * time.Millisecond) }} // the delay is the fault
	if code, stderr := runGet(t.Context(), c, out, "--prefix", "r/", "--command-timeout", "1s"); code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// A member that hangs in the middle ends the command after --command-timeout, and says how far it came.
func TestGetRangeEndsWhenNothingComes(t *testing.T) {
	t.Parallel()
	c, _ := rangeCluster(t, 1, 60000, func(int) string { return strings.Repeat("v", 200) })
	out := &tripwire{at: 100_000, trip: func() {
		if err := c.Stop(0); err != nil {
			t.Error(err)
		}
	}}
	start := time.Now()
	code, stderr := runGet(t.Context(), c, out, "--prefix", "r/", "--command-timeout", "1s")
	if code != exitUnavailable || !strings.Contains(stderr, "stopped after ") || !strings.Contains(stderr, "nothing came for 1s") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if d := time.Since(start); d > 8*time.Second {
		t.Errorf("took %v", d)
	}
}

// Values of very different sizes must not make any answer too large to hold.
func TestGetRangeOfLargeValues(t *testing.T) {
	t.Parallel()
	size := func(i int) int {
		switch {
		case i >= 2000 && i < 2060:
			return 1_400_000
		case i >= 2060:
			return 50_000
		}
		return 10
	}
	c, _ := rangeCluster(t, 1, 2300, func(i int) string { return strings.Repeat("x", size(i)) })
	all, peak := getInProcess(t, c, "--prefix", "r/", "-w", "value", "--command-timeout", "60s")
	if want := 2000*10 + 60*1_400_000 + 240*50_000 + 2300; len(all) != want {
		t.Errorf("got %d bytes, want %d", len(all), want)
	}
	wantPeak(t, peak, 120)
	part, peak := getInProcess(t, c, "--prefix", "r/0002", "--limit", "200", "-w", "json")
	var got struct {
		KVs   []struct{ Value []byte }
		Count int
		More  bool
	}
	if err := json.Unmarshal(part, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.KVs) != 200 || got.Count != 300 || !got.More || len(got.KVs[199].Value) != 50_000 {
		t.Errorf("%d keys, count %d, more %t", len(got.KVs), got.Count, got.More)
	}
	wantPeak(t, peak, 120)
}

// 120 MB pass through a client that holds a fraction of them.
func TestGetRangeMemoryDoesNotGrow(t *testing.T) {
	t.Parallel()
	c, _ := rangeCluster(t, 1, 30000, func(int) string { return strings.Repeat("v", 4000) })
	for _, format := range []string{"simple", "json", "yaml"} {
		t.Run(format, func(t *testing.T) {
			out, peak := getInProcess(t, c, "--prefix", "r/", "-w", format)
			if len(out) < 30000*4000 {
				t.Errorf("only %d bytes came", len(out))
			}
			wantPeak(t, peak, 80)
		})
	}
}

// getInProcess runs etcdx get as a process and returns its output and the most memory it had, in MiB; 0 if unknown.
// Its resource usage would not tell: on Linux that includes what its parent had when it was forked.
func getInProcess(t *testing.T, c *lab.Cluster, args ...string) (out []byte, peak int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "etcdx", append([]string{"get", "--endpoints", c.Endpoint(0)}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if _, after, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
			var kib int
			if _, err := fmt.Fscan(bytes.NewReader(after), &kib); err == nil {
				peak = max(peak, kib>>10)
			}
		}
		out = append(out, p...)
		return len(p), nil
	})
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return out, peak
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// wantPeak wants a process, which links the test's servers and so starts out larger than etcdx, to have stayed below mib.
func wantPeak(t *testing.T, peak, mib int) {
	t.Helper()
	t.Logf("peak memory %d MiB", peak)
	if peak > mib {
		t.Errorf("peak memory %d MiB, want at most %d", peak, mib)
	}
}
