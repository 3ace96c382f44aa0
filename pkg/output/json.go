package output

import (
	"encoding/base64"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// A range is written byte for byte as encoding/json writes a whole RangeResponse, but piece by piece: the header comes
// first and the count last, so that nothing has to be kept. An answer without a header, which no server sends, gets an
// empty one.

func (f jsonDocument) open(b []byte, h *pb.ResponseHeader) []byte {
	o := startObject(append(b, `{"header":`...))
	o.uint("cluster_id", h.GetClusterId())
	o.uint("member_id", h.GetMemberId())
	o.int("revision", h.GetRevision())
	o.uint("raft_term", h.GetRaftTerm())
	return o.end()
}

func (f jsonDocument) pair(b []byte, i int64, kv *mvccpb.KeyValue) []byte {
	if i == 0 {
		b = append(b, `,"kvs":[`...)
	} else {
		b = append(b, ',')
	}
	o := startObject(b)
	o.bytes("key", kv.GetKey())
	o.int("create_revision", kv.GetCreateRevision())
	o.int("mod_revision", kv.GetModRevision())
	o.int("version", kv.GetVersion())
	o.bytes("value", kv.GetValue())
	o.int("lease", kv.GetLease())
	return o.end()
}

func (f jsonDocument) close(b []byte, n int64, end RangeEnd) []byte {
	if n > 0 {
		b = append(b, ']')
	}
	if end.More {
		b = append(b, `,"more":true`...)
	}
	if end.Count != 0 {
		b = strconv.AppendInt(append(b, `,"count":`...), end.Count, 10)
	}
	return append(b, '}', '\n')
}

// object is a JSON object being appended to b. Members that are zero are left out, as "omitempty" does.
type object struct {
	b     []byte
	comma bool
}

func startObject(b []byte) *object { return &object{b: append(b, '{')} }

func (o *object) end() []byte { return append(o.b, '}') }

// name starts a member. Names need no escapes.
func (o *object) name(name string) {
	if o.comma {
		o.b = append(o.b, ',')
	}
	o.comma = true
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

func (o *object) int(name string, v int64) {
	if v != 0 {
		o.name(name)
		o.b = strconv.AppendInt(o.b, v, 10)
	}
}

func (o *object) uint(name string, v uint64) {
	if v != 0 {
		o.name(name)
		o.b = strconv.AppendUint(o.b, v, 10)
	}
}

// bytes appends v in base64.
func (o *object) bytes(name string, v []byte) {
	if len(v) != 0 {
		o.name(name)
		o.b = append(o.b, '"')
		o.b = base64.StdEncoding.AppendEncode(o.b, v)
		o.b = append(o.b, '"')
	}
}
