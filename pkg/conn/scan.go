package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// firstPage is how many keys the first request asks for: a range with no more is read by one Range call. It is not
	// larger because nothing is known yet about the values, and a server answers with all of them in one message.
	firstPage = 1000
	// pageBytes is the wanted size of one page: 10,000 keys with values of 256 B.
	pageBytes = 3200 << 10
	// messageBytes is the largest answer that is taken in one piece. Decoded it takes twice its size for a moment.
	messageBytes = 16 << 20
	// probeAfter is how long the first page may take before a RangeStream is started beside it. Servers count the whole
	// range for every page, about 0.1 us per key, which keeps the first key of a large range waiting.
	probeAfter = 40 * time.Millisecond
)

// ScanOptions narrows a Scan.
type ScanOptions struct {
	// Rev is the revision to read at; 0: the newest one when the scan starts.
	Rev int64
	// Limit is the most keys to read; 0: all.
	Limit int64
	// KeysOnly leaves the values out. Servers from 3.7 on leave out the leases too.
	KeysOnly bool
	// Serializable reads from any member without asking the others for the newest revision.
	Serializable bool
	// Wait bounds the time until the first keys, and from then on between any two chunks; the time that emit takes does
	// not count. 0: no bound but ctx's.
	Wait time.Duration
}

// ScanEnd is what is known once a Scan is done; it equals what one Range call would have said.
type ScanEnd struct {
	// Count is how many keys the range holds, the limit aside.
	Count int64
	// More says that the limit left keys out.
	More bool
}

// ScanError tells how far a scan came that could not be finished.
type ScanError struct {
	Keys int64 // handed to emit
	Rev  int64 // read at
	Err  error
}

// Error names the number of keys and the reason.
func (e *ScanError) Error() string {
	return fmt.Sprintf("stopped after %d keys at revision %d: %v", e.Keys, e.Rev, e.Err)
}

// Unwrap returns the reason.
func (e *ScanError) Unwrap() error { return e.Err }

// Scan reads the keys in [key, end) in ascending order, all at one revision, and hands them to emit as they arrive, so
// that memory does not grow with the range. end is "\x00" for all keys from key on, and is not empty.
//
// A range of up to 1,000 keys takes one Range call. Larger ones are streamed where the server has RangeStream (3.7),
// else read in pages; when a member dies in between, another one continues behind the last key. emit is called at least
// once, with the header of the first answer. A scan that stops after its first keys returns a *ScanError.
func (c *Cluster) Scan(ctx context.Context, key, end string, o ScanOptions, emit func(*pb.ResponseHeader, []*mvccpb.KeyValue) error) (ScanEnd, error) {
	s := &scan{c: c, o: o, next: []byte(key), end: []byte(end), emit: emit, rev: o.Rev}
	s.pager.end = s.end
	ctx, s.idle = newIdle(ctx, o.Wait)
	defer s.idle.close()
	err := s.run(ctx)
	switch {
	case s.emitErr != nil:
		return ScanEnd{}, s.emitErr
	case s.done:
		return s.result, nil
	case err == nil:
		err = context.Cause(ctx)
	}
	if s.idle.expired(ctx) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		err = fmt.Errorf("nothing came for %v: %w", o.Wait, context.DeadlineExceeded)
	}
	if s.keys > 0 {
		err = &ScanError{Keys: s.keys, Rev: s.rev, Err: err}
	}
	return ScanEnd{}, err
}

// scan is how far one Scan has come. One goroutine at a time owns it.
type scan struct {
	c    *Cluster
	o    ScanOptions
	emit func(*pb.ResponseHeader, []*mvccpb.KeyValue) error
	idle *idle

	header    *pb.ResponseHeader // of the first answer
	rev       int64              // pinned by the first answer
	next, end []byte             // what is still to be read
	keys      int64              // handed to emit
	pager     pager              // where the pages are, which may be ahead of next
	first     *call              // the first page
	counted   bool               // its count is for the revision that is read at

	done    bool
	result  ScanEnd
	emitErr error
}

func (s *scan) run(ctx context.Context) error {
	req := s.request()
	s.first = startCall(ctx, func(ctx context.Context) (*pb.RangeResponse, error) { return s.firstPage(ctx, req) })
	defer s.first.stop()
	if err := s.begin(ctx); err != nil || s.done || s.emitErr != nil {
		return err
	}
	return s.c.Stream(ctx, func(ctx context.Context, m Member) error {
		err := s.stream(ctx, m)
		if code := status.Code(err); code == codes.Unimplemented || code == codes.ResourceExhausted {
			err = s.pages(ctx, m)
		}
		if s.emitErr != nil {
			return nil // no other member can mend the output
		}
		return err
	})
}

