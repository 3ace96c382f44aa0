// Package output renders what etcd answers, and records of etcdx's own, as text, JSON, JSON lines, YAML, tables or protobuf.
//
// The formats simple, fields, json, protobuf and table are etcdctl's, to the byte. The formats jsonl, yaml and value are
// etcdx's own: keys and values as text, every record with the name and version of its schema.
package output

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Format names a way to render.
type Format string

// The formats.
const (
	Simple   Format = "simple"
	Fields   Format = "fields"
	JSON     Format = "json"
	Protobuf Format = "protobuf"
	Table    Format = "table"
	JSONL    Format = "jsonl"
	YAML     Format = "yaml"
	Value    Format = "value"
)

// Formats returns all formats, etcdctl's first.
func Formats() []Format { return []Format{Simple, Fields, JSON, Protobuf, Table, JSONL, YAML, Value} }

// FormatError is a format that does not exist, or that a command has no use for.
type FormatError struct {
	Format      Format
	Unsupported bool // the format exists
}

// Error names the format and, when it does not exist, those that do.
func (e *FormatError) Error() string {
	if e.Unsupported {
		return fmt.Sprintf("%s not supported as output format", e.Format)
	}
	names := make([]string, 0, len(Formats()))
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	return fmt.Sprintf("unsupported output format %q: choose one of %s", string(e.Format), strings.Join(names, ", "))
}

// WriteError says that the output could not be written, so that what is there may be cut short.
type WriteError struct{ Err error }

// Error tells why.
func (e *WriteError) Error() string { return "write output: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *WriteError) Unwrap() error { return e.Err }

// Options says how to render.
type Options struct {
	Format Format
	// Hex is etcdctl's --hex: keys and values as \x.. in text, ids in hexadecimal.
	Hex bool
	// ValueOnly leaves the keys out of simple output.
	ValueOnly bool
	// KeysOnly leaves the values out of the formats value, jsonl and yaml.
	KeysOnly bool
	// ShowLease adds a line with the lease of each key to simple output.
	ShowLease bool
	// Zero ends the items of the formats simple and value with a NUL byte instead of a newline.
	Zero bool
	// Terminal says that people look at the output: control bytes are escaped, so that no key or value can move the
	// cursor or rename the window.
	Terminal bool
	// Style colours keys and words.
	Style Style
	// Filter, if any, turns the lines of the formats json and jsonl into what is printed instead.
	Filter *Filter
}

// Printer writes answers and records to one stream. Its methods return a *WriteError when the stream does not take them.
type Printer struct {
	w      io.Writer
	o      Options
	layout layout
	buf    []byte
}

// layout is one format: each method appends to b what is to be written.
type layout interface {
	put(b []byte, a PutAnswer) []byte
	del(b []byte, r *pb.DeleteRangeResponse) []byte
	watch(b []byte, r *clientv3.WatchResponse) []byte
	// A range is opened once, then come its pairs, i counting from 0, and then it is closed, n being their number.
	open(b []byte, h *pb.ResponseHeader) []byte
	pair(b []byte, i int64, kv *mvccpb.KeyValue) []byte
	close(b []byte, n int64, end RangeEnd) []byte
}

// New returns a Printer to w, or a *FormatError.
func New(w io.Writer, o Options) (*Printer, error) {
	p := &Printer{w: w, o: o}
	if !slices.Contains(Formats(), o.Format) {
		return nil, &FormatError{Format: o.Format}
	}
	if o.Filter != nil {
		p.w = o.Filter.Writer(w, o)
	}
	switch o.Format {
	case Simple:
		p.layout = simple{o}
	case Fields:
		p.layout = fields{o}
	case JSON:
		p.layout = jsonDocument{}
	case Protobuf:
		p.layout = protobuf{}
	case JSONL:
		p.layout = jsonLines{o}
	case YAML:
		p.layout = yamlList{o}
	case Value:
		p.layout = value{o}
	case Table: // for records only
	}
	return p, nil
}

// Answers returns a *FormatError if the format cannot show what etcd answers to get, put, del and watch. It is to be asked
// before anything is written to etcd.
func (p *Printer) Answers() error {
	if p.layout == nil {
		return &FormatError{Format: p.o.Format, Unsupported: true}
	}
	return nil
}

// PutAnswer is what is known about a put that was done.
type PutAnswer struct {
	Key      string
	Lease    int64 // that the key was put under; 0: none, or unchanged
	Response *clientv3.PutResponse
}

// Put prints what a put answered.
func (p *Printer) Put(a PutAnswer) error { return p.write(p.layout.put(p.buf[:0], a)) }

// Delete prints what a delete answered.
func (p *Printer) Delete(r *clientv3.DeleteResponse) error {
	return p.write(p.layout.del(p.buf[:0], (*pb.DeleteRangeResponse)(r)))
}

// Watch prints one response of a watch.
func (p *Printer) Watch(r *clientv3.WatchResponse) error {
	return p.write(p.layout.watch(p.buf[:0], r))
}

// Get prints what a get answered.
func (p *Printer) Get(r *clientv3.GetResponse) error {
	resp := (*pb.RangeResponse)(r)
	rg := p.Range()
	if err := rg.Add(resp.GetHeader(), resp.GetKvs()); err != nil {
		return err
	}
	return rg.End(RangeEnd{Count: resp.GetCount(), More: resp.GetMore()})
}

// Count prints how many keys a range holds, from the answer to a get that asked for no more.
func (p *Printer) Count(r *clientv3.GetResponse) error {
	resp := (*pb.RangeResponse)(r)
	c := Count{Schema: SchemaCount, Count: resp.GetCount(), Revision: resp.GetHeader().GetRevision()}
	switch f := p.layout.(type) {
	case jsonLines:
		return p.write(f.line(p.buf[:0], c))
	case yamlList:
		return p.write(f.node(p.buf[:0], c))
	case value:
		return p.write(fmt.Appendf(p.buf[:0], "%d\n", c.Count))
	}
	return p.Get(r)
}

// RangeEnd is what etcd says about a whole range.
type RangeEnd struct {
	Count int64 // keys in the range, whatever the limit
	More  bool  // the limit left some out
}

// Range prints a range that comes in pieces, each as it comes.
type Range struct {
	p    *Printer
	n    int64
	open bool
}

// Range starts to print a range.
func (p *Printer) Range() *Range { return &Range{p: p} }

// flushBytes is how much is gathered before it is written: fewer system calls, and memory that does not grow.
const flushBytes = 64 << 10

// Add prints the next keys. The header counts the first time only.
func (r *Range) Add(h *pb.ResponseHeader, kvs []*mvccpb.KeyValue) error {
	b := r.p.buf[:0]
	if !r.open {
		b, r.open = r.p.layout.open(b, h), true
	}
	for _, kv := range kvs {
		b = r.p.layout.pair(b, r.n, kv)
		r.n++
		if len(b) >= flushBytes {
			if err := r.p.write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	return r.p.write(b)
}

// End prints what follows the last keys.
func (r *Range) End(end RangeEnd) error { return r.p.write(r.p.layout.close(r.p.buf[:0], r.n, end)) }

// write writes b, a piece of the output that may grow out of p.buf.
func (p *Printer) write(b []byte) error {
	if cap(b) <= 2*flushBytes {
		p.buf = b[:0]
	}
	if len(b) == 0 {
		return nil
	}
	if p.o.Format == Protobuf && p.o.Terminal {
		b = escape(b, false)
	}
	_, err := p.w.Write(b)
	if _, ok := errors.AsType[*FilterError](err); ok || err == nil {
		return err
	}
	return &WriteError{Err: err}
}
