package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// Known is what the index remembers of a key.
type Known struct {
	Create, Mod, Version, Lease int64
	Sum                         uint32 // Sum of the value
}

// Entry is a key with what is known of it.
type Entry struct {
	Key []byte
	Known
}

// Index is the set of keys that a watch's handler knows of, on disk beside the checkpoint. After a compaction it tells
// which keys are gone. It may lag behind its checkpoint by what came since the last Log or Flush, and says so by Rev; a
// watch that feeds it again from there makes it whole. It belongs to one goroutine.
type Index struct {
	db      *bbolt.DB
	log     *indexLog
	pending map[string]*Known // nil: deleted
	fresh   []change          // what the log lacks, in the order of the changes
	// announced holds the keys that the handler may know of although their events are not handled, with the revision of
	// the last such event; stored says that the database holds some.
	announced map[string]int64
	stored    bool
	base      int64 // revision of the database
	rev       int64 // of database and log together
	count     int64 // of the database
}

// change is what became of a key.
type change struct {
	key   string
	known *Known // nil: deleted
}

const (
	indexLayout = 2
	mostPending = 50_000
	mostLogged  = 16 << 20
)

func bucketMeta() []byte { return []byte("meta") }
func metaState() []byte  { return []byte("state") }

// OpenIndex opens the index at path, or makes an empty one with revision 0. An index that is damaged or of another layout
// is put aside under the name path.bad, and an empty one takes its place: its keys can be learnt again from the cluster.
func OpenIndex(path string) (*Index, error) {
	x, err := openIndex(path)
	if err == nil || errors.Is(err, fs.ErrPermission) || errors.Is(err, boltErrors.ErrTimeout) {
		return x, err
	}
	if err := os.Rename(path, path+".bad"); err != nil {
		return nil, &WriteError{path, err}
	}
	return openIndex(path)
}

func openIndex(path string) (*Index, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			return os.OpenFile(name, flag|noFollow, mode)
		},
	})
	if err != nil {
		return nil, &WriteError{path, err}
	}
	x := &Index{db: db, pending: map[string]*Known{}, announced: map[string]int64{}}
	if err := db.Update(x.init); err != nil {
		return nil, errors.Join(&WriteError{path, err}, db.Close())
	}
	if x.log, err = openIndexLog(path + ".log"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	// The names of both files: what is synced must be found again.
	if err := (OS{}).SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(&WriteError{path, err}, x.Close())
	}
	x.base = x.rev
	err = x.log.replay(func(r record) {
		// Else Flush had written it and was killed before it cleared the log, or the database is a new one.
		if r.base == x.base {
			maps.Copy(x.pending, r.changes)
			x.rev = r.rev
		}
		maps.Copy(x.announced, r.announced)
		for key, k := range r.changes {
			if k != nil {
				x.settle(key, k.Mod) // inside a resync, r.rev is the revision before it
			}
			x.settle(key, r.rev)
		}
	})
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

func (x *Index) init(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(bucketBlocks()); err != nil {
		return err
	}
	meta, err := tx.CreateBucketIfNotExists(bucketMeta())
	if err != nil {
		return err
	}
	b := meta.Get(metaState())
	if b == nil {
		return x.putMeta(tx)
	}
	if len(b) != 24 || binary.BigEndian.Uint64(b) != indexLayout {
		return fmt.Errorf("a key index of another layout")
	}
	x.rev, x.count = int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:]))
	return x.loadAnnounced(tx)
}

func (x *Index) putMeta(tx *bbolt.Tx) error {
	b := binary.BigEndian.AppendUint64(nil, indexLayout)
	b = binary.BigEndian.AppendUint64(b, uint64(x.rev))
	b = binary.BigEndian.AppendUint64(b, uint64(x.count))
	return tx.Bucket(bucketMeta()).Put(metaState(), b)
}

// Rev is the revision up to which the index is whole after the death of this process.
func (x *Index) Rev() int64 { return x.rev }

// Set records what is known of key now.
func (x *Index) Set(key []byte, k Known) { x.change(string(key), &k, k.Mod) }

// Delete forgets key, which was deleted at revision rev.
func (x *Index) Delete(key []byte, rev int64) { x.change(string(key), nil, rev) }

// change leaves out keys of more than 32 KiB, which the database cannot hold: a resync never says that one vanished.
func (x *Index) change(key string, k *Known, rev int64) {
	if len(key) > bbolt.MaxKeySize {
		return
	}
	x.pending[key] = k
	x.fresh = append(x.fresh, change{key, k})
	x.settle(key, rev)
}

