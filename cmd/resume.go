package cmd

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/checkpoint"
)

const resumeHelp = `Continues the watch that a checkpoint describes: its range, filters and handler.

It starts at the first event that was not handled. If that is compacted away, it sends
what changed and which keys vanished meanwhile, and goes on from there. It refuses a
checkpoint of another cluster, or of one whose history went back, and a file that is
damaged or in use.`

func newResume(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "resume <checkpoint>",
		Short:   "Continues a watch where its checkpoint says",
		Long:    resumeHelp,
		Example: "  etcdx watch --prefix orders/ --checkpoint orders -- ./handle-order   # once\n  etcdx resume orders                                                   # ever after",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, spec, err := g.openCheckpoint(args[0])
			if err != nil {
				return err
			}
			if err := spec.trust(file); err != nil {
				return errors.Join(err, file.Close())
			}
			return keptWatch{g: g, spec: spec, file: file}.run(cmd.Context())
		},
	}
}

// openCheckpoint opens a checkpoint by its name, and returns what it says of its watch. The caller closes the file.
func (g *globals) openCheckpoint(name string) (*checkpoint.File, watchSpec, error) {
	var spec watchSpec
	path, err := g.checkpointPath(name)
	if err != nil {
		return nil, spec, err
	}
	file, err := checkpoint.Open(checkpoint.OS{}, path)
	if err != nil {
		return nil, spec, err
	}
	if err := json.Unmarshal(file.State().Spec, &spec); err != nil {
		return nil, spec, errors.Join(&checkpoint.CorruptError{Path: path, Why: "its spec is not readable"}, file.Close())
	}
	return file, spec, nil
}

// trust refuses to do what the checkpoint says beyond watching, running a command or writing files, if somebody else could
// have written that.
func (s watchSpec) trust(file *checkpoint.File) error {
	if len(s.Exec) == 0 && s.DeadLetter == "" && s.MetricsFile == "" {
		return nil
	}
	return file.Trusted()
}
