package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/watch"
)

const verifyHelp = `Compares a checkpoint's key index with the cluster, and repairs it.

Servers with known bugs can leave events out of a watch without saying so. verify reads
the range at one revision, and sends what the index does not have as a resync to the
checkpoint's own handler. The watch must not be running.`

func newVerify(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "verify <checkpoint>",
		Short:   "Compares a checkpoint's key index with the cluster, and repairs it",
		Long:    verifyHelp,
		Example: "  etcdx verify orders",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, spec, err := g.openCheckpoint(args[0])
			if err != nil {
				return err
			}
			if !spec.TrackKeys {
				return errors.Join(usageError{text: "this checkpoint keeps no key index (--track-keys=false)"}, file.Close())
			}
			k := keptWatch{g: g, spec: spec, file: file, verify: true}
			return k.run(cmd.Context())
		},
	}
}

// differedError says that the index and the cluster differed, and what was done about it.
type differedError struct{ puts, deletes int64 }

func (e *differedError) Error() string {
	return fmt.Sprintf("the index differed from the cluster: %d puts and %d deletes were sent", e.puts, e.deletes)
}

// runVerify brings the handler up to date by a resync that trusts no revision.
func (k keptWatch) runVerify(ctx context.Context, keep *watch.Keep, ev watch.Evidence) error {
	var puts, deletes int64
	deliver := keep.Deliver
	keep.Deliver = func(ctx context.Context, it watch.Item) error {
		if it.Kind == watch.SyncEnd {
			puts, deletes = it.Sync.Puts, it.Sync.Deletes
		}
		return deliver(ctx, it)
	}
	if err := keep.Check(ctx, ev); err != nil {
		return err
	}
	if puts+deletes > 0 {
		return &differedError{puts, deletes}
	}
	return nil
}
