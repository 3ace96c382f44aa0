package conn

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// pager decides which keys to ask for next when a range is read in pages.
//
// A server before 3.7 counts, for every page, all that is left of the range that it was asked for, so that reading n keys
// costs n² / page steps. A page is therefore asked for from a slice of the range that is guessed to hold two of them: the
// keys of the last page, read as numbers in base 256, say how dense the next ones are. A wrong guess costs a call, never
// a key: the slices are read one behind the other, and the last one ends where the range does.
//
// Servers that only resemble etcd, such as kine, take the end of a range for the end of a prefix: they get no slices.
type pager struct {
	whole       bool   // ask for all that is left each time
	pos, end    []byte // what is left; end is "\x00" for no end
	first, last []byte // of the last page that was not nearly empty; nil before one
	keys, bytes int    // of that page
	short       int    // slices since then
}

// kvOverhead is about what the numbers and tags of one key take on the wire.
const kvOverhead = 24

// ask returns the end of the next slice and how many of its keys to ask for.
func (p *pager) ask() (sliceEnd []byte, limit int64) {
	if p.first == nil {
		return p.end, firstPage
	}
	// As many as fill pageBytes if they are of the same size, but no more than 16 times as many: they may be larger.
	limit = int64(min(max(pageBytes*p.keys/max(p.bytes, 1), 1), 16*p.keys))
	return p.slice(), limit
}

// slice returns the end of the next slice: above pos, not above end. Each short slice makes the next 16 times wider.
func (p *pager) slice() []byte {
	const most = 2 // then the rest at once: calls cost more than counting on a slow network
	from := max(commonPrefix(p.first, p.last)-4, 0)
	step := max(number(p.last, from)-number(p.first, from), 1)
	over, width := bits.Mul64(step, 2<<(4*min(p.short, most)))
	sum, carry := bits.Add64(number(p.pos, from), width, 0)
	if p.whole || p.short > most || over != 0 || carry != 0 {
		return p.end
	}
	to := make([]byte, from, from+8)
	copy(to, p.pos)
	to = binary.BigEndian.AppendUint64(to, sum)
	if !bytes.Equal(p.end, []byte{0}) && bytes.Compare(to, p.end) >= 0 {
		return p.end
	}
	return to
}

// got steps behind the keys of an answer; more says that they are not all of their slice. It returns whether the range is
// at its end.
func (p *pager) got(kvs []*mvccpb.KeyValue, more bool, sliceEnd []byte, limit int64) (done bool) {
	if n := int64(len(kvs)); n > 0 && (more || n >= limit/4) {
		p.first, p.last, p.short = kvs[0].GetKey(), kvs[n-1].GetKey(), 0
		p.keys, p.bytes = len(kvs), 0
		for _, kv := range kvs {
			p.bytes += len(kv.GetKey()) + len(kv.GetValue()) + kvOverhead
		}
	} else {
		p.short++
	}
	if more {
		p.pos = after(kvs)
		return false
	}
	p.pos = sliceEnd
	return bytes.Equal(sliceEnd, p.end)
}

// after returns the smallest key behind the last of kvs.
func after(kvs []*mvccpb.KeyValue) []byte {
	last := kvs[len(kvs)-1].GetKey()
	return append(last[:len(last):len(last)], 0)
}

// number reads the 8 bytes of key behind the first n; missing ones are 0.
func number(key []byte, n int) uint64 {
	var b [8]byte
	copy(b[:], key[min(n, len(key)):])
	return binary.BigEndian.Uint64(b[:])
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