// Log writes what was recorded where it survives the death of this process, as the state at revision rev.
func (x *Index) Log(rev int64) error {
	if len(x.fresh) == 0 && rev <= x.rev {
		return nil
	}
	if err := x.log.append(x.base, rev, x.fresh); err != nil {
		return err
	}
	x.fresh, x.rev = x.fresh[:0], max(rev, x.rev)
	return nil
}

// Sync is Log, and makes all of it survive the death of the machine.
func (x *Index) Sync(rev int64) error {
	if err := x.Log(rev); err != nil {
		return err
	}
	return x.log.sync()
}

// Full says that it is time for Flush: what waits for it takes memory, and time to read when it is opened.
func (x *Index) Full() bool { return len(x.pending) > mostPending || x.log.size > mostLogged }

// Flush does what Sync does, and carries all of it over to the database.
func (x *Index) Flush(rev int64) error {
	if len(x.pending) == 0 && rev == x.rev && x.stored == (len(x.announced) > 0) {
		return nil
	}
	count, was := x.count, x.rev
	err := x.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketBlocks())
		b.FillPercent = 0.9 // blocks grow and are cut by themselves
		for changes := x.sorted(); len(changes) > 0; {
			done, more, err := merge(b, changes)
			if err != nil {
				return err
			}
			changes, x.count = changes[done:], x.count+more
		}
		if err := x.storeAnnounced(tx); err != nil {
			return err
		}
		x.rev = rev
		return x.putMeta(tx)
	})
	if err != nil {
		x.count, x.rev = count, was
		return &WriteError{x.db.Path(), err}
	}
	x.stored = len(x.announced) > 0
	clear(x.pending)
	x.fresh, x.base = nil, rev
	return x.log.clear()
}

// sorted returns what waits for Flush in key order, so that neighbours share pages.
func (x *Index) sorted() []change {
	all := make([]change, 0, len(x.pending))
	for key, k := range x.pending {
		all = append(all, change{key, k})
	}
	slices.SortFunc(all, func(a, b change) int { return strings.Compare(a.key, b.key) })
	return all
}

// Len returns the number of keys, those that wait for Flush included.
func (x *Index) Len() (int64, error) {
	n := x.count
	err := x.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketBlocks()).Cursor()
		for key, k := range x.pending {
			_, had, err := find(c, []byte(key))
			switch {
			case err != nil:
				return err
			case had && k == nil:
				n--
			case !had && k != nil:
				n++
			}
		}
		return nil
	})
	return n, err
}

// Get returns what is known of key.
func (x *Index) Get(key []byte) (k Known, ok bool, err error) {
	if p, waits := x.pending[string(key)]; waits {
		if p == nil {
			return Known{}, false, nil
		}
		return *p, true, nil
	}
	err = x.db.View(func(tx *bbolt.Tx) error {
		k, ok, err = find(tx.Bucket(bucketBlocks()).Cursor(), key)
		return err
	})
	return k, ok, err
}

// Page returns up to n entries in key order, from key from on; what waits for Flush is part of it. A key that was only
// announced is there too, with nothing known of it.
func (x *Index) Page(from []byte, n int) ([]Entry, error) {
	var page []Entry
	unsure := map[string]*Known{}
	err := x.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketBlocks()).Cursor()
		for key := range x.announced {
			if !x.holds(c, key) {
				unsure[key] = &Known{}
			}
		}
		var err error
		for first, block := seekBlock(c, from); first != nil && len(page) < n && err == nil; first, block = c.Next() {
			page, err = x.take(page, block, from, n)
		}
		return err
	})
	full := len(page) == n
	for _, more := range []map[string]*Known{x.pending, unsure} {
		for k, p := range more {
			inside := !full || n > 0 && k <= string(page[n-1].Key)
			if p != nil && k >= string(from) && inside {
				page = append(page, Entry{[]byte(k), *p})
			}
		}
	}
	slices.SortFunc(page, func(a, b Entry) int { return bytes.Compare(a.Key, b.Key) })
	return page[:min(n, len(page))], err
}

// take appends to page what a block has from key from on, up to n entries in all, but for what waits for Flush.
func (x *Index) take(page []Entry, block, from []byte, n int) ([]Entry, error) {
	for len(block) > 0 && len(page) < n {
		e, rest, err := nextEntry(block)
		if err != nil {
			return page, err
		}
		if _, waits := x.pending[string(e.Key)]; !waits && bytes.Compare(e.Key, from) >= 0 {
			e.Key = bytes.Clone(e.Key)
			page = append(page, e)
		}
		block = rest
	}
	return page, nil
}

// Close lets the index go. What waits for Log or Flush is lost, and learnt again.
func (x *Index) Close() error { return errors.Join(x.log.file.Close(), x.db.Close()) }

// RemoveIndex removes the index at path, if there is one.
func RemoveIndex(path string) error {
	for _, file := range []string{path, path + ".log"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
