package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// member is one etcd server: its two proxies, which last, and its process, which may come and go.
type member struct {
	index        int
	client, peer *proxy
	// clientAddr and peerAddr are where the process really listens. They change with every start.
	clientAddr, peerAddr string
	proc                 *process
	stopped              bool
	logStart             int64 // where the process' part of the log begins
}

func (c *Cluster) newMember(i int) (*member, error) {
	port := 0
	if c.cfg.Port != 0 {
		port = c.cfg.Port + i
	}
	m := &member{index: i}
	var err error
	if m.client, err = c.net.openProxy(i, false, port); err != nil {
		return nil, err
	}
	m.peer, err = c.net.openProxy(i, true, 0)
	return m, err
}

// startAll starts every member that does not run, all at once, and waits until the cluster serves. state is
// etcd's --initial-cluster-state.
func (c *Cluster) startAll(ctx context.Context, state string) error {
	errs := make(chan error)
	started := 0
	for _, m := range c.members {
		if m.proc != nil && m.proc.running() {
			continue
		}
		started++
		go func() { errs <- c.startMember(ctx, m, state) }()
	}
	// One member's reason is enough: they are alike.
	var first error
	for range started {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	if first != nil {
		return first
	}
	return c.ready(ctx)
}

// startAttempts is how often a member is given other ports after it ended at once: another process may be faster to take one.
const startAttempts = 3

// startMember starts m and opens its proxies once it serves.
//
// A member that starts asks the others whether they know it already, and waits up to a second for each that has its port
// open without serving yet. So its peers are let through to it only when it serves.
func (c *Cluster) startMember(ctx context.Context, m *member, state string) error {
	var err error
	for range startAttempts {
		if err = c.launch(m, state); err != nil {
			break
		}
		if err = c.waitServing(ctx, m); err == nil {
			return errors.Join(m.peer.up(m.peerAddr), m.client.up(m.clientAddr))
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return fmt.Errorf("start %s: %w", name(m.index), err)
}

// launch starts m's process.
func (c *Cluster) launch(m *member, state string) (err error) {
	if m.clientAddr, err = freeAddr(); err != nil {
		return err
	}
	if m.peerAddr, err = freeAddr(); err != nil {
		return err
	}
	args := append(c.memberArgs(m, state), c.cfg.Args...)
	var cmd *exec.Cmd
	if c.cfg.Binary != "" {
		cmd = exec.Command(c.cfg.Binary, args...)
		cmd.Env = cleanEnv()
	} else if cmd, err = reexec(roleMember, args...); err != nil {
		return err
	}
	cmd.Dir = c.dir
	log, err := os.OpenFile(c.LogFile(m.index), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if m.logStart, err = log.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if m.proc, err = startProcess(cmd, log); err != nil {
		return err
	}
	m.stopped = false
	c.net.change(func() { c.net.pids[m.index] = m.proc.cmd.Process.Pid })
	return c.guard.watch(m.proc.cmd.Process.Pid)
}

func (c *Cluster) memberArgs(m *member, state string) []string {
	args := []string{
		"--name=" + name(m.index),
		"--data-dir=" + c.dataDir(m.index),
		"--listen-client-urls=" + c.scheme() + "://" + m.clientAddr,
		"--advertise-client-urls=" + c.scheme() + "://" + m.client.addr,
		"--listen-peer-urls=http://" + m.peerAddr,
		"--initial-advertise-peer-urls=" + m.peerURL(),
		"--initial-cluster=" + c.initialCluster(),
		"--initial-cluster-state=" + state,
		"--initial-cluster-token=" + c.token(),
		"--heartbeat-interval=" + strconv.FormatInt(c.cfg.Heartbeat.Milliseconds(), 10),
		"--election-timeout=" + strconv.FormatInt(c.cfg.Election.Milliseconds(), 10),
		"--logger=zap",
		"--log-outputs=stderr",
	}
	if !c.cfg.Fsync {
		args = append(args, "--unsafe-no-fsync")
	}
	return append(args, c.pki.memberArgs...)
}

func (c *Cluster) initialCluster() string {
	var all []string
	for _, m := range c.members {
		all = append(all, name(m.index)+"="+m.peerURL())
	}
	return strings.Join(all, ",")
}

func (c *Cluster) token() string  { return filepath.Base(c.dir) }
func (m *member) peerURL() string { return "http://" + m.peer.addr }

func (c *Cluster) dataDir(i int) string { return filepath.Join(c.dir, name(i)) }

// LogFile returns the file with member i's log.
func (c *Cluster) LogFile(i int) string { return filepath.Join(c.dir, name(i)+".log") }

// kill ends m's process at once, if it runs. Its ports refuse connections from then on.
func (c *Cluster) kill(m *member) error { return c.end(m, (*process).kill) }

// terminate ends m's process by SIGTERM, if it runs.
func (c *Cluster) terminate(m *member) error {
	return c.end(m, func(p *process) {
		if m.stopped {
			_ = p.cont()
		}
		p.terminate(endGrace)
	})
}

func (c *Cluster) end(m *member, by func(*process)) error {
	if !m.proc.running() {
		return nil
	}
	// The ports close first: after the process has gone, nobody is to find a port open without a server.
	m.client.down()
	m.peer.down()
	by(m.proc)
	return c.guard.forget(m.proc.cmd.Process.Pid)
}

// endGrace is how long a member may take to end before it is killed.
const endGrace = 5 * time.Second

// waitServing waits until m answers its peers.
func (c *Cluster) waitServing(ctx context.Context, m *member) error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.peerAddr+"/version", nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not serve: %w", context.Cause(ctx))
		case <-m.proc.ended:
			return fmt.Errorf("it ended: %s", c.lastWords(m.index))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// lastWords returns why member i says that it ended.
func (c *Cluster) lastWords(i int) string {
	log, err := os.ReadFile(c.LogFile(i))
	if err != nil {
		return err.Error()
	}
	return cause(string(log[min(c.members[i].logStart, int64(len(log))):]))
}

// cause finds in an etcd log why the process ended: in its last line with an error, or in its first line if that is no log
// entry, as after a wrong flag.
func cause(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for _, line := range slices.Backward(lines) {
		var entry struct{ Level, Msg, Error string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Error != "" {
			return entry.Msg + ": " + entry.Error
		}
	}
	if strings.HasPrefix(lines[0], "{") {
		return lines[len(lines)-1]
	}
	return lines[0]
}
