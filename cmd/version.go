package cmd

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/version"
)

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the version of etcdctl",
		Long: `Prints the version of etcdctl that the commands, their flags and their output are those of, the version of the
API, and etcdx's own version (not under the name etcdctl).`,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(g.streams.Out, "etcdctl version: %s\nAPI version: %s\n", version.Version, version.APIVersion)
			if err == nil && !g.asEtcdctl {
				_, err = fmt.Fprintln(g.streams.Out, "etcdx version:", ownVersion())
			}
			return err
		},
	}
}

// ownVersion is the module's version as the Go tool recorded it: a tag, or the commit's time and hash.
func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
