package output

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/yaml"
)

// The schemas of the records that etcd's answers become. A new version is a new name; within one, members may be added,
// but none changes its meaning or goes.
const (
	SchemaKV     = "etcdx.kv/1"
	SchemaPut    = "etcdx.put/1"
	SchemaDelete = "etcdx.delete/1"
	SchemaEvent  = "etcdx.event/1"
	SchemaCount  = "etcdx.count/1"
)

// KV is a key with its value. Text is UTF-8; bytes that are not are replaced in Key and Value, and KeyB64 and ValueB64
// then hold the exact bytes in base64. Lease is hexadecimal, as lease commands take it, and empty without one.
type KV struct {
	Key            string  `json:"key" yaml:"key"`
	KeyB64         string  `json:"key_b64,omitempty" yaml:"key_b64,omitempty"`
	Value          *string `json:"value,omitempty" yaml:"value,omitempty"`
	ValueB64       string  `json:"value_b64,omitempty" yaml:"value_b64,omitempty"`
	CreateRevision int64   `json:"create_revision,omitempty" yaml:"create_revision,omitempty"`
	ModRevision    int64   `json:"mod_revision" yaml:"mod_revision"`
	Version        int64   `json:"version" yaml:"version"`
	Lease          string  `json:"lease,omitempty" yaml:"lease,omitempty"`
}

// NewKV returns kv as a record, without its value if keyOnly.
func NewKV(kv *mvccpb.KeyValue, keyOnly bool) KV {
	r := KV{
		CreateRevision: kv.GetCreateRevision(), ModRevision: kv.GetModRevision(), Version: kv.GetVersion(), Lease: LeaseID(kv.GetLease()),
	}
	r.Key, r.KeyB64 = Text(kv.GetKey())
	if !keyOnly {
		text, b64 := Text(kv.GetValue())
		r.Value, r.ValueB64 = &text, b64
	}
	return r
}

// kvRecord is a KV that stands for itself.
type kvRecord struct {
	Schema string `json:"schema" yaml:"schema"`
	KV     `yaml:",inline"`
}

// Text returns b as UTF-8, and, when that is not exact, b in base64.
func Text(b []byte) (text, b64 string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return string([]rune(string(b))), base64.StdEncoding.EncodeToString(b)
}

// LeaseID returns a lease as lease commands take it: hexadecimal; empty for none.
func LeaseID(id int64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(id), 16)
}

// Event is one change of a key. KV has the new state, for a delete only the key and the revision; Prev the old one.
type Event struct {
	Schema string `json:"schema" yaml:"schema"`
	Type   string `json:"type" yaml:"type"` // "put" or "delete"
	KV     `yaml:",inline"`
	Prev   *KV `json:"prev,omitempty" yaml:"prev,omitempty"`
}

// NewEvent returns ev as a record.
func NewEvent(ev *clientv3.Event) Event {
	r := Event{Schema: SchemaEvent, Type: "put", KV: NewKV(ev.GetKv(), false)}
	if ev.GetType() == mvccpb.Event_DELETE {
		r.Type, r.Value = "delete", nil
	}
	if ev.GetPrevKv() != nil {
		prev := NewKV(ev.GetPrevKv(), false)
		r.Prev = &prev
	}
	return r
}

// Put is a put that was done.
type Put struct {
	Schema   string `json:"schema" yaml:"schema"`
	Key      string `json:"key" yaml:"key"`
	KeyB64   string `json:"key_b64,omitempty" yaml:"key_b64,omitempty"`
	Revision int64  `json:"revision" yaml:"revision"`
	Lease    string `json:"lease,omitempty" yaml:"lease,omitempty"`
	Prev     *KV    `json:"prev,omitempty" yaml:"prev,omitempty"`
}

func newPut(a PutAnswer) Put {
	resp := (*pb.PutResponse)(a.Response)
	r := Put{Schema: SchemaPut, Revision: resp.GetHeader().GetRevision(), Lease: LeaseID(a.Lease)}
	r.Key, r.KeyB64 = Text([]byte(a.Key))
	if resp.GetPrevKv() != nil {
		prev := NewKV(resp.GetPrevKv(), false)
		r.Prev = &prev
	}
	return r
}

// Delete is a delete that was done.
type Delete struct {
	Schema   string `json:"schema" yaml:"schema"`
	Deleted  int64  `json:"deleted" yaml:"deleted"`
	Revision int64  `json:"revision" yaml:"revision"`
	Prev     []KV   `json:"prev,omitempty" yaml:"prev,omitempty"`
}

func newDelete(resp *pb.DeleteRangeResponse) Delete {
	r := Delete{Schema: SchemaDelete, Deleted: resp.GetDeleted(), Revision: resp.GetHeader().GetRevision()}
	for _, kv := range resp.GetPrevKvs() {
		r.Prev = append(r.Prev, NewKV(kv, false))
	}
	return r
}

