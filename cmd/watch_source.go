package cmd

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/watch"
)

// watchSource lets pkg/watch open its streams on a cluster's members.
type watchSource struct {
	c      *conn.Cluster
	notice func(text string)
}

const (
	streamPause = 200 * time.Millisecond
	// longStream is how long a stream has to last for its failure to be news, even if it is the one before again.
	longStream = 10 * time.Second
)

// Stream keeps work on a member that answers, for as long as another try may help.
func (s watchSource) Stream(ctx context.Context, work func(context.Context, watch.Member) error) error {
	said := ""
	for {
		begun := time.Now()
		err := s.c.Stream(ctx, func(ctx context.Context, m conn.Member) error { return work(ctx, watchMember(m)) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		if time.Since(begun) > longStream {
			said = ""
		}
		if !s.mends(err) {
			return err
		}
		if text := err.Error(); prospectOf(err) == wrongSetUp && text != said {
			said = text
			s.notice(text + ": trying again")
		}
		select {
		case <-time.After(streamPause):
		case <-ctx.Done():
		}
	}
}

// mends says whether waiting may end the failure err.
func (s watchSource) mends(err error) bool {
	p := prospectOf(err)
	return p == mendsItself || p == wrongSetUp && s.c.Served()
}

// prospect is what waiting can do about a failure.
type prospect int

const (
	lasts       prospect = iota
	mendsItself          // all members away, an election
	wrongSetUp           // no member talks to this client: lasting, if none ever did
)

func prospectOf(err error) prospect {
	u, ok := errors.AsType[*conn.UnavailableError](err)
	if !ok {
		code := status.Code(err)
		if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
			code = e.Code()
		}
		switch code {
		case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented:
			return lasts
		}
		return mendsItself
	}
	if len(u.Attempts) == 0 {
		return mendsItself
	}
	found := wrongSetUp
	for _, a := range u.Attempts {
		switch a.Reason {
		case conn.BadLogin, conn.NoPermission:
			found = lasts
		case conn.WrongCA, conn.NeedCert, conn.PlainPort, conn.TLSPort, conn.NotEtcd:
		default:
			return mendsItself
		}
	}
	return found
}

func watchMember(m conn.Member) watch.Member {
	return watch.Member{
		Endpoint: m.Endpoint,
		Open: func(ctx context.Context, maxBytes int) (pb.Watch_WatchClient, error) {
			// A progress request reaches only the watches of the same stream, and a stream is told apart by its metadata,
			// so the one stream is opened with require-leader from the start.
			return pb.NewWatchClient(m.Client.ActiveConnection()).Watch(clientv3.WithRequireLeader(ctx),
				grpc.MaxCallRecvMsgSize(maxBytes), grpc.MaxCallSendMsgSize(math.MaxInt32))
		},
		Version: func(ctx context.Context) (string, error) {
			resp, err := pb.NewMaintenanceClient(m.Client.ActiveConnection()).Status(ctx, &pb.StatusRequest{})
			return resp.GetVersion(), err
		},
	}
}

// keyIndex is a checkpoint's key index as pkg/watch sees it; the lock is the sink's, whose clock flushes it.
type keyIndex struct {
	mu *sync.Mutex
	x  *checkpoint.Index
}

// lock keeps the clock away until the returned function is called.
func (k keyIndex) lock() (unlock func()) {
	k.mu.Lock()
	return k.mu.Unlock
}

// Len returns the number of keys; an index that cannot be read counts as one that may hold anything.
func (k keyIndex) Len() int64 {
	defer k.lock()()
	n, err := k.x.Len()
	if err != nil {
		return math.MaxInt64 / 2
	}
	return n
}

// Announced returns the number of keys that Page has and Len does not count.
func (k keyIndex) Announced() int64 {
	defer k.lock()()
	return int64(k.x.Announced())
}

func (k keyIndex) Get(key []byte) (watch.Known, bool, error) {
	defer k.lock()()
	known, ok, err := k.x.Get(key)
	return watch.Known(known), ok, err
}

func (k keyIndex) Page(from []byte, n int) ([]watch.Entry, error) {
	defer k.lock()()
	page, err := k.x.Page(from, n)
	entries := make([]watch.Entry, len(page))
	for i, e := range page {
		entries[i] = watch.Entry{Key: e.Key, Known: watch.Known(e.Known)}
	}
	return entries, err
}

// watchRange returns the range that a key, a range end and --prefix mean, as etcdctl takes them.
func watchRange(key, end string, prefix bool) watch.Range {
	r := watch.Range{Key: []byte(key)}
	switch {
	case prefix && key == "":
		return watch.Range{Key: []byte{0}, End: []byte{0}}
	case prefix:
		r.End = []byte(clientv3.GetPrefixRangeEnd(key))
	case end != "":
		r.End = []byte(end)
	}
	if key == "" {
		r.Key = []byte{0} // what a server makes of no key
	}
	return r
}

// isPrefix returns the prefix that r is, if it is one.
func isPrefix(r watch.Range) (string, bool) {
	if string(r.Key) == "\x00" && string(r.End) == "\x00" {
		return "", true
	}
	return string(r.Key), len(r.End) > 0 && strings.Compare(clientv3.GetPrefixRangeEnd(string(r.Key)), string(r.End)) == 0
}
