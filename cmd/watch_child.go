package cmd

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/etcdx/etcdx/pkg/child"
)

// childSpec is a command that a watch runs.
type childSpec struct {
	args, env []string
	in        io.Reader
	out, err  io.Writer
	extra     []*os.File // its file descriptors from 3 on
	mark      string     // by which the next watch finds what this one had to leave
	// grace is what the command gets between the request to stop and its end.
	grace time.Duration
}

func (s childSpec) command() child.Command {
	return child.Command{Args: s.args, Env: s.env, Stdin: s.in, Stdout: s.out, Stderr: s.err, Files: s.extra, Mark: s.mark, Grace: s.grace}
}

// runChild runs the command to its end, which comes with ctx at the latest.
func runChild(ctx context.Context, s childSpec) error { return s.command().Run(ctx) }
