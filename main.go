// Command etcdx is etcdctl that does not let go.
package main

import (
	"os"

	"github.com/etcdx/etcdx/cmd"
)

func main() { os.Exit(cmd.Main()) }
