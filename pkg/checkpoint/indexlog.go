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
// A record is its checksum, its length, the revision of the database that it continues, its own revision, and the keys
// changed since the record before it.
type indexLog struct {
	file *os.File
}

const recordHead = 8

func openIndexLog(path string) (*indexLog, error) {
	// What is no record is cut off, so a link to somebody's file must not be followed.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|noFollow, 0o600)
	if err != nil {
		return nil, &WriteError{path, err}
	}
	return &indexLog{f}, nil
}

// append writes one record; pending holds what is known of the keys named.
func (l *indexLog) append(base, rev int64, keys []string, pending map[string]*Known) error {
	b := make([]byte, recordHead, 256)
	b = binary.BigEndian.AppendUint64(b, uint64(base))
	b = binary.BigEndian.AppendUint64(b, uint64(rev))
	for _, key := range keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		if k := pending[key]; k != nil {
			b = append(append(b, 1), k.encode()...)
		} else {
			b = append(b, 0)
		}
	}
	body := b[recordHead:]
	binary.BigEndian.PutUint32(b, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	binary.BigEndian.PutUint32(b[4:], uint32(len(body)))
	if _, err := l.file.Write(b); err != nil {
		return &WriteError{l.file.Name(), err}
	}
	return nil
}

// replay hands every whole record to see, oldest first, and cuts off what comes behind the last one.
func (l *indexLog) replay(see func(base, rev int64, changes map[string]*Known)) error {
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
		base, rev, changes, err := decodeRecord(body)
		if err != nil {
			break
		}
		see(base, rev, changes)
		rest, whole = rest[n:], whole+n
	}
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

func decodeRecord(b []byte) (base, rev int64, changes map[string]*Known, err error) {
	if len(b) < 16 {
		return 0, 0, nil, errRecord
	}
	base, rev, b = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), b[16:]
	changes = map[string]*Known{}
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size >= uint64(len(b)-n) { // the byte behind the key is there too
			return 0, 0, nil, errRecord
		}
		key, set := string(b[n:n+int(size)]), b[n+int(size)] == 1
		b = b[n+int(size)+1:]
		changes[key] = nil
		if !set {
			continue
		}
		if len(b) < knownBytes {
			return 0, 0, nil, errRecord
		}
		k, err := decodeKnown(b[:knownBytes])
		if err != nil {
			return 0, 0, nil, err
		}
		changes[key], b = &k, b[knownBytes:]
	}
	return base, rev, changes, nil
}

func (l *indexLog) clear() error {
	if err := l.file.Truncate(0); err != nil {
		return &WriteError{l.file.Name(), err}
	}
	return nil
}
