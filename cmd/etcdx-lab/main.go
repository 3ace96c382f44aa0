// Command etcdx-lab is etcdx together with real etcd servers: it starts clusters on this machine, and breaks them.
package main

import (
	"os"

	"github.com/etcdx/etcdx/cmd"
	"github.com/etcdx/etcdx/pkg/lab"
)

func main() {
	if code, was := lab.RunIfMember(); was {
		os.Exit(code)
	}
	os.Exit(cmd.Main(append(shortcuts(), newLab, newDemo, newWork)...))
}
