package lock

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrMarkers is what Keys.Commit returns, in a *RefusedError, when the user may not write outside the lock's own keys.
var ErrMarkers = errors.New("permission denied")

// fewMarkers is how many markers an exclusive contender looks at. When it is admitted nobody is ahead, so that the oldest marker
// is either its own or says that somebody did not leave in order.
const fewMarkers = 8

// enqueue puts the key at the end of the queue; its create revision is the place.
func (a *acquirer) enqueue(ctx context.Context) (view, error) {
	if a.value.LockKey == "" {
		a.value = newHolder(a.r, a.key, a.session.now().TTL())
	}
	v := view{asked: a.session.clock()}
	absent := clientv3.Compare(clientv3.CreateRevision(a.key), "=", 0)
	cond := absent
	if a.r.Try && a.r.Claim.Mode == Exclusive {
		// Only while nobody else is there, so that a hundred hosts that try do not queue up.
		cond = clientv3.Compare(clientv3.CreateRevision(Prefix(a.r.Name)), "=", 0).WithPrefix()
	}
	e, err := a.join(ctx, cond)
	if err == nil && e.token == 0 {
		if len(e.queue) > 0 {
			return v, a.busy(e)
		}
		e, err = a.join(ctx, absent) // only locks below this one's name are held
	}
	if err != nil {
		return v, err
	}
	a.token = e.token
	v.rev, v.clusterID, v.ahead = e.rev, e.clusterID, e.queue.before(a.token)
	if v.stale, err = a.unclean(v.ahead, e.markers); errors.Is(err, errMixed) {
		return a.look(ctx)
	}
	if err := v.ahead.disagrees(a.r.Name, a.r.Claim); err != nil {
		return v, err
	}
	if v.ahead.admits(a.r.Claim) {
		return v, nil
	}
	if a.r.Try {
		return v, a.busy(e)
	}
	n := Notice{Event: "waiting", Key: a.key, Token: a.token, Lease: a.session.lease, Ahead: len(v.ahead), Text: fmt.Sprintf("waiting for lock %q, %d ahead", a.r.Name, len(v.ahead))}
	if len(e.first) > 0 {
		n.Text += ", held by " + e.first[0].Who()
	}
	a.r.notice(n)
	return v, nil
}

// entry is the answer to an attempt to join the queue.
type entry struct {
	token        int64             // 0: not joined
	queue, first Queue             // first has the value of the first contender
	markers      *pb.RangeResponse // nil: this user may not read them
	rev          int64
	clusterID    uint64
}

// join puts the key, with its marker, if cond is true or if it is there already: the call may be an earlier one's copy.
func (a *acquirer) join(ctx context.Context, cond clientv3.Cmp) (entry, error) {
	resp, err := a.joinOnce(ctx, cond)
	if refused, ok := errors.AsType[*RefusedError](err); ok && errors.Is(refused, ErrMarkers) && !a.unmark {
		a.unmark = true
		if resp, err = a.joinOnce(ctx, cond); err == nil {
			a.r.notice(Notice{Event: "unmarked", Key: a.key, Text: "no permission for " + markersOf(a.r.Name) + ": a successor will not wait after an unclean end"})
		}
	}
	if err != nil {
		return entry{}, err
	}
	kvs := func(i int) []*mvccpb.KeyValue { return resp.Responses[i].GetResponseRange().Kvs }
	e := entry{rev: resp.Header.Revision, clusterID: resp.Header.ClusterId, queue: a.queue(kvs(1)), first: newQueue(a.r.Name, kvs(2))}
	if !a.unmark {
		e.markers = resp.Responses[3].GetResponseRange()
	}
	if resp.Succeeded {
		e.token = resp.Header.Revision
	} else if own := kvs(0); len(own) > 0 {
		e.token = own[0].CreateRevision
	}
	return e, nil
}

func (a *acquirer) joinOnce(ctx context.Context, cond clientv3.Cmp) (*clientv3.TxnResponse, error) {
	prefix := Prefix(a.r.Name)
	put := []clientv3.Op{a.put(a.value, clientv3.WithLease(clientv3.LeaseID(a.session.lease)))}
	look := []clientv3.Op{clientv3.OpGet(prefix, a.ranged()...), clientv3.OpGet(prefix, clientv3.WithFirstCreate()...)}
	if !a.unmark {
		look = append(look, a.markers(), clientv3.OpPut(MarkerKey(a.r.Name, a.session.lease), a.value.encode()))
	}
	return a.commit(ctx, []clientv3.Cmp{cond}, append(put, look...), append([]clientv3.Op{clientv3.OpGet(a.key)}, look[:min(len(look), 3)]...))
}

func (a *acquirer) busy(e entry) error {
	if len(e.first) == 0 { // the oldest key is another lock's, below this one's name
		e.first = e.queue
	}
	return &BusyError{Name: a.r.Name, By: e.first[0], Ahead: len(e.queue)}
}

// queue sorts what a range of the lock's prefix returned.
func (a *acquirer) queue(kvs []*mvccpb.KeyValue) Queue {
	q := newQueue(a.r.Name, kvs)
	a.nested = a.nested || len(q) < len(kvs)
	return q
}

// ranged returns the options for reading the queue: an exclusive contender need not know what the others want.
func (a *acquirer) ranged() []clientv3.OpOption {
	opts := []clientv3.OpOption{clientv3.WithPrefix()}
	if a.r.Claim.Mode == Exclusive {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	return opts
}

// markers reads the markers that matter.
func (a *acquirer) markers() clientv3.Op {
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithKeysOnly()}
	if a.r.Claim.Mode == Exclusive && !a.mixed {
		opts = append(opts, clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(fewMarkers))
	}
	return clientv3.OpGet(markersOf(a.r.Name), opts...)
}

// errMixed says that markers of other locks may have kept those that matter out of an answer.
var errMixed = errors.New("too few markers were read")

// unclean returns the markers of contenders before this one that are not in q, from the answer to markers.
func (a *acquirer) unclean(q Queue, r *pb.RangeResponse) (keys []string, err error) {
	for _, kv := range r.GetKvs() {
		if r.GetMore() && !a.mixed && strings.Contains(string(kv.Key[len(markersOf(a.r.Name)):]), "/") {
			a.mixed = true
			return nil, errMixed
		}
	}
	return q.unclean(a.r.Name, r.GetKvs(), a.token, a.key), nil
}

// BusyError says who holds a lock that was not to be had. It is an ErrBusy.
type BusyError struct {
	Name string
	// By is the first in the queue.
	By Contender
	// Ahead is how many were in the queue.
	Ahead int
}

// Error names the holder, as far as it says who it is.
func (e *BusyError) Error() string {
	return fmt.Sprintf("lock %q is held by %s", e.Name, e.By.Who())
}

// Unwrap makes it an ErrBusy.
func (e *BusyError) Unwrap() error { return ErrBusy }

// Who describes a contender in a few words.
func (c Contender) Who() string {
	h, ok := ParseHolder(c.Value)
	if !ok || h.Host == "" {
		return Plain(c.Key)
	}
	text := fmt.Sprintf("%s (pid %d", Plain(h.Host), h.PID)
	if h.User != "" {
		text += ", " + Plain(h.User)
	}
	if h.Command != "" {
		text += ", " + Plain(h.Command)
	}
	return text + ")"
}
