// Package lock runs work only while an etcd lock is certainly held.
//
// # What is guaranteed
//
// The work is told to end, and then killed, before anybody else can hold the lock, by this machine's clock alone: its time
// counts from when the last answered renewal was sent. When the lock's key is deleted, loses its lease or moves to another
// one, the work is killed as soon as the cluster says so, and a successor waits for a while (the lock-delay) before it
// starts, because nobody can tell it that the work has ended.
//
// Keys and order are those of etcd's concurrency.Mutex, so its users and etcdctl take turns with this package.
//
// # What is not
//
// A process that is stopped cannot end its work: whoever calls this package needs a second process for that. A machine
// that is paused as a whole goes on, for a moment, with work it may no longer do. Against that only a fencing token helps:
// see Held.Token.
//
// There is no API promise before version 1.
package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Errors that callers decide on.
var (
	// ErrBusy says that the lock was not to be had: at once, or in the time that was given.
	ErrBusy = errors.New("the lock is held by somebody else")
	// ErrLost says that the lock was, or may have been, lost while it was held.
	ErrLost = errors.New("the lock is lost")
	// ErrLeaseGone is what Leases.Renew returns when the cluster does not know the lease.
	ErrLeaseGone = errors.New("the lease has ended")
	// ErrAsked is the cause with which work is asked to end because somebody requested the lock.
	ErrAsked = errors.New("the lock was requested by somebody else")
)

// RefusedError is an error that waiting does not mend, such as a missing permission.
type RefusedError struct{ Err error }

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// LostError says why a lock was given up while work went on. It is an ErrLost.
type LostError struct {
	Key, Reason string
	// Work is what the work returned when it had ended.
	Work error
}

// Error names the key and the reason.
func (e *LostError) Error() string { return fmt.Sprintf("lock %s lost: %s", e.Key, e.Reason) }

// Unwrap makes it an ErrLost.
func (e *LostError) Unwrap() []error { return []error{ErrLost, e.Work} }

// Leases are the cluster's leases. All calls may be repeated.
type Leases interface {
	// NewLease chooses the ID of a lease that does not exist. Nothing is sent.
	NewLease() (lease int64)
	// Grant makes a lease of at least ttl, in whole seconds; one that an earlier call has made is left alone.
	Grant(ctx context.Context, lease int64, ttl time.Duration) error
	// Renew restarts a lease and returns its time to live. It returns ErrLeaseGone if there is no such lease.
	Renew(ctx context.Context, lease int64) (ttl time.Duration, err error)
	// Revoke ends a lease and deletes its keys; one that is gone is no error.
	Revoke(ctx context.Context, lease int64) error
}

// Keys are the cluster's keys. Calls fail with a *RefusedError when repeating them is useless.
type Keys interface {
	// Get is a linearizable read.
	Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error)
	// Commit runs a transaction. After an error it may have been applied, or be applied later.
	Commit(ctx context.Context, cmps []clientv3.Cmp, then, orElse []clientv3.Op) (*clientv3.TxnResponse, error)
	// Watch calls handle for the events of keys, one after the other, from revision rev on. A key that ends with "/" means
	// all keys below it. It returns when ctx ends or no member can serve the watch.
	Watch(ctx context.Context, keys []string, rev int64, handle func(*clientv3.Event)) error
}

// Store is what a lock needs of an etcd cluster.
type Store interface {
	Leases
	Keys
}

// Clock returns the current instant: Now, but for tests.
type Clock func() Instant

// AutoDelay is a lock-delay of a quarter of the lease, and 2 s at the most: enough for a holder that the cluster reaches. TTLDelay is one of the whole
// lease, after which also a holder that nobody reaches has ended its work, if its lease is no longer than this one's.
const (
	AutoDelay time.Duration = -1
	TTLDelay  time.Duration = -2
)

// Request says which lock is wanted, and how.
type Request struct {
	Name  string
	Claim Claim
	// TTL is the lease's time to live; Grace the time between asking work to end and killing it (0: a quarter of TTL).
	TTL, Grace time.Duration
	// Connect bounds the time until the lease is granted; 0: only ctx does.
	Connect time.Duration
	// Try gives up at once when the lock is not free.
	Try bool
	// Delay is the lock-delay: a time, AutoDelay or TTLDelay.
	Delay time.Duration
	// Holder is written into the lock's key.
	Holder Holder
	// Proposal, if not nil, is written instead, verbatim: the lock is an election then.
	Proposal *string
	// Once limits how often the lock's work is run.
	Once Once
	// Notice is told what happens, if it is not nil.
	Notice func(Notice)
}

// Notice is something that happened to a lock, for people and logs.
type Notice struct {
	// Event is one of waiting, delayed, acquired, rejoined, unmarked, suspect, renewed, asked, ending, killing, released.
	Event string `json:"event"`
	// Text says it in words.
	Text string `json:"text"`
	Key  string `json:"key,omitempty"`
	// Ahead is how many contenders come first.
	Ahead int `json:"ahead,omitempty"`
	// Token is the fencing token, once there is one.
	Token int64 `json:"token,omitempty"`
	// Lease is that of Key, if the key is there.
	Lease int64 `json:"-"`
}

func (r *Request) notice(n Notice) {
	if r.Notice != nil {
		r.Notice(n)
	}
}

// delay returns the lock-delay for a lease of ttl.
func (r *Request) delay(ttl time.Duration) time.Duration {
	switch r.Delay {
	case AutoDelay:
		return min(2*time.Second, ttl/4)
	case TTLDelay:
		return ttl
	}
	return r.Delay
}
