package checkpoint

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

type osFile struct{ *os.File }

// Lock locks a byte far behind the file's end: Windows keeps everybody else from reading what is locked, and show and
// compact-check read a checkpoint that is in use.
func (f *osFile) Lock() (bool, error) {
	at := &windows.Overlapped{OffsetHigh: 1 << 20}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return false, nil
	}
	return err == nil, err
}

// noFollow is nothing: making symbolic links needs a privilege on Windows.
const noFollow = 0

// untrusted says nothing: Windows has no permission bits.
func untrusted(os.FileInfo) string { return "" }

// SyncDir does nothing: Windows has no way to flush a directory.
func (OS) SyncDir(string) error { return nil }
