package output

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Txn prints what a transaction answered in the formats simple, fields and protobuf. All others are made of etcdctl's JSON
// by a Shape; for them it returns a *FormatError.
func (p *Printer) Txn(r *clientv3.TxnResponse) error {
	resp := (*pb.TxnResponse)(r)
	b, before := p.buf[:0], ""
	switch f := p.layout.(type) {
	case simple:
		if before = "\n"; resp.GetSucceeded() {
			b = append(f.o.Style.good(b, "SUCCESS"), '\n')
		} else {
			b = append(f.o.Style.bad(b, "FAILURE"), '\n')
		}
	case fields:
		b = fmt.Appendf(f.header(b, resp.GetHeader()), "\"Succeeded\" : %t\n", resp.GetSucceeded())
	case protobuf:
		return p.write(f.message(b, resp))
	default:
		return &FormatError{Format: p.o.Format, Unsupported: true}
	}
	for _, part := range resp.GetResponses() {
		b = p.part(append(b, before...), part)
	}
	return p.write(b)
}

// part appends what one request of a transaction answered.
func (p *Printer) part(b []byte, r *pb.ResponseOp) []byte {
	switch {
	case r.GetResponsePut() != nil:
		return p.layout.put(b, PutAnswer{Response: (*clientv3.PutResponse)(r.GetResponsePut())})
	case r.GetResponseDeleteRange() != nil:
		return p.layout.del(b, r.GetResponseDeleteRange())
	}
	found := r.GetResponseRange()
	b = p.layout.open(b, found.GetHeader())
	for i, kv := range found.GetKvs() {
		b = p.layout.pair(b, int64(i), kv)
	}
	return p.layout.close(b, int64(len(found.GetKvs())), RangeEnd{Count: found.GetCount(), More: found.GetMore()})
}