// begin takes the first page, or, when that takes long and a stream may be faster, no more than the revision to read at.
func (s *scan) begin(ctx context.Context) error {
	if s.o.Limit > 0 && s.o.Limit <= firstPage {
		return s.awaitFirst()
	}
	timer := time.NewTimer(probeAfter)
	defer timer.Stop()
	select {
	case <-s.first.ready:
		return s.awaitFirst()
	case <-timer.C:
	}
	head := startCall(ctx, s.head)
	defer head.stop()
	select {
	case <-s.first.ready:
		return s.awaitFirst()
	case <-head.ready:
		if head.err != nil {
			return s.awaitFirst()
		}
		s.pin(head.resp)
		s.deliver(nil, nil) // the header
		return s.emitErr
	}
}

// awaitFirst waits for the first page and delivers it.
func (s *scan) awaitFirst() error {
	<-s.first.ready
	if s.first.err != nil {
		return s.first.err
	}
	s.useFirst()
	return nil
}

// useFirst delivers the first page, which has come.
func (s *scan) useFirst() {
	resp := s.first.resp
	s.pin(resp)
	s.counted = true
	s.pager.got(resp.GetKvs(), resp.GetMore(), s.end, firstPage)
	s.deliver(resp.GetKvs(), s.endOf(resp))
}

func (s *scan) pin(resp *pb.RangeResponse) {
	s.header = resp.GetHeader()
	if s.o.Rev == 0 {
		s.rev = s.header.GetRevision()
	}
	s.pager.whole = s.header.GetMemberId() == 0 // no etcd
}

// endOf returns what the first page says about the whole range; nil when more is to be read.
func (s *scan) endOf(resp *pb.RangeResponse) *ScanEnd {
	if resp.GetMore() && (s.o.Limit == 0 || int64(len(resp.GetKvs())) < s.o.Limit) {
		return nil
	}
	return &ScanEnd{Count: resp.GetCount(), More: resp.GetMore()}
}

// deliver hands keys out and steps behind them; end is not nil with the last ones.
func (s *scan) deliver(kvs []*mvccpb.KeyValue, end *ScanEnd) {
	s.idle.pause()
	defer s.idle.resume()
	if s.emitErr = s.emit(s.header, kvs); s.emitErr != nil {
		return
	}
	s.keys += int64(len(kvs))
	if len(kvs) > 0 {
		s.next = after(kvs)
	}
	if end != nil {
		s.done, s.result = true, *end
	}
}

// firstPage asks for the first keys, at the newest revision.
func (s *scan) firstPage(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	if s.o.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.o.Wait)
		defer cancel()
	}
	limit := int64(firstPage)
	if s.o.Limit > 0 {
		limit = min(limit, s.o.Limit)
	}
	return Read(ctx, s.c, func(ctx context.Context, m Member) (*pb.RangeResponse, error) {
		return s.page(ctx, m, req, limit)
	})
}

// head asks for the header only: one key is cheap, whatever the size of the range.
func (s *scan) head(ctx context.Context) (*pb.RangeResponse, error) {
	req := &pb.RangeRequest{Key: s.next, Revision: s.o.Rev, Serializable: s.o.Serializable, CountOnly: true}
	return Read(ctx, s.c, func(ctx context.Context, m Member) (*pb.RangeResponse, error) {
		resp, err := kvClient(m).Range(ctx, req)
		return resp, clientv3.ContextError(ctx, err)
	})
}

// request returns a new request for what is left of the range.
func (s *scan) request() *pb.RangeRequest {
	return &pb.RangeRequest{Key: s.next, RangeEnd: s.end, Revision: s.rev, KeysOnly: s.o.KeysOnly, Serializable: s.o.Serializable}
}

// page asks m for up to limit keys; fewer when the answer would be too large to hold.
func (s *scan) page(ctx context.Context, m Member, base *pb.RangeRequest, limit int64) (*pb.RangeResponse, error) {
	for {
		req := &pb.RangeRequest{
			Key: base.Key, RangeEnd: base.RangeEnd, Revision: base.Revision,
			KeysOnly: base.KeysOnly, Serializable: base.Serializable, Limit: limit,
		}
		resp, err := kvClient(m).Range(ctx, req, s.bound(limit)...)
		if status.Code(err) == codes.ResourceExhausted && limit > 1 {
			limit = max(limit/8, 1)
			continue
		}
		return resp, clientv3.ContextError(ctx, err)
	}
}

