//go:build unix

package config

import (
	"os"
	"syscall"
)

// ownerOf returns the user ID of a file's owner.
func ownerOf(info os.FileInfo) (uid int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
