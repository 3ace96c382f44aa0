package checkpoint

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"
)

// Horizons are the compactions of a cluster that were observed beside a checkpoint, in a file of their own: whoever looks
// may add to it, also while a watch holds the checkpoint. Two that write at once cost an observation, and nothing else.
type Horizons struct {
	Format    int    `json:"v"`
	ClusterID uint64 `json:"cluster_id,string"`
	// Seen is what was observed, oldest first.
	Seen []Horizon `json:"seen"`
}

// Horizon is a compaction's revision, and when it was first and last seen to be the latest; 0: nothing was compacted yet.
type Horizon struct {
	Rev   int64     `json:"rev"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// keepHorizons bounds what is remembered: enough for a mean, and few enough that an old habit is soon forgotten.
const keepHorizons = 12

// Add notes that the horizon of a cluster was rev at time t. One of another cluster, or one that went back, makes what was
// seen before worthless.
func (h *Horizons) Add(cluster uint64, rev int64, t time.Time) {
	t = t.UTC().Round(time.Millisecond)
	n := len(h.Seen)
	if h.ClusterID != cluster || n > 0 && rev < h.Seen[n-1].Rev {
		h.ClusterID, h.Seen, n = cluster, nil, 0
	}
	switch {
	case n > 0 && t.Before(h.Seen[n-1].Last): // the clock went back: no interval can be told from it
	case n > 0 && h.Seen[n-1].Rev == rev:
		h.Seen[n-1].Last = t
	default:
		h.Seen = append(h.Seen, Horizon{Rev: rev, First: t, Last: t})
		h.Seen = h.Seen[max(0, len(h.Seen)-keepHorizons):]
	}
}

// ReadHorizons reads what was observed. A file that is missing, damaged or newer holds nothing.
func ReadHorizons(path string) Horizons {
	b, err := os.ReadFile(path)
	var h Horizons
	if err != nil || json.Unmarshal(b, &h) != nil || h.Format != Format {
		return Horizons{Format: Format}
	}
	return h
}

// WriteHorizons replaces the file at path. It is not synced: after a loss of power it may hold nothing.
func WriteHorizons(path string, h Horizons) error {
	h.Format = Format
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	// One name: a process that is killed here leaves one file behind, not many.
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &WriteError{path, err}
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return &WriteError{path, err}
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return &WriteError{path, err}
	}
	return nil
}
