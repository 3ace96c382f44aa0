package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
)

// The database holds neighbouring keys as blocks, in their order, each under the first key that it was made with: a
// transaction costs by the pair, and most keys then cost no pair of their own.

// blockBytes is the size at which a block is cut in two. Some of them fit into a page of the database.
const blockBytes = 1000

func bucketBlocks() []byte { return []byte("blocks") }

var errBlock = errors.New("a damaged block in the key index")

func appendEntry(b []byte, key string, k Known) []byte {
	b = appendKey(b, key)
	for _, v := range [...]int64{k.Create, k.Mod, k.Version, k.Lease} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return binary.BigEndian.AppendUint32(b, k.Sum)
}

// nextEntry returns the first entry of b, whose key is a part of b, and what follows it.
func nextEntry(b []byte) (e Entry, rest []byte, err error) {
	var ok bool
	if e.Key, rest, ok = nextKey(b); !ok {
		return Entry{}, nil, errBlock
	}
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

// merge brings the block of the first of changes, which are in key order, up to date with all of them that belong there. It
// returns how many these are, and how many keys there are more than before.
func merge(b *bbolt.Bucket, changes []change) (done int, more int64, err error) {
	c := b.Cursor()
	first, old := seekBlock(c, []byte(changes[0].key))
	done = len(changes)
	if first != nil {
		if next, _ := c.Next(); next != nil {
			done, _ = slices.BinarySearchFunc(changes, string(next), func(c change, key string) int { return strings.Compare(c.key, key) })
		}
	}
	// Both are the database's, and change with it.
	first, old = bytes.Clone(first), bytes.Clone(old)
	m := merger{out: make([]byte, 0, len(old)+64*done)}
	if err := m.merge(old, changes[:done]); err != nil {
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
	out    []byte
	ends   []int // of the entries in out
	before int64 // how many entries there were
}

func (m *merger) merge(old []byte, changes []change) error {
	for len(old) > 0 {
		e, rest, err := nextEntry(old)
		if err != nil {
			return err
		}
		m.before++
		for len(changes) > 0 && changes[0].key < string(e.Key) {
			m.change(changes[0])
			changes = changes[1:]
		}
		if len(changes) > 0 && changes[0].key == string(e.Key) {
			m.change(changes[0])
			changes = changes[1:]
		} else {
			m.out = append(m.out, old[:len(old)-len(rest)]...)
			m.ends = append(m.ends, len(m.out))
		}
		old = rest
	}
	for _, c := range changes {
		m.change(c)
	}
	return nil
}

func (m *merger) change(c change) {
	if c.known != nil {
		m.out = appendEntry(m.out, c.key, *c.known)
		m.ends = append(m.ends, len(m.out))
	}
}

// keyAt returns the key of the entry that begins at an offset.
func (m *merger) keyAt(at int) []byte {
	key, _, _ := nextKey(m.out[at:])
	return key
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
