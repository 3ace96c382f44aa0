package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
)

// Extra makes a command that another binary adds to etcdx's own. It has no use of etcdx's settings.
type Extra func(Streams) *cobra.Command

// ExitCode returns an error that ends the program silently, with code.
func ExitCode(code int) error { return codeError{code: code} }

// UsageError returns an error that tells people that they can't run the program in this way.
func UsageError(text string) error { return usageError{text: text} }

// labBinary has the commands that need an etcd server: it is 10 MB larger, and every start of it takes 6 ms longer.
const labBinary = "etcdx-lab"

// addExtras adds the commands that the binary brings along, and stand-ins for those of the lab where it brings none.
func addExtras(root *cobra.Command, g *globals, extras []Extra) {
	for _, extra := range extras {
		c := extra(g.streams)
		// The settings of clients are none of its business.
		c.PersistentPreRunE = g.understood
		root.AddCommand(c)
	}
	if len(extras) == 0 {
		root.AddCommand(
			newElsewhere(g, "lab", "Start a real etcd cluster on this machine, and break it"),
			newElsewhere(g, "demo", "Show in 20 seconds what etcdx holds on to, on a real cluster"),
		)
	}
}

// understood notes that the command line makes sense.
func (g *globals) understood(*cobra.Command, []string) error {
	g.parsed = true
	return nil
}

// newElsewhere makes a command that labBinary runs.
func newElsewhere(g *globals, name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, DisableFlagParsing: true,
		PersistentPreRunE: g.understood,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := findLab()
			if err != nil {
				return err
			}
			return become(cmd.Context(), g.streams, file, append([]string{name}, args...))
		},
	}
}

// labMissingError says that the second binary is not installed.
type labMissingError struct{ beside string }

func (e *labMissingError) Error() string {
	return fmt.Sprintf("%s is neither in %s nor in the PATH", labBinary, e.beside)
}

// findLab returns the lab's binary: the one beside this executable, else that in the PATH.
func findLab() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	file := labBinary
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	beside := filepath.Join(filepath.Dir(self), file)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	if found, err := exec.LookPath(labBinary); err == nil {
		return found, nil
	}
	return "", &labMissingError{beside: filepath.Dir(self)}
}
