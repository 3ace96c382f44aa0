package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// stage is where the demo plays: a cluster, the programs that use it, and the audience.
type stage struct {
	out     io.Writer
	self    string
	cluster *lab.Cluster
	env     []string
	// players are the programs that run at the moment.
	players       []*player
	claims, wrong int

	lock  *player
	watch *player
	// told are the files with all that the watches have printed, oldest first.
	told []string
	next int // the number of the next key to write
}

// open starts the cluster.
func (d *stage) open(ctx context.Context, cfg lab.Config) (err error) {
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	if d.cluster, err = lab.Start(ctx, cfg); err != nil {
		return err
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ETCDCTL_") && !strings.HasPrefix(kv, "ETCDX_") {
			d.env = append(d.env, kv)
		}
	}
	for _, name := range []string{"HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"} {
		dir := d.file(name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		d.env = append(d.env, name+"="+dir)
	}
	d.env = append(d.env, "ETCDCTL_ENDPOINTS="+strings.Join(d.cluster.Endpoints(), ","))
	return nil
}

// close ends what still runs, and makes sure that nothing is left.
func (d *stage) close() error {
	for _, p := range d.players {
		p.end()
	}
	if d.cluster == nil {
		return nil
	}
	if err := d.cluster.Close(); err != nil {
		return err
	}
	if _, err := os.Stat(d.cluster.Dir()); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is left behind: %w", d.cluster.Dir(), err)
	}
	return nil
}

// file returns the path of one of the demo's own files, which go with the cluster's.
func (d *stage) file(name string) string { return filepath.Join(d.cluster.Dir(), "demo-"+name) }

func (d *stage) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// claim says something that was found true, or admits that it is false.
func (d *stage) claim(ok bool, format string, args ...any) {
	d.claims++
	mark := "ok   "
	if !ok {
		d.wrong++
		mark = "FALSE"
	}
	fmt.Fprintf(d.out, "  %s  %s\n", mark, fmt.Sprintf(format, args...))
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
	took     time.Duration
}

// show runs an etcdx command before the audience.
func (d *stage) show(ctx context.Context, args ...string) (result, error) {
	d.say("  $ etcdx %s", strings.Join(args, " "))
	r, err := d.run(ctx, args...)
	if r.out != "" {
		d.say("    %s", strings.ReplaceAll(strings.TrimSpace(r.out), "\n", "\n    "))
	}
	if r.err != "" {
		d.say("    %s", strings.ReplaceAll(strings.TrimSpace(r.err), "\n", "\n    "))
	}
	return r, err
}

// run runs an etcdx command. A code other than 0 is no error.
func (d *stage) run(ctx context.Context, args ...string) (result, error) {
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, d.self, args...)
	c.Env, c.Dir, c.Stdout, c.Stderr = d.env, d.cluster.Dir(), &out, &errs
	began := time.Now()
	err := c.Run()
	r := result{out: out.String(), err: errs.String(), took: time.Since(began)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		r.code, err = exit.ExitCode(), nil
	}
	return r, err
}

// player is an etcdx command that runs while the demo goes on.
type player struct {
	cmd      *exec.Cmd
	out, err string // files
	ended    chan struct{}
	release  func()
}

// begin starts an etcdx command before the audience.
func (d *stage) begin(name string, args ...string) (*player, error) {
	d.say("  $ etcdx %s &", strings.Join(args, " "))
	p := &player{cmd: exec.Command(d.self, args...), out: d.file(name + ".out"), err: d.file(name + ".err"), ended: make(chan struct{})}
	out, err := os.Create(p.out)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	errs, err := os.Create(p.err)
	if err != nil {
		return nil, err
	}
	defer errs.Close()
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = d.env, d.cluster.Dir(), out, errs
	// Ctrl-C is for the demo, which then ends its players in order.
	p.cmd.SysProcAttr = apart()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	pid := p.cmd.Process.Pid
	p.release = func() { _ = d.cluster.Release(pid) }
	if err := d.cluster.Adopt(pid); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	d.players = append(d.players, p)
	return p, nil
}

// kill ends the player as SIGKILL does.
func (p *player) kill() {
	p.release()
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// endGrace is how long a player may take to end when asked to.
const endGrace = 3 * time.Second

// end asks the player to end, and then kills it.
func (p *player) end() {
	p.release()
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(endGrace):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

func (p *player) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// patience is how long the demo waits for something that should happen soon, on a busy machine.
const patience = 10 * time.Second

// until waits until ok, for at most patience; it returns whether it came so far. The error is that of ctx.
func until(ctx context.Context, ok func() bool) (bool, error) {
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return false, err
		}
	}
	return true, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
