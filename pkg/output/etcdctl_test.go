package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3/command"
)

// answers are what etcd may say to get, put, del and watch.
func answers() map[string]any {
	h := &pb.ResponseHeader{ClusterId: 14841639068965178418, MemberId: 10276657743932975437, Revision: 7, RaftTerm: 2}
	plain := &mvccpb.KeyValue{Key: []byte("a/b"), Value: []byte("v"), CreateRevision: 2, ModRevision: 5, Version: 3}
	leased := &mvccpb.KeyValue{Key: []byte("l"), Value: []byte("x y"), CreateRevision: 6, ModRevision: 6, Version: 1, Lease: 7587862094843906823}
	binary := &mvccpb.KeyValue{Key: []byte("\x00\xff\x1b[31m\n"), Value: []byte("\"\\\x80\u2028<&>\r\n\x00"), CreateRevision: 1 << 62, ModRevision: 1 << 62, Version: 1}
	empty := &mvccpb.KeyValue{Key: []byte("e"), CreateRevision: 7, ModRevision: 7, Version: 1}
	gone := &mvccpb.KeyValue{Key: []byte("gone"), ModRevision: 8}
	kvs := []*mvccpb.KeyValue{plain, leased, binary, empty}
	return map[string]any{
		"get nothing":       &clientv3.GetResponse{Header: h},
		"get one":           &clientv3.GetResponse{Header: h, Kvs: kvs[:1], Count: 1},
		"get many":          &clientv3.GetResponse{Header: h, Kvs: kvs, Count: 4},
		"get limited":       &clientv3.GetResponse{Header: h, Kvs: kvs[:2], Count: 4, More: true},
		"get counted":       &clientv3.GetResponse{Header: h, Count: 4},
		"get small header":  &clientv3.GetResponse{Header: &pb.ResponseHeader{}, Kvs: kvs[2:], Count: 2},
		"put":               &clientv3.PutResponse{Header: h},
		"put over":          &clientv3.PutResponse{Header: h, PrevKv: binary},
		"put over empty":    &clientv3.PutResponse{Header: h, PrevKv: empty},
		"del nothing":       &clientv3.DeleteResponse{Header: h},
		"del":               &clientv3.DeleteResponse{Header: h, Deleted: 4},
		"del with previous": &clientv3.DeleteResponse{Header: h, Deleted: 4, PrevKvs: kvs},
		"watch": &clientv3.WatchResponse{Header: h, Events: []*clientv3.Event{
			{Type: mvccpb.Event_PUT, Kv: plain},
			{Type: mvccpb.Event_PUT, Kv: leased, PrevKv: empty},
			{Type: mvccpb.Event_DELETE, Kv: gone},
			{Type: mvccpb.Event_DELETE, Kv: gone, PrevKv: binary},
		}},
		"watch progress":  &clientv3.WatchResponse{Header: h},
		"watch created":   &clientv3.WatchResponse{Header: h, Created: true},
		"watch compacted": &clientv3.WatchResponse{Header: h, Canceled: true, CompactRevision: 5, CancelReason: "compacted"},
	}
}

func TestAnswersAreEtcdctls(t *testing.T) {
	for _, format := range []Format{Simple, Fields, JSON, Protobuf} {
		for _, asHex := range []bool{false, true} {
			for name, answer := range answers() {
				t.Run(fmt.Sprintf("%s/hex=%t/%s", format, asHex, name), func(t *testing.T) {
					want := etcdctls(t, string(format), asHex, answer)
					got := ours(t, Options{Format: format, Hex: asHex}, answer)
					if got != want {
						t.Errorf("got\n%q\nwant\n%q", got, want)
					}
				})
			}
		}
	}
}

// etcdctls returns what etcdctl prints. Its printers know no other output than os.Stdout.
func etcdctls(t *testing.T, format string, asHex bool, answer any) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdout := os.Stdout
	os.Stdout = file
	defer func() { os.Stdout = stdout }()
	p := command.NewPrinter(format, asHex)
	switch a := answer.(type) {
	case *clientv3.GetResponse:
		p.Get(a)
	case *clientv3.PutResponse:
		p.Put(a)
	case *clientv3.DeleteResponse:
		p.Del(a)
	case *clientv3.WatchResponse:
		p.Watch(a)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func ours(t *testing.T, o Options, answer any) string {
	t.Helper()
	var b bytes.Buffer
	p, err := New(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	switch a := answer.(type) {
	case *clientv3.GetResponse:
		err = p.Get(a)
	case *clientv3.PutResponse:
		err = p.Put(PutAnswer{Key: "k", Response: a})
	case *clientv3.DeleteResponse:
		err = p.Delete(a)
	case *clientv3.WatchResponse:
		err = p.Watch(a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzRangeJSON checks that a range written in pieces is what encoding/json makes of it as a whole.
func FuzzRangeJSON(f *testing.F) {
	f.Add(uint64(1), uint64(2), int64(3), uint64(4), []byte("k\x00"), []byte("v"), int64(5), int64(-6), uint8(3), uint8(1), true, int64(9))
	f.Add(uint64(0), uint64(0), int64(0), uint64(0), []byte(nil), []byte(nil), int64(0), int64(0), uint8(0), uint8(0), false, int64(0))
	f.Fuzz(func(t *testing.T, cluster, member uint64, rev int64, term uint64, key, val []byte, num, lease int64, n, cut uint8, more bool, count int64) {
		resp := &pb.RangeResponse{
			Header: &pb.ResponseHeader{ClusterId: cluster, MemberId: member, Revision: rev, RaftTerm: term}, More: more, Count: count,
		}
		for i := range n {
			resp.Kvs = append(resp.Kvs, &mvccpb.KeyValue{
				Key: append(key, i), Value: val[:min(len(val), int(i))], CreateRevision: num, ModRevision: num * int64(i), Version: int64(i), Lease: lease,
			})
		}
		want, err := json.Marshal(resp)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		p, err := New(&b, Options{Format: JSON})
		if err != nil {
			t.Fatal(err)
		}
		r, at := p.Range(), min(int(cut), len(resp.Kvs))
		for _, part := range [][]*mvccpb.KeyValue{nil, resp.Kvs[:at], resp.Kvs[at:]} {
			if err := r.Add(resp.Header, part); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.End(RangeEnd{Count: count, More: more}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != string(want)+"\n" {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
