//go:build unix

package checkpoint

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

type osFile struct{ *os.File }

// Lock takes flock(2), which the kernel gives back when the process ends, however it ends.
func (f *osFile) Lock() (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return f.current(), nil
}

// current says whether the name still leads to this file: its last holder may have put another one in its place between
// our open and our lock.
func (f *osFile) current() bool {
	mine, err1 := f.Stat()
	named, err2 := os.Stat(f.Name())
	return err1 == nil && err2 == nil && os.SameFile(mine, named)
}

// noFollow makes opening a symbolic link fail.
const noFollow = unix.O_NOFOLLOW

// untrusted says why others than this user and root could have written a file; empty: they could not.
func untrusted(info os.FileInfo) string {
	if info.Mode().Perm()&0o002 != 0 {
		return "every user of this machine can write it"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return "it belongs to another user"
	}
	return ""
}

// SyncDir fsyncs the directory, without which a new name may be gone after a loss of power.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
