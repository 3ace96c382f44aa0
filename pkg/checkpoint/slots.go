package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
)

// The layout: a line of headBytes that names the format and the slots' size, then three slots of that size at multiples of
// it. Each slot holds one state: a line of JSON, a space, crc32c=xxxxxxxx, a newline, then spaces. Nothing is ever moved or
// cut off, so a write touches one slot. Of the other two, one holds the last synced state, which must survive a loss of
// power, and one the last state that was written since, which must survive if this write is torn by a SIGKILL.
const (
	slots       = 3
	headBytes   = 512
	minSlot     = 4096
	maxSlot     = 16 << 20
	checksumTag = " crc32c="
)

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Sum is the checksum that anchors and the key index keep of a value.
func Sum(value []byte) uint32 { return castagnoli(value) }

func headLine(slot int) []byte {
	return pad([]byte(fmt.Sprintf("etcdx-checkpoint %d slot=%d slots=%d\n", Format, slot, slots)), headBytes)
}

func pad(b []byte, n int) []byte {
	return append(b, bytes.Repeat([]byte{' '}, n-len(b))...)
}

// parseHead returns the size of the slots.
func parseHead(path string, head []byte) (int, error) {
	line, _, ok := bytes.Cut(head, []byte{'\n'})
	if !ok || !bytes.HasPrefix(line, []byte("etcdx-checkpoint ")) {
		return 0, &CorruptError{Path: path, Why: "it does not begin with an etcdx-checkpoint line"}
	}
	var format, slot, number int
	n, _ := fmt.Sscanf(string(line), "etcdx-checkpoint %d slot=%d slots=%d", &format, &slot, &number)
	if n >= 1 && format > Format {
		return 0, &NewerError{Path: path, Format: format}
	}
	if n != 3 || format < 1 || number != slots || slot < minSlot || slot > maxSlot || slot%minSlot != 0 {
		return 0, &CorruptError{Path: path, Why: "its first line is damaged"}
	}
	return slot, nil
}

// encode renders s as a slot. It returns nil if s does not fit.
func encode(s State, slot int) ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	b = fmt.Appendf(b, "%s%08x\n", checksumTag, castagnoli(b))
	if len(b) > slot {
		return nil, nil
	}
	return pad(b, slot), nil
}

// decode reads a slot; ok is false if it is not whole.
func decode(b []byte) (s State, ok bool) {
	line, _, found := bytes.Cut(b, []byte{'\n'})
	i := bytes.LastIndex(line, []byte(checksumTag))
	if !found || i < 0 {
		return State{}, false
	}
	sum, err := strconv.ParseUint(string(line[i+len(checksumTag):]), 16, 32)
	if err != nil || castagnoli(line[:i]) != uint32(sum) {
		return State{}, false
	}
	if json.Unmarshal(line[:i], &s) != nil {
		return State{}, false
	}
	return s, true
}

// newest returns the latest whole state in the slots, and which of them it is in.
func newest(path string, all []byte, slot int) (State, int, error) {
	var best State
	at := -1
	for i := range slots {
		if s, ok := decode(all[i*slot : (i+1)*slot]); ok && (at < 0 || s.Seq > best.Seq) {
			best, at = s, i
		}
	}
	switch {
	case at < 0:
		return State{}, 0, &CorruptError{Path: path, Why: "none of its slots holds a whole state"}
	case best.Format > Format:
		return State{}, 0, &NewerError{Path: path, Format: best.Format}
	}
	return best, at, nil
}

// slotFor returns a size of slots with room for s and for a long key in its anchor.
func slotFor(s State) (int, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	need := 2*len(b) + 2048
	slot := (need + minSlot - 1) / minSlot * minSlot
	if slot > maxSlot {
		return 0, fmt.Errorf("a state of %d bytes is too big", len(b))
	}
	return slot, nil
}
