// Package checkpoint remembers on disk up to which revision a watch was handled.
//
// # What is guaranteed
//
// A reader finds the last state that was synced, or a later one, whatever happened to the writer: killed at any instant,
// power lost, the last write torn or lost. A file that cannot be trusted is an error, never an empty checkpoint.
//
// # What is not
//
// Put alone survives the death of the process, but not that of the machine; Sync does. The lock against a second process
// is flock(2)'s: it does not reach across hosts, and not across every network file system.
package checkpoint

import (
	"encoding/json"
	"fmt"
	"time"
)

// Format is the version of the file format that this package writes, and the highest one that it reads.
const Format = 1

// State is everything a checkpoint says.
type State struct {
	Format int   `json:"v"`
	Seq    int64 `json:"seq"` // counts the writes

	ClusterID uint64 `json:"cluster_id,string"`
	MemberID  uint64 `json:"member_id,string,omitempty"` // who answered last; for people only
	Term      uint64 `json:"raft_term"`

	// Rev is the position: every event of the range up to this revision is handled.
	Rev int64 `json:"rev"`
	// Phase is "live", or "syncing" between the beginning and the end of a resync.
	Phase string `json:"phase"`
	// Anchor is the last event handled, as evidence that the cluster's history is still the same one.
	Anchor *Anchor `json:"anchor,omitempty"`
	// Samples are observations of (time, revision) by which revisions become times; oldest first.
	Samples []Sample `json:"samples,omitempty"`

	// Spec is what is watched and how, as JSON of the command line's own making.
	Spec json.RawMessage `json:"spec"`

	// Mark is how what the writer's handler started is found if the writer is killed; empty: nothing is left of it.
	Mark string `json:"mark,omitempty"`

	Writer  Writer    `json:"writer"`
	Updated time.Time `json:"updated"`

	// unknown holds the fields that a newer minor version may have added, so that rewriting the file keeps them.
	unknown map[string]json.RawMessage
}

// Anchor identifies one event.
type Anchor struct {
	Key     []byte `json:"key"`
	Create  int64  `json:"create_revision"`
	Mod     int64  `json:"mod_revision"`
	Version int64  `json:"version"`
	Deleted bool   `json:"deleted,omitempty"`
	Sum     uint32 `json:"crc32c"` // of the value
}

// Sample is a revision that was current at a time.
type Sample struct {
	Unix int64 `json:"t"`
	Rev  int64 `json:"rev"`
}

// Writer says which process wrote a state.
type Writer struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
	App  string `json:"app"`
}

// keepSamples bounds the samples in a state.
const keepSamples = 16

// AddSample records that rev was current at t. Samples stay at least a minute apart and spread over the whole time seen:
// when they are full, every second one of the older half goes.
func (s *State) AddSample(t time.Time, rev int64) { s.Samples = addSample(s.Samples, t, rev) }

func addSample(old []Sample, t time.Time, rev int64) []Sample {
	if n := len(old); n > 0 && (t.Unix()-old[n-1].Unix < 60 || rev < old[n-1].Rev) {
		return old
	}
	all := append(append([]Sample(nil), old...), Sample{t.Unix(), rev})
	if len(all) <= keepSamples {
		return all
	}
	kept := all[:0:0]
	for i, s := range all {
		if i >= keepSamples/2 || i%2 == 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

// plainState has State's fields without its methods.
type plainState State

// MarshalJSON writes the known fields and those that were read but not understood.
func (s State) MarshalJSON() ([]byte, error) {
	known, err := json.Marshal(plainState(s))
	if err != nil || len(s.unknown) == 0 {
		return known, err
	}
	more, err := json.Marshal(s.unknown)
	if err != nil {
		return nil, err
	}
	return append(append(known[:len(known)-1:len(known)-1], ','), more[1:]...), nil
}

// UnmarshalJSON reads the known fields and keeps the others.
func (s *State) UnmarshalJSON(data []byte) error {
	var p plainState
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	for _, name := range fieldNames() {
		delete(all, name)
	}
	if len(all) > 0 {
		p.unknown = all
	}
	*s = State(p)
	return nil
}

func fieldNames() []string {
	return []string{
		"v", "seq", "cluster_id", "member_id", "raft_term", "rev", "phase", "anchor", "samples", "compactions",
		"spec", "mark", "writer", "updated",
	}
}

// CorruptError says that a file is not a checkpoint, or not a whole one.
type CorruptError struct {
	Path, Why string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("checkpoint %s is corrupt: %s", e.Path, e.Why)
}

// NewerError says that a file was written by a newer etcdx, in a format that this one does not know.
type NewerError struct {
	Path   string
	Format int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("checkpoint %s has format %d, newer than this etcdx knows (%d)", e.Path, e.Format, Format)
}

// UntrustedError says that others than this user can have written what a checkpoint says.
type UntrustedError struct{ Path, Why string }

func (e *UntrustedError) Error() string { return fmt.Sprintf("checkpoint %s: %s", e.Path, e.Why) }

// InUseError says that another process holds the checkpoint.
type InUseError struct {
	Path   string
	Writer Writer // as far as the file tells
}

func (e *InUseError) Error() string {
	if e.Writer.PID == 0 {
		return fmt.Sprintf("checkpoint %s is in use by another process", e.Path)
	}
	return fmt.Sprintf("checkpoint %s is in use by process %d on %s", e.Path, e.Writer.PID, e.Writer.Host)
}

// WriteError says that a checkpoint could not be written: what was handled since the last one will be handled again.
type WriteError struct {
	Path string
	Err  error
}

func (e *WriteError) Error() string { return fmt.Sprintf("write checkpoint %s: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }
