package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
)

// The layout: a line of headBytes that names the format and the slots' size, then two slots of that size at multiples of
// it. Each slot holds one state: a line of JSON, a space, crc32c=xxxxxxxx, a newline, then spaces. Nothing is ever moved or
// cut off, so a write touches one slot and leaves the other, older one whole.
const (
	headBytes   = 512
	minSlot     = 4096
	maxSlot     = 16 << 20
	checksumTag = " crc32c="
)

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Sum is the checksum that anchors and the key index keep of a value.
func Sum(value []byte) uint32 { return castagnoli(value) }

func headLine(slot int) []byte {
	return pad([]byte(fmt.Sprintf("etcdx-checkpoint %d slot=%d slots=2\n", Format, slot)), headBytes)
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
	var format, slot, slots int
	n, _ := fmt.Sscanf(string(line), "etcdx-checkpoint %d slot=%d slots=%d", &format, &slot, &slots)
	if n >= 1 && format > Format {
		return 0, &NewerError{Path: path, Format: format}
	}
	if n != 3 || format < 1 || slots != 2 || slot < minSlot || slot > maxSlot || slot%minSlot != 0 {
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

// newest returns the later of the two states and the slot that it is in.
func newest(path string, a, b []byte) (State, int, error) {
	sa, okA := decode(a)
	sb, okB := decode(b)
	s, at := sa, 0
	switch {
	case !okA && !okB:
		return State{}, 0, &CorruptError{Path: path, Why: "neither of its two slots holds a whole state"}
	case !okA || okB && sb.Seq > sa.Seq:
		s, at = sb, 1
	}
	if s.Format > Format {
		return State{}, 0, &NewerError{Path: path, Format: s.Format}
	}
	return s, at, nil
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
