package checkpoint

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
)

// indexLog carries an index from one Flush to the next. Records are written before the checkpoint moves, without fsync: a
// process that is killed loses nothing, so that the index is never behind its checkpoint when a compaction has taken the
// events in between away. Only the machine's power can take the log's end.
//
// A record is its checksum, its length, the revision of the database that it continues, its own revision, and keys: those
// changed since the record before it, or those of events that the handler is about to get.
type indexLog struct {
	file   *os.File
	size   int64
	synced bool
	buf    []byte
}

const recordHead = 8

func openIndexLog(path string) (*indexLog, error) {
	// What is no record is cut off, so a link to somebody's file must not be followed.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|noFollow, 0o600)
	if err != nil {
		return nil, &WriteError{path, err}
	}
	return &indexLog{file: f}, nil
}

// What a record says of a key.
const (
	keyDeleted byte = iota
	keySet
	keyAnnounced
)

// record is what was read back of one.
type record struct {
	base, rev int64
	changes   map[string]*Known // nil: deleted
	announced map[string]int64  // the revisions of their events
}

// append writes one record of changes.
func (l *indexLog) append(base, rev int64, changes []change) error {
	b := l.begin(base, rev)
	for _, c := range changes {
		if c.known != nil {
			b = appendEntry(append(b, keySet), c.key, *c.known)
		} else {
			b = appendKey(append(b, keyDeleted), c.key)
		}
	}
	return l.write(b)
}

func appendKey(b []byte, key string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(key))), key...)
}

// nextKey returns a key at the beginning of b, and what follows it; ok is false if there is none.
func nextKey(b []byte) (key, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true
}

// announce writes one record of keys of which the handler is about to hear.
func (l *indexLog) announce(base, rev int64, keys []string, revs map[string]int64) error {
	b := l.begin(base, rev)
	for _, key := range keys {
		b = binary.AppendUvarint(appendKey(append(b, keyAnnounced), key), uint64(revs[key]))
	}
	return l.write(b)
}

func (l *indexLog) begin(base, rev int64) []byte {
	b := append(l.buf[:0], make([]byte, recordHead)...)
	b = binary.BigEndian.AppendUint64(b, uint64(base))
	return binary.BigEndian.AppendUint64(b, uint64(rev))
}

func (l *indexLog) write(b []byte) error {
	l.buf = b
	body := b[recordHead:]
	binary.BigEndian.PutUint32(b, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	binary.BigEndian.PutUint32(b[4:], uint32(len(body)))
	if _, err := l.file.Write(b); err != nil {
		return &WriteError{l.file.Name(), err}
	}
	l.size, l.synced = l.size+int64(len(b)), false
	return nil
}

// sync makes what was written survive the death of the machine.
func (l *indexLog) sync() error {
	if l.synced {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return &WriteError{l.file.Name(), err}
	}
	l.synced = true
	return nil
}

// replay hands every whole record to see, oldest first, and cuts off what comes behind the last one.
func (l *indexLog) replay(see func(record)) error {
	all, err := io.ReadAll(l.file)
	if err != nil {
		return &WriteError{l.file.Name(), err}
	}
	whole := 0
	for rest := all; ; {
		body, n := nextRecord(rest)
		if n == 0 {
			break
		}
		r, err := decodeRecord(body)
		if err != nil {
			break
		}
		see(r)
		rest, whole = rest[n:], whole+n
	}
	l.size = int64(whole)
	if whole == len(all) {
		return nil
	}
	if err := l.file.Truncate(int64(whole)); err != nil {
		return &WriteError{l.file.Name(), err}
	}
	return nil
}

// nextRecord returns the first record's body and its length with the head; 0 when there is no whole one.
func nextRecord(b []byte) (body []byte, n int) {
	if len(b) < recordHead {
		return nil, 0
	}
	size := binary.BigEndian.Uint32(b[4:])
	if uint64(size) > uint64(len(b)-recordHead) {
		return nil, 0
	}
	body = b[recordHead : recordHead+int(size)]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b) {
		return nil, 0
	}
	return body, recordHead + int(size)
}

var errRecord = errors.New("a damaged record in the key index's log")

func decodeRecord(b []byte) (record, error) {
	if len(b) < 16 {
		return record{}, errRecord
	}
	r := record{changes: map[string]*Known{}, announced: map[string]int64{}}
	r.base, r.rev, b = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), b[16:]
	for len(b) > 0 {
		what := b[0]
		if what == keySet {
			e, rest, err := nextEntry(b[1:])
			if err != nil {
				return record{}, err
			}
			r.changes[string(e.Key)], b = &e.Known, rest
			continue
		}
		key, rest, ok := nextKey(b[1:])
		rev, n := binary.Uvarint(rest)
		switch {
		case ok && what == keyDeleted:
			r.changes[string(key)], b = nil, rest
		case ok && what == keyAnnounced && n > 0:
			r.announced[string(key)], b = int64(rev), rest[n:]
		default:
			return record{}, errRecord
		}
	}
	return r, nil
}

func (l *indexLog) clear() error {
	if err := l.file.Truncate(0); err != nil {
		return &WriteError{l.file.Name(), err}
	}
	l.size = 0
	return nil
}
