package checkpoint

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Disk is the file system as this package uses it; OS is the real one.
type Disk interface {
	OpenFile(path string, flag int, mode fs.FileMode) (Handle, error)
	Rename(from, to string) error
	// Link gives the file from a second name, which must be free.
	Link(from, to string) error
	Remove(path string) error
	// SyncDir makes the names in a directory survive a loss of power.
	SyncDir(dir string) error
}

// Handle is an open file.
type Handle interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written survive a loss of power.
	Sync() error
	// Lock takes the file for this process; false: another one has it.
	Lock() (bool, error)
}

// File is a checkpoint that this process holds. It belongs to one goroutine.
type File struct {
	disk  Disk
	path  string
	h     Handle
	slot  int // bytes
	state State
	// last is the slot with the latest state, synced the one with the latest state that is synced: neither is written next.
	last, synced int
}

// Create makes a new checkpoint with state s. An existing one is an error that wraps fs.ErrExist.
func Create(disk Disk, path string, s State) (*File, error) {
	if _, err := Read(disk, path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		return nil, err
	}
	slot, err := slotFor(s)
	if err != nil {
		return nil, &WriteError{path, err}
	}
	f := &File{disk: disk, path: path, slot: slot, state: s}
	if err := f.replace(); err != nil {
		return nil, &WriteError{path, err}
	}
	return f, nil
}

// Open reads the checkpoint at path and takes it for this process. The errors are *InUseError, *CorruptError,
// *NewerError, and those of the file system.
func Open(disk Disk, path string) (*File, error) {
	// A symbolic link is followed once, here: replacing the file must replace what it points to, not the link.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	h, err := disk.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	f := &File{disk: disk, path: path, h: h}
	locked, err := h.Lock()
	if err == nil && !locked {
		s, _ := Read(disk, path)
		err = &InUseError{Path: path, Writer: s.Writer}
	}
	if err == nil {
		err = f.load()
	}
	if err == nil {
		// What was read may be in the kernel's memory only, left there by a process that was killed.
		if err = h.Sync(); err != nil {
			err = &WriteError{path, err}
		}
	}
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	return f, nil
}

// Read returns the state at path without taking it.
func Read(disk Disk, path string) (State, error) {
	h, err := disk.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return State{}, err
	}
	f := &File{disk: disk, path: path, h: h}
	err = f.load()
	return f.state, errors.Join(err, h.Close())
}

func (f *File) load() error {
	head := make([]byte, headBytes)
	if _, err := f.h.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var err error
	if f.slot, err = parseHead(f.path, head); err != nil {
		return err
	}
	all := make([]byte, slots*f.slot)
	// A file that ends early has lost slots; the checksums tell which.
	if _, err := f.h.ReadAt(all, int64(f.slot)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.state, f.last, err = newest(f.path, all, f.slot)
	f.synced = f.last
	return err
}

// Path is where the checkpoint is.
func (f *File) Path() string { return f.path }

// Trusted returns an *UntrustedError if the file belongs to another user who is not root, or if everybody may write it.
// Whoever does what a checkpoint says, such as running its handler, asks first.
func (f *File) Trusted() error {
	h, ok := f.h.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return nil
	}
	info, err := h.Stat()
	if err != nil {
		return err
	}
	if why := untrusted(info); why != "" {
		return &UntrustedError{f.path, why}
	}
	return nil
}

// State returns the last state that was put or read.
func (f *File) State() State { return f.state }

// Dirty says whether the last state waits for Sync.
func (f *File) Dirty() bool { return f.last != f.synced }

// Put replaces the state. It survives the death of this process at once, and that of the machine after the next Sync.
// Seq and Format are set here. It returns a *WriteError.
func (f *File) Put(s State) error {
	s.Format, s.Seq = Format, f.state.Seq+1
	b, err := encode(s, f.slot)
	if err == nil && b == nil && s.Anchor != nil {
		s.Anchor = nil // evidence only: a long key must not stop the watch
		b, err = encode(s, f.slot)
	}
	if err == nil && b == nil {
		err = errors.New("the state does not fit into its slot")
	}
	next := f.free()
	if err == nil {
		_, err = f.h.WriteAt(b, int64(f.slot)*int64(1+next))
	}
	if err != nil {
		return &WriteError{f.path, err}
	}
	f.state, f.last = s, next
	return nil
}

// free returns a slot that holds neither the latest state nor the latest synced one.
func (f *File) free() int {
	next := 0
	for next == f.last || next == f.synced {
		next++
	}
	return next
}

// Sync makes the last state survive a loss of power. It returns a *WriteError.
func (f *File) Sync() error {
	if !f.Dirty() {
		return nil
	}
	if err := f.h.Sync(); err != nil {
		// After a failed fsync the kernel may have dropped the pages and call the next one a success, so this file is
		// not trusted again: a new one takes its place (see "fsyncgate", PostgreSQL 2018).
		if again := f.replace(); again != nil {
			return &WriteError{f.path, errors.Join(err, again)}
		}
		return nil
	}
	f.synced = f.last
	return nil
}

// Close syncs, and lets the checkpoint go.
func (f *File) Close() error {
	return errors.Join(f.Sync(), f.h.Close())
}

// replace writes the state to a new file and puts it in the place of the old one, locked before it is visible.
func (f *File) replace() error {
	tmp := f.path + "." + rand.Text()[:8] + ".tmp"
	h, err := f.disk.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	f.state.Format, f.state.Seq = Format, f.state.Seq+1
	if err := f.fill(h); err != nil {
		return errors.Join(err, h.Close(), f.disk.Remove(tmp))
	}
	if err := f.name(tmp); err != nil {
		return errors.Join(err, h.Close(), f.disk.Remove(tmp))
	}
	if f.h != nil {
		_ = f.h.Close()
	}
	f.h, f.last, f.synced = h, 0, 0
	return f.disk.SyncDir(filepath.Dir(f.path))
}

// name gives the new file tmp its name. A first file takes a free name only: of two processes that create the same
// checkpoint at once, one must fail.
func (f *File) name(tmp string) error {
	if f.h != nil {
		return f.disk.Rename(tmp, f.path)
	}
	if err := f.disk.Link(tmp, f.path); err != nil {
		return err
	}
	return f.disk.Remove(tmp)
}

// fill writes a whole file: its head and the state in the first slot.
func (f *File) fill(h Handle) error {
	if ok, err := h.Lock(); err != nil || !ok {
		return errors.Join(err, errors.New("the new file cannot be locked"))
	}
	b, err := encode(f.state, f.slot)
	if err == nil && b == nil {
		err = errors.New("the state does not fit into its slot")
	}
	if err != nil {
		return err
	}
	if _, err := h.WriteAt(headLine(f.slot), 0); err != nil {
		return err
	}
	if _, err := h.WriteAt(b, int64(f.slot)); err != nil {
		return err
	}
	// The other slots are blank but there, so that a full disk cannot refuse them later.
	if _, err := h.WriteAt(pad(nil, (slots-1)*f.slot), int64(2*f.slot)); err != nil {
		return err
	}
	return h.Sync()
}
