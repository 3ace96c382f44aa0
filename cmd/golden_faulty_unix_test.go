//go:build unix

package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// faultVariable names the fault of a faulty program.
const faultVariable = "ETCDX_TEST_FAULT"

// faultyMain is a program that is etcdx but for one fault, and the test's own entry for it. etcdx runs beside it, in a
// process of its own, with the very streams of this one wherever the fault leaves them alone.
func faultyMain() (code int) {
	fault, args := os.Getenv(faultVariable), os.Args[1:]
	if fault == "colour" {
		args = append([]string{"--color=always"}, args...) // the real writers colour
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(os.Args[0]), "etcdx"), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var out bytes.Buffer
	if fault == "value before key" {
		cmd.Stdout = &out
	}
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 99
	}
	if lines := strings.SplitN(out.String(), "\n", 3); len(lines) == 3 && args[0] == "get" {
		fmt.Print(lines[1], "\n", lines[0], "\n", lines[2])
	} else {
		fmt.Print(out.String())
	}
	code = cmd.ProcessState.ExitCode()
	if fault == "flat codes" || fault == "lost code of a lock" && args[0] == "lock" {
		code = min(code, 1)
	}
	return code
}
