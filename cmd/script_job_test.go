//go:build unix

package cmd

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
)

// job is a program that runs beside the script.
type job struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// jobFlags returns a flag set for a verb whose flags end at its first argument.
func jobFlags(verb string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(verb, pflag.ContinueOnError)
	fs.SetInterspersed(false)
	fs.SetOutput(io.Discard)
	return fs
}

// bgVerb starts a program beside the script: bg [--stdin FILE] NAME PROGRAM ARG... Its output goes to NAME.out and NAME.err,
// where waitfor and grep can see it at once; testscript's own "exec ... &" shows it only at the end.
func bgVerb(ts *testscript.TestScript, neg bool, args []string) {
	fs := jobFlags("bg")
	stdin := fs.String("stdin", "", "")
	ts.Check(fs.Parse(args))
	if neg || fs.NArg() < 2 {
		ts.Fatalf("usage: bg [--stdin FILE] NAME PROGRAM ARG...")
	}
	s, name := scriptOf(ts), fs.Arg(0)
	if old := s.jobs[name]; old != nil && old.running() {
		ts.Fatalf("job %s still runs", name)
	}
	ts.Check(ts.Exec("printenv0"))
	env := strings.Split(ts.ReadFile("stdout"), "\x00")
	cmd := exec.Command(lookPath(env, fs.Arg(1)), fs.Args()[2:]...)
	cmd.Args[0] = fs.Arg(1)
	cmd.Env, cmd.Dir = env, ts.MkAbs(".")
	ts.Check(s.startJob(ts, name, cmd, *stdin))
}

func (s *script) startJob(ts *testscript.TestScript, name string, cmd *exec.Cmd, stdin string) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, end := range []string{".out", ".err"} {
		f, err := os.Create(ts.MkAbs(name + end))
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	if stdin != "" {
		f, err := os.Open(ts.MkAbs(stdin))
		if err != nil {
			return err
		}
		files = append(files, f)
		cmd.Stdin = f
	}
	cmd.SysProcAttr = jobGroup()
	if err := cmd.Start(); err != nil {
		return err
	}
	j := &job{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(j.ended)
	}()
	s.jobs[name] = j
	ts.Setenv("PID_"+name, strconv.Itoa(cmd.Process.Pid))
	return nil
}

// lookPath finds a program on the PATH of env.
func lookPath(env []string, program string) string {
	if strings.ContainsRune(program, filepath.Separator) {
		return program
	}
	for _, kv := range env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			file := filepath.Join(dir, program)
			if info, err := os.Stat(file); err == nil && !info.IsDir() {
				return file
			}
		}
	}
	return program
}

func (j *job) running() bool {
	select {
	case <-j.ended:
		return false
	default:
		return true
	}
}

// exitCode returns the code of a job that has ended, 128+n if signal n ended it.
func exitCode(state *os.ProcessState) int {
	if n := signalOf(state); n > 0 {
		return 128 + n
	}
	return state.ExitCode()
}

// signalVerb sends a signal to a job, and to nothing that the job started: signal TERM NAME.
func signalVerb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME-OF-SIGNAL JOB")
	}
	sig, ok := signals()[strings.TrimPrefix(args[0], "SIG")]
	j := scriptOf(ts).jobs[args[1]]
	if !ok || j == nil {
		ts.Fatalf("no such signal or job: %q", args)
	}
	if !j.running() {
		ts.Fatalf("job %s has ended already: %v", args[1], j.cmd.ProcessState)
	}
	ts.Check(j.cmd.Process.Signal(sig))
}

