// Command watchcampaign kills "etcdx resume" at random instants, a thousand times, on a busy cluster whose members are
// killed, stopped, cut off and compacted meanwhile, and then checks what its handler was given against what was written:
//
//	go run ./scripts/watchcampaign -kills 1000
//
// With -tool etcdctl the same is done to "etcdctl watch", restarted from the revision after the last one it printed; the
// checker is expected to fail it.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/lab"
)

const prefix = "c/"

type settings struct {
	kills         int
	tool, program string
	seed          uint64
	server        string
	calm          bool
}

func main() {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	var s settings
	flag.IntVar(&s.kills, "kills", 1000, "how often to kill the watch")
	flag.StringVar(&s.tool, "tool", "etcdx", "etcdx or etcdctl")
	flag.StringVar(&s.program, "program", "", "the program to run (default: built here)")
	flag.Uint64Var(&s.seed, "seed", 1, "seed of all that is random here")
	flag.StringVar(&s.server, "server", "", "etcd executable (default: the linked one)")
	flag.BoolVar(&s.calm, "calm", false, "leave the members alone: kills and compactions only")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "watchcampaign:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "watchcampaign-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.program == "" {
		s.program = filepath.Join(dir, s.tool)
		pkg := map[string]string{"etcdx": ".", "etcdctl": "go.etcd.io/etcd/etcdctl/v3"}[s.tool]
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", s.program, pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", s.tool, err, out)
		}
	}
	c, err := lab.Start(ctx, lab.Config{Binary: s.server})
	if err != nil {
		return err
	}
	defer c.Close()
	w := &writer{cluster: c, rand: rand.New(rand.NewPCG(s.seed, 1)), truth: map[int64]int{}}
	f := &faults{cluster: c, rand: rand.New(rand.NewPCG(s.seed, 2)), counts: map[string]int{}, calm: s.calm}
	busy, rest := context.WithCancel(ctx)
	done := make(chan struct{}, 2)
	go func() { w.run(busy); done <- struct{}{} }()
	go func() { f.run(busy); done <- struct{}{} }()
	t := &target{settings: s, dir: dir, endpoints: c.Endpoints(), rand: rand.New(rand.NewPCG(s.seed, 3)), check: newChecker()}
	begun := time.Now()
	err = t.kill(ctx, s.kills)
	rest()
	<-done
	<-done
	if err != nil {
		return err
	}
	if err := c.Heal(); err != nil {
		return err
	}
	if err := c.Ready(ctx); err != nil {
		return err
	}
	state, rev, err := w.state(ctx)
	if err != nil {
		return err
	}
	if err := t.catchUp(ctx, rev); err != nil {
		return err
	}
	fmt.Printf("%s: %d kills in %v; %d revisions written for certain; faults: %v\n", s.tool, s.kills, time.Since(begun).Round(time.Second), len(w.truth), f.counts)
	return t.check.verdict(w.truth, state)
}

// target is the watch that is killed.
type target struct {
	settings
	dir       string
	endpoints []string
	rand      *rand.Rand
	check     *checker
	runs      int
	next      int64 // etcdctl: the revision to start from
}

// kill runs the watch for a moment and kills it, n times. Now and then it stays away for a while.
func (t *target) kill(ctx context.Context, n int) error {
	for range n {
		life := time.Duration(t.rand.ExpFloat64() * float64(200*time.Millisecond))
		if t.rand.IntN(25) == 0 {
			life = 0
		}
		if err := t.once(ctx, func() { time.Sleep(min(life, 2*time.Second)) }); err != nil {
			return err
		}
		if t.rand.IntN(10) == 0 {
			time.Sleep(time.Duration(t.rand.IntN(700)) * time.Millisecond)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// once starts the watch, lets it live while alive runs, kills it, and gives the checker what it printed.
func (t *target) once(ctx context.Context, alive func()) error {
	t.runs++
	name := filepath.Join(t.dir, fmt.Sprintf("run-%05d", t.runs))
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	cmd := exec.CommandContext(ctx, t.program, t.args()...)
	cmd.Stdout = out
	cmd.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+join(t.endpoints), "XDG_STATE_HOME="+t.dir)
	errs, err := os.Create(filepath.Join(t.dir, "stderr"))
	if err != nil {
		return err
	}
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	lived := make(chan struct{})
	go func() { alive(); close(lived) }()
	select {
	case <-lived:
		_ = cmd.Process.Kill()
		<-ended
	case err := <-ended:
		if t.tool == "etcdx" {
			text, _ := os.ReadFile(errs.Name())
			return fmt.Errorf("run %d ended by itself: %w\n%s", t.runs, err, text)
		}
		<-lived
	}
	if err := errsClose(out, errs); err != nil {
		return err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if t.tool == "etcdctl" {
		t.next = t.check.takeEtcdctl(t.runs, data, t.next)
		return nil
	}
	s, err := checkpoint.Read(checkpoint.OS{}, t.file())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return t.check.take(t.runs, data, s.Rev)
}

func errsClose(files ...*os.File) error {
	for _, f := range files {
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) file() string { return filepath.Join(t.dir, "campaign") }

func (t *target) args() []string {
	if t.tool == "etcdctl" {
		return []string{"watch", "--prefix", prefix, "-w", "json", "--rev", fmt.Sprint(max(t.next, 1))}
	}
	return []string{"watch", "--prefix", prefix, "--checkpoint", t.file(), "-w", "jsonl"}
}

// catchUp lets the watch live until it has seen the last revision.
func (t *target) catchUp(ctx context.Context, rev int64) error {
	if t.tool == "etcdctl" {
		return t.once(ctx, func() { time.Sleep(5 * time.Second) })
	}
	late := false
	err := t.once(ctx, func() {
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			s, err := checkpoint.Read(checkpoint.OS{}, t.file())
			if err == nil && s.Rev >= rev && s.Phase == "live" {
				return
			}
			if time.Now().After(end) {
				late = true
				return
			}
		}
	})
	if late {
		return fmt.Errorf("the watch did not reach revision %d within 30 s", rev)
	}
	return err
}

func join(eps []string) string {
	text := ""
	for i, e := range eps {
		if i > 0 {
			text += ","
		}
		text += e
	}
	return text
}

// client connects past the proxies, which no fault of the network touches.
func client(c *lab.Cluster) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: c.Direct(), DialTimeout: time.Second})
}
