package cmd

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// keepsLock says whether a process is the keeper of some lock: it has the variable that keepers have, and that commands under
// a lock have not. Without /proc nobody can tell, and it says yes.
func keepsLock(pid int) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat("/proc/self/environ")
		return err != nil
	}
	return err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+keeperVariable+"="))
}