// endedVerb waits for a job's end and checks its exit code: ended [--within 10s] NAME CODE.
func endedVerb(ts *testscript.TestScript, neg bool, args []string) {
	fs := jobFlags("ended")
	within := fs.Duration("within", 10*time.Second, "")
	ts.Check(fs.Parse(args))
	j := scriptOf(ts).jobs[fs.Arg(0)]
	want, err := strconv.Atoi(fs.Arg(1))
	if neg || j == nil || err != nil {
		ts.Fatalf("usage: ended [--within DURATION] JOB CODE")
	}
	select {
	case <-j.ended:
	case <-time.After(*within):
		ts.Fatalf("job %s has not ended after %v", fs.Arg(0), *within)
	}
	if code := exitCode(j.cmd.ProcessState); code != want {
		ts.Fatalf("job %s ended with %d, want %d\n[stdout]\n%s[stderr]\n%s", fs.Arg(0), code, want,
			ts.ReadFile(fs.Arg(0)+".out"), ts.ReadFile(fs.Arg(0)+".err"))
	}
}

// poll is how often the verbs that wait look again.
const poll = 10 * time.Millisecond

// waitforVerb waits until a file matches: waitfor [--within 10s] [--count N] REGEXP FILE. "! waitfor" wants it not to, all that time.
func waitforVerb(ts *testscript.TestScript, neg bool, args []string) {
	fs := jobFlags("waitfor")
	within := fs.Duration("within", 10*time.Second, "")
	count := fs.Int("count", 1, "")
	ts.Check(fs.Parse(args))
	if fs.NArg() != 2 {
		ts.Fatalf("usage: waitfor [--within DURATION] [--count N] REGEXP FILE")
	}
	re, err := regexp.Compile("(?m)" + fs.Arg(0))
	ts.Check(err)
	file := ts.MkAbs(fs.Arg(1))
	for deadline := time.Now().Add(*within); ; time.Sleep(poll) {
		text, _ := os.ReadFile(file)
		found := len(re.FindAllIndex(text, *count)) >= *count
		switch {
		case found && neg:
			ts.Fatalf("%s matches %q\n%s", fs.Arg(1), fs.Arg(0), text)
		case found:
			return
		case time.Now().After(deadline) && neg:
			return
		case time.Now().After(deadline):
			ts.Fatalf("%s does not match %q (%d times) after %v:\n%s", fs.Arg(1), fs.Arg(0), *count, *within, text)
		}
	}
}

// goneVerb waits until the process has gone whose ID is given or in a file: gone [--within 10s] PID|FILE. "! gone" checks that it lives.
func goneVerb(ts *testscript.TestScript, neg bool, args []string) {
	fs := jobFlags("gone")
	within := fs.Duration("within", 10*time.Second, "")
	ts.Check(fs.Parse(args))
	if fs.NArg() != 1 {
		ts.Fatalf("usage: gone [--within DURATION] PID|FILE")
	}
	pid, err := strconv.Atoi(fs.Arg(0))
	if err != nil {
		pid, err = strconv.Atoi(strings.TrimSpace(ts.ReadFile(fs.Arg(0))))
		ts.Check(err)
	}
	if neg {
		if !processLives(pid) {
			ts.Fatalf("process %d has gone", pid)
		}
		return
	}
	for deadline := time.Now().Add(*within); processLives(pid); time.Sleep(poll) {
		if time.Now().After(deadline) {
			ts.Fatalf("process %d still lives after %v", pid, *within)
		}
	}
}

// exitcodeVerb runs a program and checks its exact exit code: exitcode [--within D] CODE PROGRAM ARG... (128+n: ended by signal n).
func exitcodeVerb(ts *testscript.TestScript, neg bool, args []string) {
	fs := jobFlags("exitcode")
	within := fs.Duration("within", 0, "")
	ts.Check(fs.Parse(args))
	want, err := strconv.Atoi(fs.Arg(0))
	if neg || err != nil || fs.NArg() < 2 {
		ts.Fatalf("usage: exitcode [--within DURATION] CODE PROGRAM ARG...")
	}
	began := time.Now()
	err = ts.Exec(fs.Arg(1), fs.Args()[2:]...)
	took := time.Since(began)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exitCode(exit.ProcessState)
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	if *within > 0 && took > *within {
		ts.Fatalf("took %v, more than %v", took.Round(time.Millisecond), *within)
	}
}
