package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// builder builds programs into a directory, unless they are there.
type builder struct{ dir string }

// here builds a package of the module this is run from. It is built anew each time: it is what is measured.
func (b builder) here(ctx context.Context, name, pkg string) (string, error) {
	file := filepath.Join(b.dir, name)
	return file, command(ctx, ".", "go", "build", "-trimpath", "-o", file, pkg)
}

// server builds the etcd server of a version, in a module of its own.
func (b builder) server(ctx context.Context, version string) (string, error) {
	file := filepath.Join(b.dir, "etcd-"+version)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	module, err := os.MkdirTemp(b.dir, "module-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(module)
	const pkg = "go.etcd.io/etcd/server/v3"
	for _, line := range [][]string{{"mod", "init", "bigrange.test/etcd"}, {"get", pkg + "@v" + version}, {"build", "-trimpath", "-o", file, pkg}} {
		if err := command(ctx, module, "go", line...); err != nil {
			return "", err
		}
	}
	return file, nil
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

const prefix = "bigrange/"

// withServer runs do against one member that holds the keys.
func withServer(ctx context.Context, binary string, s settings, do func(endpoint string) ([]result, error)) ([]result, error) {
	data, err := os.MkdirTemp(s.dir, "data-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(data)
	client, peer, err := freePorts()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "--name", "m1", "--data-dir", data, "--log-level", "error", "--unsafe-no-fsync",
		"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "m1=http://"+peer,
		"--max-txn-ops", "10000", "--quota-backend-bytes", "8000000000")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if err := load(ctx, client, s); err != nil {
		return nil, fmt.Errorf("load the keys: %w", err)
	}
	return do(client)
}

// freePorts returns two addresses on which nothing listens.
func freePorts() (a, b string, err error) {
	for _, addr := range []*string{&a, &b} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		*addr = l.Addr().String()
	}
	return a, b, nil
}

// load puts the keys, in transactions of up to 1,000.
func load(ctx context.Context, endpoint string, s settings) error {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer c.Close()
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, s.size)
	for i := 0; i < s.keys; {
		var ops []clientv3.Op
		for size := 0; i < s.keys && len(ops) < 1000 && size < 1<<20; i++ {
			for j := range value {
				value[j] = byte('a' + random.IntN(26))
			}
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%09d", prefix, i), string(value)))
			size += s.size + 64
		}
		tctx, cancel := context.WithTimeout(ctx, time.Minute)
		_, err := c.Txn(tctx).Then(ops...).Commit()
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
