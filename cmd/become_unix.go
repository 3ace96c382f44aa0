//go:build unix

package cmd

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// become replaces this process by file, run with args.
func become(_ context.Context, _ Streams, file string, args []string) error {
	err := syscall.Exec(file, append([]string{file}, args...), os.Environ())
	return fmt.Errorf("run %s: %w", file, err)
}
