//go:build linux

package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdx/etcdx/pkg/lab"
)

// recipe is a row of docs/rbac.md.
type recipe struct {
	command []string
	grants  []grant
	who     string // "any user" or "root": no grants
}

// grant is a permission on a key, or on a prefix.
type grant struct {
	kind     string // read, write or readwrite
	key      string
	prefix   bool
	optional bool
	writing  bool // write is enough
}

func (g grant) String() string {
	if g.prefix {
		return g.kind + " " + g.key + "*"
	}
	return g.kind + " " + g.key
}

func readRecipes(t *testing.T) (all []recipe) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "docs", "rbac.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(string(doc), -1) {
		r := recipe{command: strings.Fields(row[1]), who: row[2]}
		for _, m := range regexp.MustCompile("`(read|write|readwrite) ([^`*]+)(\\*?)`( \\(optional\\))?( \\(write is enough\\))?").FindAllStringSubmatch(row[2], -1) {
			r.grants, r.who = append(r.grants, grant{m[1], m[2], m[3] != "", m[4] != "", m[5] != ""}), ""
		}
		if r.who != "" && r.who != "any user" && r.who != "root" {
			t.Fatalf("docs/rbac.md: %q is no permission", r.who)
		}
		all = append(all, r)
	}
	if len(all) < 40 {
		t.Fatalf("docs/rbac.md has %d rows that are understood", len(all))
	}
	return all
}

// TestLeastPermissions runs every command of docs/rbac.md as a user who has the permissions that it names, and as users
// who have less.
func TestLeastPermissions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several hundred processes")
	}
	t.Parallel()
	b := newRBAC(t)
	for _, r := range readRecipes(t) {
		t.Run(strings.Join(r.command, " "), func(t *testing.T) {
			if r.who != "root" {
				if o := b.run(t, r, r.grants); o.code != 0 {
					t.Errorf("with %v: exit code %d: %s", r.grants, o.code, o.stderr)
				}
			}
			if r.who == "root" {
				b.denied(t, r, nil)
			}
			for i, g := range r.grants {
				less := slices.Delete(slices.Clone(r.grants), i, i+1)
				if g.optional {
					if o := b.run(t, r, less); o.code != 0 {
						t.Errorf("without the optional %s: exit code %d: %s", g, o.code, o.stderr)
					}
					continue
				}
				b.denied(t, r, less)
				if g.kind == "readwrite" {
					for _, half := range []string{"read", "write"} {
						g.kind = half
						b.half(t, r, append(slices.Clone(less), g), g.writing && half == "write")
					}
				}
			}
		})
	}
}

// rbac is a cluster with authentication, and root's connection to it.
type rbac struct {
	cluster *lab.Cluster
	root    *clientv3.Client
	dir     string
	users   int
}

