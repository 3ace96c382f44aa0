package output

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// simple is etcdctl's format simple: keys and values, each on a line of its own.
type simple struct{ o Options }

func (f simple) put(b []byte, a PutAnswer) []byte {
	b = append(f.o.Style.good(b, "OK"), '\n')
	if prev := (*pb.PutResponse)(a.Response).GetPrevKv(); prev != nil {
		b = f.pair(b, 0, prev)
	}
	return b
}

func (f simple) del(b []byte, r *pb.DeleteRangeResponse) []byte {
	b = append(strconv.AppendInt(b, r.GetDeleted(), 10), '\n')
	for i, kv := range r.GetPrevKvs() {
		b = f.pair(b, int64(i), kv)
	}
	return b
}

func (f simple) watch(b []byte, r *clientv3.WatchResponse) []byte {
	for _, ev := range r.Events {
		if word := ev.GetType().String(); ev.GetType() == mvccpb.Event_DELETE {
			b = f.o.Style.bad(b, word)
		} else {
			b = f.o.Style.good(b, word)
		}
		b = append(b, '\n')
		if ev.GetPrevKv() != nil {
			b = f.pair(b, 0, ev.GetPrevKv())
		}
		b = f.pair(b, 0, ev.GetKv())
	}
	return b
}

func (f simple) open(b []byte, _ *pb.ResponseHeader) []byte { return b }

func (f simple) pair(b []byte, _ int64, kv *mvccpb.KeyValue) []byte {
	if !f.o.ValueOnly {
		b = append(f.o.Style.key(b, f.o.text(kv.GetKey(), true)), f.o.separator())
	}
	b = append(b, f.o.text(kv.GetValue(), false)...)
	b = append(b, f.o.separator())
	if f.o.ShowLease {
		b = fmt.Appendf(b, "lease %016x%c", kv.GetLease(), f.o.separator())
	}
	return b
}

func (f simple) close(b []byte, _ int64, _ RangeEnd) []byte { return b }

func (o Options) separator() byte {
	if o.Zero {
		return 0
	}
	return '\n'
}

// text returns a key or value as it is to be shown: as it is unless it would be unreadable or a danger there.
func (o Options) text(s []byte, isKey bool) []byte {
	switch {
	case o.Hex:
		b := make([]byte, 0, 4*len(s))
		for i := range s {
			b = append(b, '\\', 'x')
			b = hex.AppendEncode(b, s[i:i+1])
		}
		return b
	}
	return o.shown(s, isKey)
}

// shown returns text that is no key or value of etcd's as it may be shown.
func (o Options) shown(s []byte, oneLine bool) []byte {
	if o.Terminal {
		return escape(s, oneLine)
	}
	return s
}

// fields is etcdctl's format fields: a name and a value per line.
type fields struct{ o Options }

func (f fields) header(b []byte, h *pb.ResponseHeader) []byte {
	id := "\"%s\" : %d\n"
	if f.o.Hex {
		id = "\"%s\" : %x\n"
	}
	b = fmt.Appendf(b, id, "ClusterID", h.GetClusterId())
	b = fmt.Appendf(b, id, "MemberID", h.GetMemberId())
	if h.GetRevision() > 0 {
		b = fmt.Appendf(b, "\"Revision\" : %d\n", h.GetRevision())
	}
	return fmt.Appendf(b, "\"RaftTerm\" : %d\n", h.GetRaftTerm())
}

func (f fields) kv(b []byte, prefix string, kv *mvccpb.KeyValue) []byte {
	b = fmt.Appendf(b, "\"%sKey\" : %q\n", prefix, kv.GetKey())
	b = fmt.Appendf(b, "\"%sCreateRevision\" : %d\n", prefix, kv.GetCreateRevision())
	b = fmt.Appendf(b, "\"%sModRevision\" : %d\n", prefix, kv.GetModRevision())
	b = fmt.Appendf(b, "\"%sVersion\" : %d\n", prefix, kv.GetVersion())
	b = fmt.Appendf(b, "\"%sValue\" : %q\n", prefix, kv.GetValue())
	if f.o.Hex {
		return fmt.Appendf(b, "\"%sLease\" : %016x\n", prefix, kv.GetLease())
	}
	return fmt.Appendf(b, "\"%sLease\" : %d\n", prefix, kv.GetLease())
}

