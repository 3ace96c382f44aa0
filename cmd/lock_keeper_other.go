//go:build !linux

package cmd

// keepsLock says whether a process is the keeper of some lock. This system does not tell.
func keepsLock(int) bool { return true }
