package lock

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"time"
)

// Holder is what a lock's key says about who holds it, or waits for it. No program's behaviour depends on it but for Claim.
type Holder struct {
	Version int    `json:"v"`
	LockKey string `json:"lock_key"`
	UUID    string `json:"uuid"`
	Host    string `json:"host,omitempty"`
	PID     int    `json:"pid,omitempty"`
	User    string `json:"user,omitempty"`
	// Command is the program's name; its arguments may hold secrets, and old revisions stay readable until compaction.
	Command string `json:"command,omitempty"`
	Claim
	// TTL is in seconds.
	TTL        int64     `json:"ttl"`
	State      string    `json:"state"` // waiting, held, breaking
	CreateTime time.Time `json:"create_time"`
	// AcquireTime is zero while waiting.
	AcquireTime time.Time `json:"acquire_time,omitzero"`
	UpdateTime  time.Time `json:"update_time"`
	Note        string    `json:"note,omitempty"`
	// Detached says that the holder is a process without a command: see PID.
	Detached bool `json:"detached,omitempty"`
	// AskedBy is who requested the lock.
	AskedBy string `json:"asked_by,omitempty"`
}

// ParseHolder reads the value of a lock's key. ok is false for one that says nothing, such as etcdctl's.
func ParseHolder(value []byte) (h Holder, ok bool) {
	err := json.Unmarshal(value, &h)
	return h, err == nil && h.LockKey != ""
}

// plainBytes is how much of a text by somebody else is shown to people.
const plainBytes = 200

// Plain returns what somebody else wrote into a lock's key or value as part of one line: control characters escaped, and
// no longer than people read.
func Plain(text string) string {
	long := len(text) > plainBytes
	if long {
		text = text[:plainBytes]
	}
	q := strconv.Quote(text)
	if text = q[1 : len(q)-1]; long {
		text += "..."
	}
	return text
}

// The states of a holder.
const (
	stateWaiting  = "waiting"
	stateHeld     = "held"
	stateBreaking = "breaking"
)

// newHolder completes what the caller said.
func newHolder(r *Request, key string, ttl time.Duration) Holder {
	h := r.Holder
	b := make([]byte, 16)
	rand.Read(b) // never fails
	now := time.Now().UTC()
	h.Version, h.LockKey, h.UUID, h.Claim = 1, key, newUUID(b), r.Claim
	h.TTL, h.State, h.CreateTime, h.UpdateTime = int64(ttl/time.Second), stateWaiting, now, now
	return h
}

// held returns the value from when the lock is held.
func (h Holder) held() Holder {
	now := time.Now().UTC()
	h.State, h.AcquireTime, h.UpdateTime = stateHeld, now, now
	return h
}

// encode returns the JSON text.
func (h Holder) encode() string {
	b, err := json.Marshal(h)
	if err != nil { // strings, numbers and times always work
		return "{}"
	}
	return string(b)
}