func (f fields) put(b []byte, a PutAnswer) []byte {
	r := (*pb.PutResponse)(a.Response)
	b = f.header(b, r.GetHeader())
	if r.GetPrevKv() != nil {
		b = f.kv(b, "Prev", r.GetPrevKv())
	}
	return b
}

func (f fields) del(b []byte, r *pb.DeleteRangeResponse) []byte {
	b = f.header(b, r.GetHeader())
	b = fmt.Appendf(b, "\"Deleted\" : %d\n", r.GetDeleted())
	for _, kv := range r.GetPrevKvs() {
		b = f.kv(b, "Prev", kv)
	}
	return b
}

func (f fields) watch(b []byte, r *clientv3.WatchResponse) []byte {
	b = f.header(b, r.Header)
	for _, ev := range r.Events {
		b = fmt.Appendf(b, "\"Type\" : %v\n", ev.GetType())
		if ev.GetPrevKv() != nil {
			b = f.kv(b, "Prev", ev.GetPrevKv())
		}
		b = f.kv(b, "", ev.GetKv())
	}
	return b
}

func (f fields) open(b []byte, h *pb.ResponseHeader) []byte { return f.header(b, h) }

func (f fields) pair(b []byte, _ int64, kv *mvccpb.KeyValue) []byte { return f.kv(b, "", kv) }

func (f fields) close(b []byte, _ int64, end RangeEnd) []byte {
	return fmt.Appendf(b, "\"More\" : %t\n\"Count\" : %d\n", end.More, end.Count)
}

// protobuf is etcdctl's format protobuf: the message as it came. A message may be written in parts, because in the wire
// format the parts of a message, one behind the other, are the message.
type protobuf struct{}

func (protobuf) message(b []byte, m proto.Message) []byte {
	// Messages made of known fields always marshal: only invalid UTF-8 in a string field could fail, and there are none.
	out, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return b
	}
	return out
}

func (f protobuf) put(b []byte, a PutAnswer) []byte {
	return f.message(b, (*pb.PutResponse)(a.Response))
}

func (f protobuf) del(b []byte, r *pb.DeleteRangeResponse) []byte { return f.message(b, r) }

func (f protobuf) watch(b []byte, r *clientv3.WatchResponse) []byte {
	return f.message(b, &pb.WatchResponse{
		Header: r.Header, Events: r.Events, CompactRevision: r.CompactRevision, Canceled: r.Canceled, Created: r.Created,
	})
}

func (f protobuf) open(b []byte, h *pb.ResponseHeader) []byte {
	return f.message(b, &pb.RangeResponse{Header: h})
}

func (f protobuf) pair(b []byte, _ int64, kv *mvccpb.KeyValue) []byte {
	return f.message(b, &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{kv}})
}

func (f protobuf) close(b []byte, _ int64, end RangeEnd) []byte {
	return f.message(b, &pb.RangeResponse{More: end.More, Count: end.Count})
}

// jsonDocument is etcdctl's format json: one line per answer, keys and values in base64.
type jsonDocument struct{}

// document appends v as one line. The types printed here always marshal.
func (jsonDocument) document(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return b
	}
	return append(append(b, text...), '\n')
}

func (f jsonDocument) put(b []byte, a PutAnswer) []byte {
	return f.document(b, (*pb.PutResponse)(a.Response))
}

func (f jsonDocument) del(b []byte, r *pb.DeleteRangeResponse) []byte { return f.document(b, r) }

func (f jsonDocument) watch(b []byte, r *clientv3.WatchResponse) []byte { return f.document(b, r) }
