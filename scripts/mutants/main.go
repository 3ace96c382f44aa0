// Command mutants takes one protection out of etcdx at a time and shows that the proof for it then fails: tests, or the fault campaign.
// The source is left alone: the compiler is given the changed file in its place (go build -overlay).
//
//	go run ./scripts/mutants                  # those that tests find, a few minutes
//	go run ./scripts/mutants -campaign        # those that the campaign finds, about a minute each; on Linux
//	go run ./scripts/mutants -list
//
// It ends with 1 if a change was not found. Each is described in docs/guarantees.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	var o options
	flag.BoolVar(&o.campaign, "campaign", false, "run those that the fault campaign finds")
	flag.BoolVar(&o.list, "list", false, "say what there is, and run nothing")
	only := flag.String("only", "", "run those whose names match this `expression`")
	flag.IntVar(&o.tries, "tries", 3, "runs of the campaign, each with another seed, before a change counts as not found")
	flag.StringVar(&o.logs, "logs", "", "keep what the campaign says about each in this `directory`")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
		defer cancel()
		err = o.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

type options struct {
	campaign, list bool
	only           *regexp.Regexp
	tries          int
	logs           string
}

func (o options) run(ctx context.Context) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "etcdx-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := workshop{root: root, dir: dir, tries: o.tries, logs: o.logs}
	missed := 0
	for _, m := range mutants() {
		if (m.Campaign != "") != o.campaign && !o.list || !o.only.MatchString(m.Name) {
			continue
		}
		if o.list {
			fmt.Printf("%-22s %s: %s\n", m.Name, m.File, m.Protection)
			continue
		}
		found, how, err := w.try(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		word := "found"
		if !found {
			word = "NOT FOUND"
			missed++
		}
		fmt.Printf("| `%s` | %s | %s | %s |\n", m.Name, m.Protection, word, how)
	}
	if missed > 0 {
		return fmt.Errorf("%d changes were not found", missed)
	}
	return nil
}

// workshop is where changed files and programs are.
type workshop struct {
	root, dir string
	tries     int
	logs      string
}

// overlay writes the changed file, and the list that puts it in the place of the original one.
func (w workshop) overlay(m mutant) (list string, err error) {
	original := filepath.Join(w.root, m.File)
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	changed, err := m.apply(string(text))
	if err != nil {
		return "", err
	}
	file := filepath.Join(w.dir, m.Name+".go")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: file}})
	if err != nil {
		return "", err
	}
	list = filepath.Join(w.dir, m.Name+".json")
	return list, os.WriteFile(list, replace, 0o600)
}

func (w workshop) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = w.root
	return cmd
}

func (w workshop) build(ctx context.Context, name, overlay, pkg string) error {
	out, err := w.command(ctx, "go", "build", "-overlay="+overlay, "-o", filepath.Join(w.dir, name), pkg).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return nil
}

// try makes the change, and says whether the proof fails then, and which part of it.
func (w workshop) try(ctx context.Context, m mutant) (found bool, how string, err error) {
	list, err := w.overlay(m)
	if err != nil {
		return false, "", err
	}
	if m.Campaign == "" {
		return w.test(ctx, m, list)
	}
	if err := w.build(ctx, m.Name, list, "."); err != nil {
		return false, "", err
	}
	// The campaign has clients of the connection layer of its own.
	if err := w.build(ctx, "campaign", list, "./scripts/campaign"); err != nil {
		return false, "", err
	}
	for i := range w.tries {
		args := append(strings.Fields(m.Campaign), "--tool", filepath.Join(w.dir, m.Name), "--seed", fmt.Sprint(m.Seed+i))
		if found, how, err = w.run(ctx, m, args); found || err != nil {
			break
		}
	}
	return found, how, err
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	verdict    = regexp.MustCompile(`(?m)^violations: (.*)`)
)

// test runs tests of the changed package. It is no find if they do not compile.
func (w workshop) test(ctx context.Context, m mutant, list string) (found bool, how string, err error) {
	pkg, pattern, _ := strings.Cut(m.Test, " ")
	if out, err := w.command(ctx, "go", "vet", "-overlay="+list, pkg).CombinedOutput(); err != nil {
		return false, "", fmt.Errorf("the change does not compile: %w: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	out, err := w.command(ctx, "go", "test", "-overlay="+list, "-count=1", "-timeout=4m", "-run="+pattern, pkg).CombinedOutput()
	if err == nil {
		return false, "passes: `" + pattern + "`", nil
	}
	all := failedTest.FindAllSubmatch(out, -1)
	if len(all) == 0 {
		if bytes.Contains(out, []byte("panic: test timed out")) {
			return true, "`" + pattern + "` hangs", nil
		}
		return false, "", fmt.Errorf("no test failed, but: %w: %s", err, out)
	}
	return true, "`" + string(all[len(all)-1][1]) + "`", nil
}

// run runs the campaign on the changed program. It is no find if only other promises than the one that the protection is for are seen broken.
func (w workshop) run(ctx context.Context, m mutant, args []string) (found bool, how string, err error) {
	began := time.Now()
	out, err := w.command(ctx, filepath.Join(w.dir, "campaign"), args...).CombinedOutput()
	exit, _ := errors.AsType[*exec.ExitError](err)
	said := verdict.FindSubmatch(out)
	if said == nil || err != nil && (exit == nil || exit.ExitCode() != 1) {
		return false, "", fmt.Errorf("campaign %s: %w: %s", strings.Join(args, " "), err, out)
	}
	seed := args[len(args)-1]
	if w.logs != "" {
		if err := os.WriteFile(filepath.Join(w.logs, m.Name+"-"+seed+".log"), out, 0o600); err != nil {
			return false, "", err
		}
	}
	return bytes.Contains(said[1], []byte(m.Rule)), fmt.Sprintf("seed %s, %.0f s: %s", seed, time.Since(began).Seconds(), said[1]), nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("run it inside the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
