package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newPut(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "put <key> <value>",
		Short: "Puts the given key into the store",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			if _, err := c.Put(ctx, args[0], args[1]); err != nil {
				return fmt.Errorf("put %q: %w", args[0], err)
			}
			fmt.Fprintln(g.streams.Out, "OK")
			return nil
		},
	}
}