func newRBAC(t *testing.T) *rbac {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := lab.Start(ctx, lab.Config{Members: 1, Auth: lab.Auth{Password: "secret"}, Binary: os.Getenv("ETCDX_TEST_ETCD"), Args: []string{"--bcrypt-cost=4"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	root, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Username: "root", Password: "secret", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	b := &rbac{cluster: c, root: root, dir: t.TempDir()}
	b.keepCheckpoint(t)
	return b
}

// seed brings the cluster into the state that the recipes begin with.
func (b *rbac) seed(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, prefix := range []string{"app/", "job/", "free/", "_etcdx/"} {
		if _, err := b.root.Delete(ctx, prefix, clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"app/a", "app/b"} {
		if _, err := b.root.Put(ctx, key, "v"); err != nil {
			t.Fatal(err)
		}
	}
}

// hold makes somebody hold the lock "job", and returns the token.
func (b *rbac) hold(t *testing.T, key string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	lease, err := b.root.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	if key == "" {
		key = fmt.Sprintf("job/%x", lease.ID)
	}
	host, _ := os.Hostname()
	value := fmt.Sprintf(`{"lock_key":%q,"host":%q,"detached":true,"mode":"excl","ttl":600}`, key, host)
	put, err := b.root.Put(ctx, key, value, clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	return put.Header.Revision
}

// run runs a recipe's command as a new user with the permissions given.
func (b *rbac) run(t *testing.T, r recipe, grants []grant) observation {
	t.Helper()
	b.seed(t)
	args := slices.Clone(r.command)
	words := strings.Join(args[:min(2, len(args))], " ")
	switch {
	case slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--fence=") }):
		token := b.hold(t, "job/1")
		for i := range args {
			args[i] = strings.Replace(args[i], "job/1@2", fmt.Sprintf("job/1@%d", token), 1)
		}
	case slices.Contains(args, "--at-most-every"): // a run long ago
		if _, err := b.root.Put(t.Context(), "_etcdx/state/job", `{"last_start":"2000-01-01T00:00:00Z"}`); err != nil {
			t.Fatal(err)
		}
	case slices.Contains([]string{"lock ls", "lock who", "lock request", "lock break", "unlock job", "elect --who"}, words):
		b.hold(t, "")
	}
	return b.exec(t, b.user(t, grants), args)
}

// half runs the command with a permission to read or to write, where the recipe has both.
func (b *rbac) half(t *testing.T, r recipe, grants []grant, enough bool) {
	t.Helper()
	if !enough {
		b.denied(t, r, grants)
	} else if o := b.run(t, r, grants); o.code != 0 {
		t.Errorf("with %v: exit code %d: %s", grants, o.code, o.stderr)
	}
}

// denied wants the command to be refused with less than its permissions.
func (b *rbac) denied(t *testing.T, r recipe, grants []grant) {
	t.Helper()
	o := b.run(t, r, grants)
	if o.code != exitDenied || !strings.Contains(o.stderr, "etcdx: hint: ") || !strings.Contains(o.stderr, "permission denied") {
		t.Errorf("with %v only: exit code %d, want %d with a hint: %s%s", grants, o.code, exitDenied, o.stdout, o.stderr)
	}
}

// user makes a user with a role that has the permissions.
func (b *rbac) user(t *testing.T, grants []grant) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b.users++
	name := fmt.Sprintf("u%d", b.users)
	_, err := b.root.UserAdd(ctx, name, "pw")
	if err == nil {
		_, err = b.root.RoleAdd(ctx, name)
	}
	kinds := map[string]clientv3.PermissionType{"read": clientv3.PermissionType(clientv3.PermRead), "write": clientv3.PermissionType(clientv3.PermWrite), "readwrite": clientv3.PermissionType(clientv3.PermReadWrite)}
	for _, g := range grants {
		end := ""
		if g.prefix {
			end = clientv3.GetPrefixRangeEnd(g.key)
		}
		if err == nil {
			_, err = b.root.RoleGrantPermission(ctx, name, g.key, end, kinds[g.kind])
		}
	}
	if err == nil {
		_, err = b.root.UserGrantRole(ctx, name, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// exec runs etcdx. A watch is asked to end once it has printed something.
func (b *rbac) exec(t *testing.T, user string, args []string) observation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = append([]string{"etcdx"}, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "ETCDX_STATE_DIR="+b.stateOf(t, args), "XDG_CONFIG_HOME="+cmd.Dir,
		"ETCDCTL_ENDPOINTS="+strings.Join(b.cluster.Endpoints(), ","), "ETCDCTL_USER="+user+":pw")
	if user == "root" {
		cmd.Env = append(cmd.Env, "ETCDCTL_USER=root:secret")
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if args[0] == "watch" || args[0] == "resume" {
		w := &firstWrite{to: &stdout, seen: make(chan struct{})}
		cmd.Stdout = w
		stop := b.touch(t, ctx, w.seen, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		defer stop()
	}
	err = cmd.Run()
	o := observation{stdout: stdout.String(), stderr: stderr.String(), code: exitCode(cmd.ProcessState)}
	if exit, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Fatalf("%q: %v, %v", args, err, exit)
	}
	if (args[0] == "watch" || args[0] == "resume") && len(o.stdout) > 0 && o.code == exitSignal+int(syscall.SIGTERM) {
		o.code = 0 // it was asked to
	}
	return o
}

// firstWrite closes seen when something is written. The command's end comes after its last write.
type firstWrite struct {
	to   *bytes.Buffer
	seen chan struct{}
	did  bool
}

func (w *firstWrite) Write(p []byte) (int, error) {
	if !w.did {
		w.did = true
		close(w.seen)
	}
	return w.to.Write(p)
}

// touch changes app/a until something is seen, and then calls act.
func (b *rbac) touch(t *testing.T, ctx context.Context, seen <-chan struct{}, act func()) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, _ = b.root.Put(ctx, "app/a", "changed")
			select {
			case <-seen:
				act()
				return
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// keepCheckpoint makes the checkpoint "saved", which is copied for each command that needs one.
func (b *rbac) keepCheckpoint(t *testing.T) {
	t.Helper()
	b.seed(t)
	args := strings.Fields("watch --prefix app/ --checkpoint saved")
	if o := b.exec(t, "root", args); o.code != 0 {
		t.Fatalf("%q: exit code %d: %s", args, o.code, o.stderr)
	}
}

// stateOf returns the state directory for a command: one with the checkpoint "saved" if it names that.
func (b *rbac) stateOf(t *testing.T, args []string) string {
	t.Helper()
	if b.users == 0 {
		return b.dir
	}
	dir := t.TempDir()
	if slices.Contains(args, "saved") {
		if err := os.CopyFS(dir, os.DirFS(b.dir)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
