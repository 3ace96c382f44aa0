package checkpoint

import (
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// Change is an event as far as an index is concerned.
type Change struct {
	Key     []byte
	Rev     int64
	Deleted bool
	Created bool // the key is a new one: whether the index holds it need not be looked up
}

func bucketAnnounced() []byte { return []byte("announced") }

// Announce records, before the handler is given the events, which keys they may tell it of: killed before it could
// acknowledge them, it knows of keys that Set was never called for, and must be told when such a key vanishes. Len and Get
// leave these keys out, for what is not acknowledged is no evidence; Page has them, until Set or Delete is called for a
// key's event, or Settle. They survive the death of this process, but not that of the machine.
func (x *Index) Announce(changes []Change) error {
	var fresh []string
	deleted := map[string]bool{} // by an event that may be acknowledged alone, before a later one of the key
	err := x.db.View(func(tx *bbolt.Tx) error {
		at := tx.Bucket(bucketBlocks()).Cursor()
		for _, c := range changes {
			key := string(c.Key)
			if c.Deleted {
				deleted[key] = true
				continue
			}
			rev, is := x.announced[key]
			if is && rev >= c.Rev || !is && !c.Created && !deleted[key] && x.holds(at, key) || len(key) > bbolt.MaxKeySize {
				continue
			}
			x.announced[key] = c.Rev
			fresh = append(fresh, key)
		}
		return nil
	})
	if err != nil || len(fresh) == 0 {
		return err
	}
	return x.log.announce(x.base, x.rev, fresh, x.announced)
}

// Announced is the number of keys that were announced, and of which nothing was heard since.
func (x *Index) Announced() int { return len(x.announced) }

// Settle says that the handler knows of all keys there are and of no others: a resync has ended.
func (x *Index) Settle() { clear(x.announced) }

// settle notes that the events of key are handled up to revision rev.
func (x *Index) settle(key string, rev int64) {
	if announced, is := x.announced[key]; is && announced <= rev {
		delete(x.announced, key)
	}
}

// holds says whether key is in the index, for certain; at is a cursor on the database's blocks.
func (x *Index) holds(at *bbolt.Cursor, key string) bool {
	if k, waits := x.pending[key]; waits {
		return k != nil
	}
	_, ok, err := find(at, []byte(key))
	return ok && err == nil
}

// storeAnnounced carries what was announced over to the database: the log is cleared when the transaction is done.
func (x *Index) storeAnnounced(tx *bbolt.Tx) error {
	if x.stored {
		if err := tx.DeleteBucket(bucketAnnounced()); err != nil {
			return err
		}
	}
	if len(x.announced) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketAnnounced())
	if err != nil {
		return err
	}
	for key, rev := range x.announced {
		if err := b.Put([]byte(key), binary.BigEndian.AppendUint64(nil, uint64(rev))); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) loadAnnounced(tx *bbolt.Tx) error {
	b := tx.Bucket(bucketAnnounced())
	if b == nil {
		return nil
	}
	x.stored = true
	return b.ForEach(func(key, rev []byte) error {
		if len(rev) != 8 {
			return errRecord
		}
		x.announced[string(key)] = int64(binary.BigEndian.Uint64(rev))
		return nil
	})
}
