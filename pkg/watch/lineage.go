package watch

import (
	"context"
	"errors"
	"hash/crc32"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// valueSum is the checksum of values in anchors and in the key index.
func valueSum(v []byte) uint32 { return crc32.Checksum(v, crc32.MakeTable(crc32.Castagnoli)) }

// readWithin bounds one read of a check.
const readWithin = 5 * time.Second

// Verify asks the cluster whether its history is the one that ev remembers. It returns an *OtherClusterError or a
// *RegressionError if not, and the cluster's present state. What is compacted cannot be compared, and is no error here.
func (w *Watcher) Verify(ctx context.Context, ev Evidence) (Head, error) {
	head, err := w.head(ctx)
	if err == nil {
		err = judge(ev, head)
	}
	// Servers from 3.4.20 on may answer a linearizable read from the past right after they were paused (etcd #20418), so
	// an answer from before the saved revision is believed only when it is repeated.
	for i := 0; i < 5 && as[*RegressionError](err); i++ {
		if err := pause(ctx, 400*time.Millisecond); err != nil {
			return head, err
		}
		if head, err = w.head(ctx); err == nil {
			err = judge(ev, head)
		}
	}
	if err != nil || ev.Rev <= 0 || ev.ClusterID == 0 {
		return head, err
	}
	return head, w.verifyPast(ctx, ev)
}

// verifyPast compares the anchor and the number of keys with what the cluster remembers of the saved revision.
func (w *Watcher) verifyPast(ctx context.Context, ev Evidence) error {
	past := func(key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, readWithin)
		defer cancel()
		resp, err := w.KV.Get(ctx, key, append(opts, clientv3.WithRev(ev.Rev))...)
		if errors.Is(err, rpctypes.ErrFutureRev) {
			err = &RegressionError{Rev: ev.Rev, Why: "the cluster does not know the saved revision yet"}
		}
		return resp, err
	}
	if ev.Anchor != nil {
		resp, err := past(string(ev.Anchor.Key))
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil
		}
		if err != nil {
			return err
		}
		var kv *mvccpb.KeyValue
		if len(resp.Kvs) > 0 {
			kv = resp.Kvs[0]
		}
		if err := judgeAnchor(ev, kv, valueSum); err != nil {
			return err
		}
	}
	if ev.Count >= 0 {
		resp, err := past(string(w.Range.Key), w.rangeOps(clientv3.WithCountOnly())...)
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil
		}
		if err != nil {
			return err
		}
		if resp.Count != ev.Count {
			return &RegressionError{Rev: ev.Rev, Why: "the range does not hold as many keys as it did at the saved revision"}
		}
	}
	return nil
}

func (w *Watcher) head(ctx context.Context) (Head, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	// Not the whole range: its size must not decide how soon a watch is back. The key alone is readable to whoever may
	// watch the range.
	resp, err := w.KV.Get(ctx, string(w.Range.Key), clientv3.WithCountOnly())
	if err != nil {
		return Head{}, err
	}
	h := resp.Header
	return Head{ClusterID: h.GetClusterId(), MemberID: h.GetMemberId(), Term: h.GetRaftTerm(), Rev: h.GetRevision()}, nil
}

// rangeOps makes a read cover the whole range.
func (w *Watcher) rangeOps(opts ...clientv3.OpOption) []clientv3.OpOption {
	if len(w.Range.End) > 0 {
		opts = append(opts, clientv3.WithRange(string(w.Range.End)))
	}
	return opts
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
