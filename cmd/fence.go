package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lock"
)

// fence is a lock that has to be held for a write to be done: its key with the create revision that the holder got. A
// holder that was paused past the end of its lease writes nothing with it.
type fence struct {
	key   string
	token int64
}

// addFenceFlag defines --fence, whose value may be left out.
func addFenceFlag(fs *pflag.FlagSet, text *string) {
	fs.StringVar(text, "fence", "", "write only while this lock is held: KEY@TOKEN, or alone for the one in $ETCDX_FENCE")
	fs.Lookup("fence").NoOptDefVal = fromEnvironment
}

const fromEnvironment = "$ETCDX_FENCE"

// parseFence reads a --fence; an empty one is none.
func (g *globals) parseFence(text string) (*fence, error) {
	if text == "" {
		return nil, nil
	}
	if text == fromEnvironment {
		if text, _ = g.env("ETCDX_FENCE"); text == "" {
			return nil, usageError{text: "--fence: ETCDX_FENCE is not set", hint: "it is there for commands of etcdx lock; else give --fence=KEY@TOKEN"}
		}
	}
	i := strings.LastIndexByte(text, '@')
	if i > 0 {
		if token, err := strconv.ParseInt(text[i+1:], 10, 64); err == nil && token > 0 {
			return &fence{text[:i], token}, nil
		}
	}
	return nil, badArgs(fmt.Sprintf("bad --fence %q: expecting KEY@TOKEN, as in $ETCDX_FENCE", text))
}

// guards returns the comparison that makes a transaction depend on the lock.
func (f *fence) guards() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(f.key), "=", f.token)
}

// do runs op while the lock is held. If it is not, nothing is done, and the error is a lock.ErrLost.
func (f *fence) do(ctx context.Context, c *conn.Cluster, op clientv3.Op) (clientv3.OpResponse, error) {
	resp, err := c.Commit(ctx, []clientv3.Cmp{f.guards()}, []clientv3.Op{op}, nil)
	if err != nil {
		return clientv3.OpResponse{}, err
	}
	if !resp.Succeeded {
		return clientv3.OpResponse{}, &fencedError{f.key, f.token}
	}
	switch r := resp.Responses[0]; {
	case r.GetResponsePut() != nil:
		put := (*clientv3.PutResponse)(r.GetResponsePut())
		put.Header = resp.Header
		return put.OpResponse(), nil
	case r.GetResponseDeleteRange() != nil:
		del := (*clientv3.DeleteResponse)(r.GetResponseDeleteRange())
		del.Header = resp.Header
		return del.OpResponse(), nil
	default:
		return clientv3.OpResponse{}, errors.ErrUnsupported
	}
}

// fencedError says that a write was not done because its lock is not held.
type fencedError struct {
	key   string
	token int64
}

func (e *fencedError) Error() string {
	return fmt.Sprintf("nothing was written: lock %s is not held with token %d", e.key, e.token)
}

// Unwrap makes it a lock.ErrLost.
func (e *fencedError) Unwrap() error { return lock.ErrLost }
