package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"go.etcd.io/bbolt"
)

// The database holds neighbouring keys as blocks, in their order, each under the first key that it was made with: a
// transaction costs by the pair, and most keys then cost no pair of their own.

// blockBytes is the size at which a block is cut in two. Some of them fit into a page of the database.
const blockBytes = 1000

func bucketBlocks() []byte { return []byte("blocks") }

var errBlock = errors.New("a damaged block in the key index")

func appendEntry(b, key []byte, k Known) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	for _, v := range [...]int64{k.Create, k.Mod, k.Version, k.Lease} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return binary.BigEndian.AppendUint32(b, k.Sum)
}

// nextEntry returns the first entry of b, whose key is a part of b, and what follows it.
func nextEntry(b []byte) (e Entry, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return Entry{}, nil, errBlock
	}
	e.Key, rest = b[n:n+int(size)], b[n+int(size):]
	for _, v := range [...]*int64{&e.Create, &e.Mod, &e.Version, &e.Lease} {
		u, n := binary.Uvarint(rest)
		if n <= 0 {
			return Entry{}, nil, errBlock
		}
		*v, rest = int64(u), rest[n:]
	}
	if len(rest) < 4 {
		return Entry{}, nil, errBlock
	}
	e.Sum = binary.BigEndian.Uint32(rest)
	return e, rest[4:], nil
}

// seekBlock moves c to the block that key is in if it is anywhere, and would be put into otherwise; nil: there is none.
func seekBlock(c *bbolt.Cursor, key []byte) (first, block []byte) {
	first, block = c.Seek(key)
	switch {
	case first == nil:
		return c.Last()
	case bytes.Equal(first, key):
		return first, block
	}
	if first, block = c.Prev(); first == nil {
		return c.First()
	}
	return first, block
}

// find looks for key in the database.
func find(c *bbolt.Cursor, key []byte) (Known, bool, error) {
	_, rest := seekBlock(c, key)
	for len(rest) > 0 {
		e, more, err := nextEntry(rest)
		if err != nil {
			return Known{}, false, err
		}
		switch bytes.Compare(e.Key, key) {
		case 0:
			return e.Known, true, nil
		case 1:
			return Known{}, false, nil
		}
		rest = more
	}
	return Known{}, false, nil
}

// merge brings the block of the first of keys, which are sorted, up to date with all of them that belong there. It returns
// how many these are, and how many keys there are more than before.
func merge(b *bbolt.Bucket, keys []string, changes map[string]*Known) (done int, more int64, err error) {
	c := b.Cursor()
	first, old := seekBlock(c, []byte(keys[0]))
	done = len(keys)
	if first != nil {
		if next, _ := c.Next(); next != nil {
			done, _ = slices.BinarySearch(keys, string(next))
		}
	}
	// Both are the database's, and change with it.
	first, old = bytes.Clone(first), bytes.Clone(old)
	m := merger{changes: changes, out: make([]byte, 0, len(old)+64*done)}
	if err := m.merge(old, keys[:done]); err != nil {
		return 0, 0, err
	}
	if first != nil && (len(m.ends) == 0 || !bytes.Equal(m.keyAt(0), first)) {
		if err := b.Delete(first); err != nil {
			return 0, 0, err
		}
	}
	return done, int64(len(m.ends)) - m.before, m.write(b)
}

// merger makes blocks of an old one and of changes.
type merger struct {
	changes map[string]*Known // nil: deleted
	out     []byte
	ends    []int // of the entries in out
	before  int64 // how many entries there were
}

func (m *merger) merge(old []byte, keys []string) error {
	for len(old) > 0 {
		e, rest, err := nextEntry(old)
		if err != nil {
			return err
		}
		m.before++
		for len(keys) > 0 && keys[0] < string(e.Key) {
			m.change(keys[0])
			keys = keys[1:]
		}
		if len(keys) > 0 && keys[0] == string(e.Key) {
			m.change(keys[0])
			keys = keys[1:]
		} else {
			m.out = append(m.out, old[:len(old)-len(rest)]...)
			m.ends = append(m.ends, len(m.out))
		}
		old = rest
	}
	for _, key := range keys {
		m.change(key)
	}
	return nil
}

func (m *merger) change(key string) {
	if k := m.changes[key]; k != nil {
		m.out = appendEntry(m.out, []byte(key), *k)
		m.ends = append(m.ends, len(m.out))
	}
}

// keyAt returns the key of the entry that begins at an offset.
func (m *merger) keyAt(at int) []byte {
	size, n := binary.Uvarint(m.out[at:])
	return m.out[at+n : at+n+int(size)]
}

// write puts the entries into blocks of about the same size.
func (m *merger) write(b *bbolt.Bucket) error {
	size := len(m.out)/(len(m.out)/blockBytes+1) + 1
	for from, i := 0, 0; i < len(m.ends); {
		for i++; i < len(m.ends) && m.ends[i]-from <= size; i++ { //nolint:revive // looks for the block's end
		}
		to := m.ends[i-1]
		if err := b.Put(m.keyAt(from), m.out[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}
