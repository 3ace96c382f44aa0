//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/lab"
)

// What is left of a compacted revision is no part of the history, wherever a reader of it has to begin again: the server may have
// lost its deletes.
func TestHistoryHasNoHalfRevision(t *testing.T) {
	t.Parallel()
	servers := []string{""}
	if dir := os.Getenv("ETCDX_ETCD_DIR"); dir != "" {
		others, _ := filepath.Glob(filepath.Join(dir, "etcd-*"))
		servers = append(servers, others...)
	}
	for _, server := range servers {
		t.Run(filepath.Base(server), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), startTime)
			defer cancel()
			cluster, err := lab.Start(ctx, lab.Config{Members: 1, Binary: server})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cluster.Close() }()
			c := &campaign{cluster: cluster, journal: newJournal()}
			both, after := halve(ctx, t, c)
			for _, from := range []int64{2, both} {
				c.truth = newTruth(c)
				left, err := c.truth.read(ctx, from, both, after)
				if left != nil {
					t.Errorf("read from %d: revision %d, which is compacted, is %v", from, both, left)
				}
				if err != nil {
					t.Errorf("read from %d: revision %d is missing: %v", from, after, err)
				}
			}
		})
	}
}

// halve deletes one key and writes another one in one revision, compacts the history there, and writes once more.
func halve(ctx context.Context, t *testing.T, c *campaign) (both, after int64) {
	t.Helper()
	cl, err := c.direct()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	do := func(op clientv3.Op) int64 {
		resp, err := cl.Do(ctx, op)
		if err != nil {
			t.Fatal(err)
		}
		if op.IsTxn() {
			return resp.Txn().Header.Revision
		}
		return resp.Put().Header.Revision
	}
	do(clientv3.OpPut("a", "1"))
	both = do(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("a"), clientv3.OpPut("b", "1")}, nil))
	if _, err := cl.Compact(ctx, both, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	return both, do(clientv3.OpPut("b", "2"))
}

// read follows the only member from a revision on until the last one is recorded, and returns what it knows of another one.
func (t *truth) read(ctx context.Context, from, of, last int64) ([]Change, error) {
	ctx, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	work.Go(func() {
		for next := from; ctx.Err() == nil; {
			next = t.follow(ctx, 0, next)
		}
	})
	for {
		t.mu.Lock()
		got, known, moved := t.history[of], t.history[last] != nil, t.moved
		t.mu.Unlock()
		if known {
			return got, nil
		}
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-moved:
		}
	}
}
