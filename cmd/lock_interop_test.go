//go:build unix

package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/etcdx/etcdx/pkg/lab"
)

// attend is what a holder does under its lock: it takes a flock(2) that nobody else may have meanwhile, and says so. mode is
// excl, shared, or the number of slots of a semaphore. It knows no clock and nothing of etcd: the log is all that is judged.
func attend(dir, kind, mode string) error {
	var open []*os.File
	defer func() {
		for _, f := range open {
			_ = f.Close()
		}
	}()
	take := func(name string, how int) bool {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return false
		}
		open = append(open, f)
		return syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB) == nil
	}
	// Holders that share stay longer, so that they meet.
	alone, stay := syscall.LOCK_SH, 150*time.Millisecond
	if mode == "excl" {
		alone, stay = syscall.LOCK_EX, 5*time.Millisecond
	}
	fits := take("flock", alone)
	if slots := 0; fits && alone == syscall.LOCK_SH && mode != "shared" {
		if _, err := fmt.Sscan(mode, &slots); err != nil {
			return err
		}
		fits = false
		for i := 0; i < slots && !fits; i++ {
			fits = take(fmt.Sprintf("slot%d", i), syscall.LOCK_EX)
		}
	}
	if !fits {
		return note(dir, "OVERLAP "+kind)
	}
	if err := note(dir, "IN "+kind); err != nil {
		return err
	}
	time.Sleep(stay) // its time at work, in which nobody else may be
	return note(dir, "OUT "+kind)
}

