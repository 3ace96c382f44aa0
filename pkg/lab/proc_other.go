//go:build !linux

package lab

import "net"

const knowsOwners = false

// owner can't find out which process is at the other end of a connection here.
func owner(net.Addr, []int) int { return -1 }

// threadsStopped trusts the signal here.
func threadsStopped(int) bool { return true }
