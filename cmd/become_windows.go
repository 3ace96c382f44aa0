package cmd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// become runs file with args and ends with its exit code; a process can't be replaced here.
func become(ctx context.Context, s Streams, file string, args []string) error {
	c := exec.CommandContext(ctx, file, args...)
	c.Stdin, c.Stdout, c.Stderr = s.In, s.Out, s.Err
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return codeError{code: exit.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", file, err)
	}
	return nil
}
