//go:build unix && !linux

package lab

// awaitStop cannot tell here whether the child has stopped yet.
func awaitStop(int) {}
