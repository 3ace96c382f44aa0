package checkpoint

import (
	"io/fs"
	"os"
)

// OS is the real file system.
type OS struct{}

// OpenFile opens path as os.OpenFile does.
func (OS) OpenFile(path string, flag int, mode fs.FileMode) (Handle, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

// Rename renames as os.Rename does.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Link links as os.Link does.
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Remove removes a file.
func (OS) Remove(path string) error { return os.Remove(path) }
