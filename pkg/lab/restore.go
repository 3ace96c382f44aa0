package lab

import (
	"context"
	"fmt"
	"os"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Restore replaces all members' data by what file, written by Snapshot, holds, as an operator does after a disaster: the members end,
// and start again on the old database under their old addresses. Clients see revisions go back. It ends all faults of the network.
func (c *Cluster) Restore(ctx context.Context, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := c.Heal(); err != nil {
		return err
	}
	c.ops.Lock()
	defer c.ops.Unlock()
	for _, m := range c.members {
		if err := c.kill(m); err != nil {
			return err
		}
	}
	for _, m := range c.members {
		if err := c.restoreData(m, file); err != nil {
			return fmt.Errorf("restore %s: %w", name(m.index), err)
		}
	}
	return c.startAll(ctx, "new")
}

// restoreData makes a data directory for m from a snapshot.
func (c *Cluster) restoreData(m *member, file string) error {
	if err := os.RemoveAll(c.dataDir(m.index)); err != nil {
		return err
	}
	return snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath:        file,
		Name:                name(m.index),
		OutputDataDir:       c.dataDir(m.index),
		PeerURLs:            []string{m.peerURL()},
		InitialCluster:      c.initialCluster(),
		InitialClusterToken: c.token(),
	})
}
