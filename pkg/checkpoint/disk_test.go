package checkpoint

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
)

// faultyDisk is a disk in memory that keeps apart what was written and what was synced. Before each call it counts down,
// and at zero it fails that call or "kills" the process: every later call fails too.
type faultyDisk struct {
	files   map[string]*content // by name, as this process sees it
	durable map[string]*content // names as they are after a loss of power
	left    int                 // calls until the fault; negative: none
	err     error
	killed  bool
	calls   int
	torn    *rand.Rand // not nil: a write during which the process is killed is done in part
}

type content struct {
	data, synced []byte
	locked       bool
}

var errKilled = errors.New("killed")

func newDisk() *faultyDisk {
	return &faultyDisk{files: map[string]*content{}, durable: map[string]*content{}, left: -1}
}

func (d *faultyDisk) step() error {
	if d.killed {
		return errKilled
	}
	d.calls++
	if d.left < 0 {
		return nil
	}
	d.left--
	if d.left >= 0 {
		return nil
	}
	if d.err == errKilled {
		d.killed = true
	}
	return d.err
}

func (d *faultyDisk) OpenFile(path string, flag int, _ fs.FileMode) (Handle, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	c, ok := d.files[path]
	if !ok && flag&syscall.O_CREAT == 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if !ok {
		c = &content{}
		d.files[path] = c
	}
	return &faultyFile{d: d, c: c}, nil
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *faultyDisk) Link(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	if d.files[to] != nil {
		return fs.ErrExist
	}
	d.files[to] = d.files[from]
	return nil
}

func (d *faultyDisk) Remove(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	delete(d.files, path)
	return nil
}

func (d *faultyDisk) SyncDir(string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.durable = maps.Clone(d.files)
	return nil
}

// reboot is what the next process finds: after a mere kill everything that was written, after a loss of power only what
// was synced, and of the rest any part.
func (d *faultyDisk) reboot(power bool, r *rand.Rand) *faultyDisk {
	next := newDisk()
	names := d.files
	if power {
		names = d.durable
	}
	for name, c := range names {
		data := slices.Clone(c.data)
		if power {
			data = slices.Clone(c.synced)
			// Any 512-byte sector that was written but not synced may have arrived.
			for at := 0; at < len(c.data); at += 512 {
				if r.IntN(2) == 0 {
					continue
				}
				end := min(at+512, len(c.data))
				if len(data) < end {
					data = append(data, make([]byte, end-len(data))...)
				}
				copy(data[at:end], c.data[at:end])
			}
		}
		next.files[name] = &content{data: data, synced: slices.Clone(data)}
	}
	next.durable = maps.Clone(next.files)
	return next
}

type faultyFile struct {
	d *faultyDisk
	c *content
}

func (f *faultyFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(f.c.data)) {
		return 0, nil
	}
	return copy(b, f.c.data[off:]), nil
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.d.step(); err != nil {
		if f.d.torn != nil && err == errKilled {
			f.write(b[:f.d.torn.IntN(len(b))], off)
		}
		return 0, err
	}
	f.write(b, off)
	return len(b), nil
}

func (f *faultyFile) write(b []byte, off int64) {
	if need := int(off) + len(b); len(f.c.data) < need {
		f.c.data = append(f.c.data, make([]byte, need-len(f.c.data))...)
	}
	copy(f.c.data[off:], b)
}

func (f *faultyFile) Sync() error {
	if err := f.d.step(); err != nil {
		return err
	}
	f.c.synced = slices.Clone(f.c.data)
	return nil
}

func (f *faultyFile) Lock() (bool, error) {
	if f.c.locked {
		return false, nil
	}
	f.c.locked = true
	return true, nil
}

func (f *faultyFile) Close() error {
	f.c.locked = false
	return nil
}
