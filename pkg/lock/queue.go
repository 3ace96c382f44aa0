package lock

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Mode is how much of a lock a holder takes.
type Mode string

// The modes. Contenders whose value says nothing (etcdctl's, those of etcd's libraries) are exclusive.
const (
	Exclusive Mode = "excl"
	Shared    Mode = "shared"
	Semaphore Mode = "sem"
)

// Claim is what a contender wants.
type Claim struct {
	Mode Mode `json:"mode"`
	// Slots is how many weights a semaphore has room for, Weight what this contender takes of it.
	Slots  int `json:"slots,omitempty"`
	Weight int `json:"weight,omitempty"`
}

// Contender is one key in the queue of a lock.
type Contender struct {
	Key string
	// Token is the key's create revision: the place in the queue, and the fencing token.
	Token int64
	Lease int64
	Claim Claim
	// Value is the key's, as it was read.
	Value []byte
}

// SlotsError says that two contenders disagree about the size of a semaphore.
type SlotsError struct{ Name, Mine, Theirs string }

// Error names both sizes.
func (e *SlotsError) Error() string {
	return fmt.Sprintf("lock %q is in use with %s slots, not %s", e.Name, e.Theirs, e.Mine)
}

// Prefix returns the prefix of a lock's keys.
func Prefix(name string) string { return name + "/" }

// KeyOf returns the key of a contender for a lock: the same as etcd's own libraries give it, so that all exclude each other.
func KeyOf(name string, lease int64) string { return fmt.Sprintf("%s%x", Prefix(name), lease) }

// parseContender reads a key under a lock's prefix. Keys of locks whose names begin with this one's are none of its contenders.
func parseContender(name string, kv *mvccpb.KeyValue) (Contender, bool) {
	rest, ok := strings.CutPrefix(string(kv.Key), Prefix(name))
	if !ok || strings.Contains(rest, "/") {
		return Contender{}, false
	}
	c := Contender{
		Key: string(kv.Key), Token: kv.CreateRevision, Lease: kv.Lease,
		Claim: Claim{Mode: Exclusive}, Value: kv.Value,
	}
	var claim Claim
	// A claim that makes no sense is an exclusive one: a weight below zero would let others in.
	if json.Unmarshal(kv.Value, &claim) == nil && validClaim(claim) == nil && (claim.Mode == Shared || claim.Mode == Semaphore) {
		c.Claim = claim
	}
	return c, true
}

// IsLockKey says whether a key looks like a contender's: its last part is its lease. It returns the lock's name.
func IsLockKey(kv *mvccpb.KeyValue) (name string, ok bool) {
	key := string(kv.Key)
	i := strings.LastIndexByte(key, '/')
	if i <= 0 || kv.Lease == 0 || key[i+1:] != strconv.FormatInt(kv.Lease, 16) {
		return "", false
	}
	return key[:i], true
}

// Queue is the contenders of a lock in the order of their tokens.
type Queue []Contender

// newQueue sorts what a range of a lock's prefix returned.
func newQueue(name string, kvs []*mvccpb.KeyValue) Queue {
	var q Queue
	for _, kv := range kvs {
		if c, ok := parseContender(name, kv); ok {
			q = append(q, c)
		}
	}
	sort.Slice(q, func(i, j int) bool { return q[i].Token < q[j].Token })
	return q
}

// before returns the contenders ahead of token.
func (q Queue) before(token int64) Queue {
	return q[:sort.Search(len(q), func(i int) bool { return q[i].Token >= token })]
}

// find returns the contender with a key.
func (q Queue) find(key string) (Contender, bool) {
	for _, c := range q {
		if c.Key == key {
			return c, true
		}
	}
	return Contender{}, false
}

// admits says whether a claim may hold the lock behind the contenders of q, all of whom came first, waiting or holding.
// Nobody overtakes: a shared claim behind a waiting exclusive one waits, too.
func (q Queue) admits(c Claim) bool {
	switch c.Mode {
	case Shared:
		for _, o := range q {
			if o.Claim.Mode != Shared {
				return false
			}
		}
		return true
	case Semaphore:
		sum := c.Weight
		for _, o := range q {
			if o.Claim.Mode != Semaphore || o.Claim.Slots != c.Slots {
				return false
			}
			sum += o.Claim.Weight
		}
		return sum <= c.Slots
	default:
		return len(q) == 0
	}
}

// disagrees returns an error if anybody in q counts the slots of a semaphore in another way.
func (q Queue) disagrees(name string, c Claim) error {
	if c.Mode != Semaphore {
		return nil
	}
	for _, o := range q {
		if o.Claim.Mode == Semaphore && o.Claim.Slots != c.Slots {
			return &SlotsError{Name: name, Mine: strconv.Itoa(c.Slots), Theirs: strconv.Itoa(o.Claim.Slots)}
		}
	}
	return nil
}

// Holders returns the contenders that hold the lock now.
func (q Queue) Holders() Queue {
	for i, c := range q {
		if !q[:i].admits(c.Claim) {
			return q[:i]
		}
	}
	return q
}

// Markers tell unclean ends: a contender writes one together with its key, so that nothing has to be written when its turn
// comes, and takes both away when it leaves. A marker whose key is gone belongs to somebody who may still be at work.

// markerPrefix is where the markers of all locks are.
const markerPrefix = "_etcdx/held/"

func markersOf(name string) string { return markerPrefix + name + "/" }

// MarkerKey returns the key that says that the contender with a lease may be at work.
func MarkerKey(name string, lease int64) string {
	return markersOf(name) + strconv.FormatInt(lease, 16)
}

// unclean returns the markers among kvs, a range of markersOf(name), that are older than token and whose contender is not
// in q, which has to be all of those before token, and is not own.
func (q Queue) unclean(name string, kvs []*mvccpb.KeyValue, token int64, own string) (keys []string) {
	for _, kv := range kvs {
		lease, ok := strings.CutPrefix(string(kv.Key), markersOf(name))
		if !ok || strings.Contains(lease, "/") { // of another lock, whose name begins with this one's
			continue
		}
		key := Prefix(name) + lease
		if _, waits := q.find(key); !waits && key != own && kv.CreateRevision < token {
			keys = append(keys, string(kv.Key))
		}
	}
	return keys
}

// validClaim checks a claim before it is enqueued.
func validClaim(c Claim) error {
	if c.Mode == Semaphore && (c.Slots < 1 || c.Weight < 1 || c.Weight > c.Slots) {
		return fmt.Errorf("a weight of %d does not fit into %d slots", c.Weight, c.Slots)
	}
	return nil
}

// newUUID returns a random identifier in the usual notation; b is 16 random bytes.
func newUUID(b []byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
