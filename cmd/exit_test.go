package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
)

func TestExitCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "exit-codes.md"))
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(string(doc), "\n## ") // etcdctl's codes follow
	documented := map[int]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (128\+n|\d+) \| (.+?) \|`).FindAllStringSubmatch(own, -1) {
		code, err := strconv.Atoi(strings.TrimSuffix(m[1], "+n"))
		if err != nil {
			t.Fatal(err)
		}
		documented[code] = m[2]
	}
	for code, meaning := range meanings() {
		if want := strings.TrimPrefix(meaning, "128+n: "); documented[code] != want {
			t.Errorf("docs/exit-codes.md says of %d %q, the code %q", code, documented[code], want)
		}
		delete(documented, code)
	}
	if len(documented) > 0 {
		t.Errorf("docs/exit-codes.md has codes that nothing means: %v", documented)
	}
}

func TestEveryOutcomeHasAMeaning(t *testing.T) {
	for i, o := range outcomes() {
		if _, ok := meanings()[o.code]; !ok {
			t.Errorf("outcome %d: no meaning for code %d", i, o.code)
		}
	}
	for name, codes := range ownCodes() {
		for _, code := range codes {
			if _, ok := meanings()[code]; !ok {
				t.Errorf("%s: no meaning for code %d", name, code)
			}
		}
	}
}

func TestReport(t *testing.T) {
	unavailable := func(reasons ...conn.Reason) error {
		e := &conn.UnavailableError{}
		for i, r := range reasons {
			e.Attempts = append(e.Attempts, conn.Attempt{Endpoint: fmt.Sprintf("h%d:1", i), Reason: r, Err: errors.New("why")})
		}
		return fmt.Errorf("get %q: %w", "k", e)
	}
	denied := &conn.UnavailableError{Attempts: []conn.Attempt{{Endpoint: "h:1", Reason: conn.BadLogin, Err: rpctypes.ErrAuthFailed}}}
	for _, c := range []struct {
		name           string
		err            error
		code           int
		line           string // of etcdx, somewhere in what it says
		etcdctl        int
		etcdctlMessage string
	}{
		{"nothing", nil, 0, "", 0, ""},
		{"plain", errors.New("boom"), 1, "etcdx: boom\n", 1, "boom"},
		{"silent child", codeError{code: 7}, 7, "", 7, "exit status 7"},
		{"child", codeError{code: 7, err: errors.New("exit status 7")}, 7, "etcdx: exit status 7\n", 7, "exit status 7"},
		{"arguments", badArgs("get needs a key"), 64, "etcdx: get needs a key\n", 128, "get needs a key"},
		{"feature", badFeature("bad order"), 64, "etcdx: bad order\n", 4, "bad order"},
		{"setting", &config.UsageError{Text: "x", Next: "do y"}, 64, "etcdx: hint: do y\n", 128, "x"},
		{"file", &config.ImpossibleError{Text: "ETCDX_CACERT", Err: errors.New("open /x: no such file"), Next: "check"}, 78, "etcdx: ETCDX_CACERT: open /x: no such file\netcdx: hint: check\n", 128, "open /x: no such file"},
		{"refused and silent", unavailable(conn.Refused, conn.Silent), 69, "etcdx: h1:1 does not answer\n", 1, "context deadline exceeded"},
		{"wrong CA everywhere", unavailable(conn.WrongCA, conn.WrongCA), 77, "etcdx: hint: give the cluster's CA", 1, "context deadline exceeded"},
		{"wrong CA once", unavailable(conn.WrongCA, conn.Silent), 69, "etcdx: h0:1 its certificate is not trusted, or is not for this name\n", 1, "context deadline exceeded"},
		{"no such host", unavailable(conn.UnknownHost), 78, "no endpoint served the request: h0:1 its name does not resolve\netcdx: hint: check the spelling", 1, "context deadline exceeded"},
		{"login", denied, 77, "user name, password or token is refused", 1, "etcdserver: authentication failed, invalid user ID or password"},
		{"refused login", fmt.Errorf("get: %w", rpctypes.ErrAuthFailed), 77, "etcdx: hint: check --user and --password", 1, "etcdserver: authentication failed, invalid user ID or password"},
		{"permission", fmt.Errorf("put: %w", rpctypes.ErrPermissionDenied), 77, "permission denied", 1, "etcdserver: permission denied"},
		{"compacted", fmt.Errorf("get: %w", rpctypes.ErrCompacted), 80, "compacted", 1, "etcdserver: mvcc: required revision has been compacted"},
		{"unknown", &conn.UnknownOutcomeError{Err: context.DeadlineExceeded}, 76, "outcome unknown", 1, "context deadline exceeded"},
		{"lock, and unknown what became of its key", &unreachedError{&conn.UnknownOutcomeError{Err: context.DeadlineExceeded}}, 69, "safe to try again", 1, "context deadline exceeded"},
		{"protected", protectedError{"prod", "del"}, 77, `etcdx: context "prod" is protected: del changes the cluster`, 1, `context "prod" is protected: del changes the cluster`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			g := &globals{streams: Streams{Err: &stderr}, process: t.Context()}
			if code := g.report(c.err); code != c.code || !strings.Contains(stderr.String(), c.line) {
				t.Errorf("code %d, want %d; said %q, want %q", code, c.code, stderr.String(), c.line)
			}
			stderr.Reset()
			g.asEtcdctl = true
			want := ""
			if c.etcdctlMessage != "" {
				want = "Error: " + c.etcdctlMessage + "\n"
			}
			if code := g.report(c.err); code != c.etcdctl || stderr.String() != want {
				t.Errorf("as etcdctl: code %d, want %d; said %q, want %q", code, c.etcdctl, stderr.String(), want)
			}
		})
	}
}

func TestWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args       []string
		line, hint string
	}{
		{[]string{"frobnicate"}, `etcdx: unknown command "frobnicate" for "etcdx"`, "etcdx --help lists the commands"},
		{[]string{"endpiont"}, `etcdx: unknown command "endpiont" for "etcdx"`, "did you mean endpoint?"},
		{[]string{"get", "--prefixx"}, "etcdx: unknown flag: --prefixx", "etcdx get --help"},
		{[]string{"user", "add", "--nope"}, "etcdx: unknown flag: --nope", "etcdx user add --help"},
		{[]string{"--dial-timeout=soon", "get", "k"}, `etcdx: invalid argument "soon" for "--dial-timeout" flag`, "etcdx get --help"},
	} {
		var stderr bytes.Buffer
		code := Run(t.Context(), c.args, func(string) (string, bool) { return "", false }, Streams{In: strings.NewReader(""), Out: &stderr, Err: &stderr})
		if code != exitUsage || !strings.HasPrefix(stderr.String(), c.line) || !strings.Contains(stderr.String(), "etcdx: hint: "+c.hint) {
			t.Errorf("%q: code %d, said %q", c.args, code, stderr.String())
		}
	}
}

func TestHelpEndsWithTheExitCodes(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Runnable() && c.HasParent() && !strings.Contains(c.Long, "Exit codes:\n    0  done\n") {
			t.Errorf("%s: no exit codes in the help", c.CommandPath())
		}
	}
	walk(fullRoot())
}

// What changes a cluster is refused in a protected context; every command of etcdctl has been looked at.
func TestChangesAreKnown(t *testing.T) {
	harmless := map[string]bool{
		"get": true, "watch": true, "version": true, "completion": true, "options": true, "snapshot save": true,
		"endpoint health": true, "endpoint status": true, "endpoint hashkv": true, "member list": true, "lease list": true, "lease timetolive": true,
		"alarm list": true, "user get": true, "user list": true, "role get": true, "role list": true, "auth status": true, "downgrade validate": true,
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		words := commandWords(c)
		if !c.Runnable() || len(words) == 0 {
			return
		}
		if name := strings.Join(words, " "); changes(words) == harmless[name] {
			t.Errorf("%s: changes the cluster is %v", name, changes(words))
		}
	}
	for _, c := range etcdctlCommands(&cobra.Command{}) {
		parent := &cobra.Command{Use: "etcdx"}
		parent.AddCommand(c)
		walk(c)
	}
}
