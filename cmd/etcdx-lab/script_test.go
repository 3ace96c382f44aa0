//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"

	"github.com/etcdx/etcdx/cmd"
	"github.com/etcdx/etcdx/pkg/lab"
)

func TestMain(m *testing.M) {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){
		"etcdx-lab": main,
		"etcdx":     func() { os.Exit(cmd.Main()) },
		"etcdctl":   ctlv3.MustStart,
	})
}

// TestScript runs testdata/script/*.txtar: what a user of the lab types, and what it leaves.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"} {
				dir := filepath.Join(env.WorkDir, "."+name)
				if err := os.Mkdir(dir, 0o700); err != nil {
					return err
				}
				env.Setenv(name, dir)
			}
			// A script that fails half-way leaves its labs up.
			env.Defer(func() { killLabs(filepath.Join(env.WorkDir, ".XDG_RUNTIME_DIR", "etcdx-lab")) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"pids": pidsVerb, "gone": goneVerb},
	})
}

// killLabs ends the labs that have a record in dir; their guards do the rest.
func killLabs(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	for _, file := range files {
		var r record
		if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &r) == nil && r.Pid > 0 {
			_ = syscall.Kill(r.Pid, syscall.SIGKILL)
		}
	}
}

// pidsVerb sets PID_m1... and PIDS to the members' processes, and PID_lab to the lab's own: pids [NAME].
func pidsVerb(ts *testscript.TestScript, neg bool, args []string) {
	name := defaultName
	if len(args) == 1 {
		name = args[0]
	}
	ts.Check(ts.Exec("etcdx-lab", "lab", "status", "-w", "json", "--name", name))
	var all []lab.Status
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &all))
	for _, m := range all {
		ts.Setenv("PID_"+m.Name, strconv.Itoa(m.Pid))
	}
	var r record
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(ts.Getenv("XDG_RUNTIME_DIR"), "etcdx-lab", name+".json"))), &r))
	ts.Setenv("PID_lab", strconv.Itoa(r.Pid))
}

// goneVerb waits up to 5 s until processes have ended: gone PID...; "! gone" wants all to live.
func goneVerb(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		ts.Check(err)
		if neg {
			if !lives(pid) {
				ts.Fatalf("process %d has ended", pid)
			}
			continue
		}
		for deadline := time.Now().Add(5 * time.Second); lives(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				ts.Fatalf("process %d lives", pid)
			}
		}
	}
}

// lives says whether pid is a process that has not ended. One that its parent has not waited for yet has.
func lives(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	for i := len(stat) - 1; i > 1; i-- {
		if stat[i] == ')' {
			return i+2 >= len(stat) || stat[i+2] != 'Z'
		}
	}
	return true
}
