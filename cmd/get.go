package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newGet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "get <key>",
		Short: "Gets the key or a range of keys",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			resp, err := c.Get(ctx, args[0])
			if err != nil {
				return fmt.Errorf("get %q: %w", args[0], err)
			}
			for _, kv := range resp.Kvs {
				fmt.Fprintf(g.streams.Out, "%s\n%s\n", kv.Key, kv.Value)
			}
			return nil
		},
	}
}