// bound limits the size of an answer, unless it is for one key, which cannot be made smaller.
func (s *scan) bound(limit int64) []grpc.CallOption {
	switch most := s.c.opts.MaxRecvBytes; {
	case limit == 1:
		return nil
	case most > 0:
		return []grpc.CallOption{grpc.MaxCallRecvMsgSize(min(most, messageBytes))}
	default:
		return []grpc.CallOption{grpc.MaxCallRecvMsgSize(messageBytes)}
	}
}

func kvClient(m Member) pb.KVClient { return pb.NewKVClient(m.Client.ActiveConnection()) }

// stream reads what is left with one RangeStream call. It fails with the code Unimplemented on servers before 3.7, and
// with ResourceExhausted when one chunk is too large; both leave the keys before it delivered.
func (s *scan) stream(ctx context.Context, m Member) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := s.request()
	if s.o.Limit > 0 {
		req.Limit = s.o.Limit - s.keys
	}
	st, err := kvClient(m).RangeStream(ctx, req, s.bound(0)...)
	if err != nil {
		return clientv3.ContextError(ctx, err)
	}
	before := s.keys
	for {
		chunk, err := st.Recv()
		switch {
		case errors.Is(err, io.EOF) && s.done:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return clientv3.ContextError(ctx, err)
		}
		var end *ScanEnd
		resp := chunk.GetRangeResponse()
		if h := resp.GetHeader(); h != nil { // only the last chunk has one
			end = &ScanEnd{Count: before + resp.GetCount(), More: resp.GetMore()}
		}
		if s.deliver(resp.GetKvs(), end); s.emitErr != nil {
			return s.emitErr
		}
		s.first.stop()
	}
}

// pages reads what is left page by page. While one is handed out, the next is on its way.
func (s *scan) pages(ctx context.Context, m Member) error {
	if s.keys == 0 { // the stream was tried before the first page had come
		<-s.first.ready
		if s.first.err == nil && (s.o.Rev != 0 || s.first.resp.GetHeader().GetRevision() == s.rev) {
			if s.useFirst(); s.done || s.emitErr != nil {
				return s.emitErr
			}
		}
	}
	s.pager.pos = s.next
	taken := s.keys
	p := s.fetch(ctx, m, taken)
	for {
		<-p.ready
		if p.err != nil {
			return p.err
		}
		kvs := p.resp.GetKvs()
		taken += int64(len(kvs))
		atEnd := s.pager.got(kvs, p.resp.GetMore(), p.sliceEnd, p.limit)
		next := s.pager.pos
		var end *ScanEnd
		var following *fetched
		switch {
		case atEnd:
			if err := s.complete(taken); err != nil {
				return err
			}
			end = &ScanEnd{Count: taken}
		case s.o.Limit > 0 && taken >= s.o.Limit:
			rest, err := s.count(ctx, m)
			if err != nil {
				return err
			}
			end = &ScanEnd{Count: taken + rest, More: rest > 0}
		default:
			following = s.fetch(ctx, m, taken)
		}
		if s.deliver(kvs, end); s.emitErr != nil || following == nil {
			if following != nil {
				following.stop()
			}
			return s.emitErr
		}
		s.next, p = next, following
	}
}

// complete compares the number of keys that were read with what the first page said of the range, where it said it.
func (s *scan) complete(taken int64) error {
	if first := s.first.resp; s.counted && first.GetCount() != taken {
		return fmt.Errorf("the server counts %d keys, but its pages hold %d", first.GetCount(), taken)
	}
	return nil
}

// fetched is a page on its way.
type fetched struct {
	*call
	sliceEnd []byte
	limit    int64
}

// fetch starts to read the next page; taken is how many keys come before it.
func (s *scan) fetch(ctx context.Context, m Member, taken int64) *fetched {
	f := &fetched{}
	req := s.request()
	req.Key = s.pager.pos
	req.RangeEnd, f.limit = s.pager.ask()
	f.sliceEnd = req.RangeEnd
	if s.o.Limit > 0 {
		f.limit = min(f.limit, s.o.Limit-taken)
	}
	f.call = startCall(ctx, func(ctx context.Context) (*pb.RangeResponse, error) { return s.page(ctx, m, req, f.limit) })
	return f
}

// count returns how many keys are left.
func (s *scan) count(ctx context.Context, m Member) (int64, error) {
	req := s.request()
	req.Key, req.CountOnly = s.pager.pos, true
	resp, err := kvClient(m).Range(ctx, req)
	return resp.GetCount(), clientv3.ContextError(ctx, err)
}
