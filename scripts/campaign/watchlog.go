//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Entry is one line of a watch's output.
type Entry struct {
	// Type is put, delete, sync_begin or sync_end.
	Type string
	Change
	Rev int64
	// N is how many events the revision has, as the line says; 0: it says nothing.
	N    int
	Sync bool // sent by a resync
	From int64
	To   int64
}

// reaches says whether what comes after revision rev is all that is missing once e is written. The deletes of a resync come before its puts, which
// come in the order of their revisions.
func (e Entry) reaches(rev int64) bool {
	if e.Type == "sync_begin" || e.Sync && e.Type == "delete" {
		return false
	}
	return max(e.Rev, e.To) >= rev
}

// parseLog reads what one run of a watch printed. The last line may be torn: that run was killed while it wrote, and nobody
// handled the line.
func parseLog(text []byte, ctl bool) ([]Entry, error) {
	var entries []Entry
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		parse := parseLine
		if ctl {
			parse = parseResponse
		}
		some, err := parse(line)
		if err != nil {
			return entries, fmt.Errorf("line %q: %w", line, err)
		}
		entries = append(entries, some...)
	}
	return entries, nil
}

// parseLine reads a line of etcdx watch -o jsonl.
func parseLine(line []byte) ([]Entry, error) {
	var r struct {
		Type, Key, Source string
		Value             *string
		Revision          int64
		N                 int
		From, To          int64
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	e := Entry{Type: r.Type, Rev: r.Revision, N: r.N, Sync: r.Source == "sync", From: r.From, To: r.To}
	e.Key, e.Delete = r.Key, r.Type == "delete"
	if r.Value != nil {
		e.Value = *r.Value
	}
	switch r.Type {
	case "put", "delete", "sync_begin", "sync_end":
		return []Entry{e}, nil
	}
	return nil, fmt.Errorf("unknown type %q", r.Type)
}

// parseResponse reads a line of etcdctl watch -w json, which holds any number of events.
func parseResponse(line []byte) ([]Entry, error) {
	if !strings.HasPrefix(string(line), "{") {
		return nil, nil // "watch was canceled (...)"
	}
	var r struct {
		Events []struct {
			Type int
			Kv   struct {
				Key, Value  []byte
				ModRevision int64 `json:"mod_revision"`
			}
		}
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	var entries []Entry
	for _, ev := range r.Events {
		e := Entry{Type: "put", Rev: ev.Kv.ModRevision, Change: Change{Key: string(ev.Kv.Key), Value: string(ev.Kv.Value), Delete: ev.Type == 1}}
		if e.Delete {
			e.Type = "delete"
		}
		entries = append(entries, e)
	}
	return entries, nil
}