func note(dir, line string) error {
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// attendMain is attend as a program: attend DIR KIND MODE.
func attendMain() int {
	if err := attend(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// attendance is what a log says.
type attendance struct {
	served   map[string]int // acquisitions of each kind
	total    int
	overlaps int
	together int // the most that were in at the same time
}

func attendanceOf(dir string) attendance {
	a := attendance{served: map[string]int{}}
	text, _ := os.ReadFile(filepath.Join(dir, "log"))
	in := 0
	for line := range strings.Lines(string(text)) {
		what, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "OVERLAP":
			a.overlaps++
		case "IN":
			a.total++
			a.served[kind]++
			in++
			a.together = max(a.together, in)
		case "OUT":
			in--
		}
	}
	return a
}

// contest is contenders of several kinds for one lock.
type contest struct {
	dir, bin string
	cluster  *lab.Cluster
	want     int
	kinds    atomic.Int64
	wg       sync.WaitGroup
}

func newContest(t *testing.T, want int) *contest {
	t.Helper()
	cluster, err := lab.Start(t.Context(), lab.Config{Members: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &contest{dir: t.TempDir(), bin: t.TempDir(), cluster: cluster, want: want}
	for _, name := range []string{"etcdx", "etcdctl", "attend"} {
		if err := os.Symlink(self, filepath.Join(c.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// over says whether there have been enough acquisitions, or an overlap.
func (c *contest) over(ctx context.Context) bool {
	a := attendanceOf(c.dir)
	return ctx.Err() != nil || a.total >= c.want || a.overlaps > 0
}

// program lets n processes contend with a lock command, again and again.
func (c *contest) program(ctx context.Context, t *testing.T, n int, kind, mode, tool string, args ...string) {
	c.kinds.Add(1)
	for range n {
		c.wg.Go(func() {
			for !c.over(ctx) {
				all := append(append([]string{"lock"}, args...), "--", filepath.Join(c.bin, "attend"), c.dir, kind, mode)
				cmd := exec.CommandContext(ctx, filepath.Join(c.bin, tool), all...)
				cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
				cmd.WaitDelay = 5 * time.Second
				cmd.Env = []string{
					"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "XDG_STATE_HOME=" + c.dir,
					"ETCDCTL_ENDPOINTS=" + strings.Join(c.cluster.Endpoints(), ","),
				}
				if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v\n%s", kind, err, out)
					return
				}
			}
		})
	}
}

// mutex lets n users of etcd's Go library contend.
func (c *contest) mutex(ctx context.Context, t *testing.T, n int, name string) {
	c.kinds.Add(1)
	for range n {
		c.wg.Go(func() {
			for !c.over(ctx) {
				if err := c.lockOnce(ctx, name); err != nil && ctx.Err() == nil {
					t.Errorf("concurrency.Mutex: %v", err)
					return
				}
			}
		})
	}
}

func (c *contest) lockOnce(ctx context.Context, name string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: c.cluster.Endpoints(), Context: ctx})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(30))
	if err != nil {
		return err
	}
	m := concurrency.NewMutex(session, name)
	if err := m.Lock(ctx); err != nil {
		return err
	}
	if err := attend(c.dir, "mutex", "excl"); err != nil {
		return err
	}
	return session.Close() // as etcdctl does: the lease goes, and with it the key
}

// judge waits for the contenders and wants no overlap, all acquisitions, and a fair share of them for every kind.
func (c *contest) judge(t *testing.T) attendance {
	t.Helper()
	c.wg.Wait()
	a := attendanceOf(c.dir)
	t.Logf("%d acquisitions, %d overlaps, at most %d together: %v", a.total, a.overlaps, a.together, a.served)
	if a.overlaps > 0 {
		t.Errorf("%d overlaps", a.overlaps)
	}
	if a.total < c.want {
		t.Errorf("%d acquisitions, want %d", a.total, c.want)
	}
	kinds := int(c.kinds.Load())
	if len(a.served) != kinds {
		t.Errorf("%d of %d kinds got the lock", len(a.served), kinds)
	}
	for kind, n := range a.served {
		if n < a.total/kinds/4 {
			t.Errorf("%s got the lock %d times out of %d", kind, n, a.total)
		}
	}
	return a
}

// contestTime bounds a contest: it ends when there were enough acquisitions, on a starved machine too.
const contestTime = 2 * time.Minute

// TestLockTakesTurns: etcdctl, etcd's Go library and etcdx contend for one lock, and never two of them have it.
func TestLockTakesTurns(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), contestTime)
	defer cancel()
	c := newContest(t, 120)
	c.program(ctx, t, 2, "etcdx", "excl", "etcdx", "a")
	c.program(ctx, t, 2, "etcdctl", "excl", "etcdctl", "a")
	c.mutex(ctx, t, 2, "a")
	if a := c.judge(t); a.together > 1 {
		t.Errorf("%d together", a.together)
	}
}

// TestSharedLockTakesTurns: shared holders are in together, and never beside one of etcd's Go library or of etcdctl.
func TestSharedLockTakesTurns(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), contestTime)
	defer cancel()
	c := newContest(t, 60)
	c.program(ctx, t, 4, "shared", "shared", "etcdx", "-s", "a")
	c.program(ctx, t, 1, "etcdctl", "excl", "etcdctl", "a")
	c.mutex(ctx, t, 1, "a")
	if a := c.judge(t); a.together < 2 {
		t.Error("the shared holders were never in together")
	}
}

// TestSemaphoreTakesTurns: no more than two fit into two slots, and nobody beside a holder that knows no slots.
func TestSemaphoreTakesTurns(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), contestTime)
	defer cancel()
	c := newContest(t, 60)
	c.program(ctx, t, 4, "slots", "2", "etcdx", "--slots", "2", "a")
	c.mutex(ctx, t, 1, "a")
	if a := c.judge(t); a.together != 2 {
		t.Errorf("%d together, want 2", a.together)
	}
}

// TestAttendSeesOverlaps: the oracle of these tests speaks up when a second holder appears, of any kind.
func TestAttendSeesOverlaps(t *testing.T) {
	for _, pair := range [][2]string{{"excl", "excl"}, {"excl", "shared"}, {"shared", "excl"}, {"2", "excl"}, {"1", "1"}} {
		dir := t.TempDir()
		var wg sync.WaitGroup
		wg.Go(func() { _ = attend(dir, "first", pair[0]) })
		for attendanceOf(dir).total == 0 {
			time.Sleep(time.Millisecond / 10)
		}
		if err := attend(dir, "second", pair[1]); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if a := attendanceOf(dir); a.overlaps != 1 {
			t.Errorf("%q: %+v", pair, a)
		}
	}
}
