//go:build !linux

package lab

import "net"

const knowsOwners = false

// owner can't find out which process is at the other end of a connection here.
func owner(net.Conn, []int) int { return -1 }

// Family returns the process alone here.
func Family(pid int) []int { return []int{pid} }

// threadsStopped trusts the signal here.
func threadsStopped(int) bool { return true }