// Count is the number of keys in a range.
type Count struct {
	Schema   string `json:"schema" yaml:"schema"`
	Count    int64  `json:"count" yaml:"count"`
	Revision int64  `json:"revision" yaml:"revision"`
}

// jsonLines is etcdx's format jsonl: one record per line.
type jsonLines struct{ o Options }

// line appends v as one line. Records always marshal.
func (f jsonLines) line(b []byte, v any) []byte {
	out := appender(b)
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // "<" is to be read by people
	if err := enc.Encode(v); err != nil {
		return b
	}
	return f.o.visible(out, len(b))
}

// appender is a slice that can be written to.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func (f jsonLines) put(b []byte, a PutAnswer) []byte { return f.line(b, newPut(a)) }

func (f jsonLines) del(b []byte, r *pb.DeleteRangeResponse) []byte { return f.line(b, newDelete(r)) }

func (f jsonLines) watch(b []byte, r *clientv3.WatchResponse) []byte {
	for _, ev := range r.Events {
		b = f.line(b, NewEvent(ev))
	}
	return b
}

func (f jsonLines) open(b []byte, _ *pb.ResponseHeader) []byte { return b }

func (f jsonLines) pair(b []byte, _ int64, kv *mvccpb.KeyValue) []byte {
	return f.line(b, kvRecord{SchemaKV, NewKV(kv, f.o.KeysOnly)})
}

func (f jsonLines) close(b []byte, _ int64, _ RangeEnd) []byte { return b }

// yamlList is etcdx's format yaml: one list of records, which may be written item by item; a put or a delete, and every
// response of a watch, is a document of its own.
type yamlList struct{ o Options }

// node appends v. Records always marshal.
func (f yamlList) node(b []byte, v any) []byte {
	text, err := yaml.Marshal(v)
	if err != nil {
		return b
	}
	return f.o.visible(append(b, text...), len(b))
}

func (f yamlList) put(b []byte, a PutAnswer) []byte { return f.node(b, newPut(a)) }

func (f yamlList) del(b []byte, r *pb.DeleteRangeResponse) []byte { return f.node(b, newDelete(r)) }

func (f yamlList) watch(b []byte, r *clientv3.WatchResponse) []byte {
	for _, ev := range r.Events {
		b = f.node(append(b, "---\n"...), NewEvent(ev))
	}
	return b
}

func (f yamlList) open(b []byte, _ *pb.ResponseHeader) []byte { return b }

func (f yamlList) pair(b []byte, _ int64, kv *mvccpb.KeyValue) []byte {
	return f.node(b, []kvRecord{{SchemaKV, NewKV(kv, f.o.KeysOnly)}})
}

func (f yamlList) close(b []byte, n int64, _ RangeEnd) []byte {
	if n == 0 {
		return append(b, "[]\n"...)
	}
	return b
}

// value is etcdx's format value: the bytes of the values and nothing else. Items are separated by a newline, or ended by
// NUL; a single one is exact, except that on a terminal a newline follows. Keys instead of values with KeysOnly.
type value struct{ o Options }

func (f value) item(b []byte, i int64, kv *mvccpb.KeyValue) []byte {
	if i > 0 && !f.o.Zero {
		b = append(b, '\n')
	}
	if f.o.KeysOnly {
		b = append(b, f.o.text(kv.GetKey(), true)...)
	} else {
		b = append(b, f.o.text(kv.GetValue(), false)...)
	}
	if f.o.Zero {
		b = append(b, 0)
	}
	return b
}

func (f value) put(b []byte, a PutAnswer) []byte {
	if prev := (*pb.PutResponse)(a.Response).GetPrevKv(); prev != nil {
		b = f.close(f.item(b, 0, prev), 1, RangeEnd{})
	}
	return b
}

func (f value) del(b []byte, r *pb.DeleteRangeResponse) []byte {
	if len(r.GetPrevKvs()) == 0 {
		return fmt.Appendf(b, "%d\n", r.GetDeleted())
	}
	for i, kv := range r.GetPrevKvs() {
		b = f.item(b, int64(i), kv)
	}
	return f.close(b, int64(len(r.GetPrevKvs())), RangeEnd{})
}

func (f value) watch(b []byte, r *clientv3.WatchResponse) []byte {
	for _, ev := range r.Events {
		b = append(f.item(b, 0, ev.GetKv()), '\n')
	}
	return b
}

func (f value) open(b []byte, _ *pb.ResponseHeader) []byte { return b }

func (f value) pair(b []byte, i int64, kv *mvccpb.KeyValue) []byte { return f.item(b, i, kv) }

func (f value) close(b []byte, n int64, _ RangeEnd) []byte {
	if n > 0 && !f.o.Zero && (f.o.Terminal || f.o.KeysOnly || n > 1) {
		b = append(b, '\n')
	}
	return b
}
