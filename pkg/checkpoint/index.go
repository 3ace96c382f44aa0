package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
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
	fresh   []string          // the keys in pending that the log lacks
	// announced holds the keys that the handler may know of although their events are not handled, with the revision of
	// the last such event; stored says that the database holds some.
	announced map[string]int64
	stored    bool
	base      int64 // revision of the database
	rev       int64 // of database and log together
	count     int64 // of the database
}

const (
	indexLayout = 1
	knownBytes  = 4*8 + 4
)

func bucketKeys() []byte { return []byte("keys") }
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
	x.base = x.rev
	err = x.log.replay(func(r record) {
		// Else Flush had written it and was killed before it cleared the log, or the database is a new one.
		if r.base == x.base {
			maps.Copy(x.pending, r.changes)
			x.rev = r.rev
		}
		maps.Copy(x.announced, r.announced)
		for key := range r.changes {
			x.settle(key, r.rev)
		}
	})
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

func (x *Index) init(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(bucketKeys()); err != nil {
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
	x.fresh = append(x.fresh, key)
	x.settle(key, rev)
}

// Log writes what was recorded where it survives the death of this process, as the state at revision rev.
func (x *Index) Log(rev int64) error {
	if len(x.fresh) == 0 && rev <= x.rev {
		return nil
	}
	if err := x.log.append(x.base, rev, x.fresh, x.pending); err != nil {
		return err
	}
	x.fresh, x.rev = x.fresh[:0], max(rev, x.rev)
	return nil
}

// Pending is the number of keys that wait for Flush.
func (x *Index) Pending() int { return len(x.pending) }

// Flush writes what was recorded, durably, as the state at revision rev.
func (x *Index) Flush(rev int64) error {
	if len(x.pending) == 0 && rev == x.rev && x.stored == (len(x.announced) > 0) {
		return nil
	}
	count, was := x.count, x.rev
	err := x.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketKeys())
		// In key order, so that neighbours share pages.
		keys := make([]string, 0, len(x.pending))
		for k := range x.pending {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, key := range keys {
			if err := x.write(b, []byte(key), x.pending[key]); err != nil {
				return err
			}
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

func (x *Index) write(b *bbolt.Bucket, key []byte, k *Known) error {
	had := b.Get(key) != nil
	if k == nil {
		if had {
			x.count--
		}
		return b.Delete(key)
	}
	if !had {
		x.count++
	}
	return b.Put(key, k.encode())
}

func (k Known) encode() []byte {
	b := make([]byte, 0, knownBytes)
	for _, v := range []int64{k.Create, k.Mod, k.Version, k.Lease} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return binary.BigEndian.AppendUint32(b, k.Sum)
}

func decodeKnown(b []byte) (Known, error) {
	if len(b) != knownBytes {
		return Known{}, fmt.Errorf("a damaged entry in the key index")
	}
	n := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return Known{Create: n(0), Mod: n(1), Version: n(2), Lease: n(3), Sum: binary.BigEndian.Uint32(b[32:])}, nil
}

// Len returns the number of keys, those that wait for Flush included.
func (x *Index) Len() (int64, error) {
	n := x.count
	err := x.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketKeys())
		for key, k := range x.pending {
			had := b.Get([]byte(key)) != nil
			switch {
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
		b := tx.Bucket(bucketKeys()).Get(key)
		if b == nil {
			return nil
		}
		ok = true
		k, err = decodeKnown(b)
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
		b := tx.Bucket(bucketKeys())
		for key := range x.announced {
			if !x.holds(b, key) {
				unsure[key] = &Known{}
			}
		}
		c := b.Cursor()
		for k, v := c.Seek(from); k != nil && len(page) < n; k, v = c.Next() {
			if _, waits := x.pending[string(k)]; waits {
				continue
			}
			known, err := decodeKnown(v)
			if err != nil {
				return err
			}
			page = append(page, Entry{bytes.Clone(k), known})
		}
		return nil
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
