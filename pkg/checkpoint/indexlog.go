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

// append writes one record; pending holds what is known of the keys named.
func (l *indexLog) append(base, rev int64, keys []string, pending map[string]*Known) error {
	b := beginRecord(base, rev, len(keys))
	for _, key := range keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		if k := pending[key]; k != nil {
			b = k.append(append(b, keySet))
		} else {
			b = append(b, keyDeleted)
		}
	}
	return l.write(b)
}

// announce writes one record of keys of which the handler is about to hear.
func (l *indexLog) announce(base, rev int64, keys []string, revs map[string]int64) error {
	b := beginRecord(base, rev, len(keys))
	for _, key := range keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(append(b, key...), keyAnnounced)
		b = binary.BigEndian.AppendUint64(b, uint64(revs[key]))
	}
	return l.write(b)
}

func beginRecord(base, rev int64, keys int) []byte {
	b := make([]byte, recordHead, 256+64*keys)
	b = binary.BigEndian.AppendUint64(b, uint64(base))
	return binary.BigEndian.AppendUint64(b, uint64(rev))
}

func (l *indexLog) write(b []byte) error {
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
		size, n := binary.Uvarint(b)
		if n <= 0 || size >= uint64(len(b)-n) { // the byte behind the key is there too
			return record{}, errRecord
		}
		key, what := string(b[n:n+int(size)]), b[n+int(size)]
		b = b[n+int(size)+1:]
		switch {
		case what == keyDeleted:
			r.changes[key] = nil
		case what == keyAnnounced && len(b) >= 8:
			r.announced[key], b = int64(binary.BigEndian.Uint64(b)), b[8:]
		case what == keySet && len(b) >= knownBytes:
			k, err := decodeKnown(b[:knownBytes])
			if err != nil {
				return record{}, err
			}
			r.changes[key], b = &k, b[knownBytes:]
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
