package cmd

import (
	"encoding/json"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/output"
	"github.com/etcdx/etcdx/pkg/watch"
)

// eventRecord is one event for a handler: output's record, and where it stands in the watch.
type eventRecord struct {
	output.Event
	Kind string `json:"kind"` // create, modify or delete
	// ID is the same whenever this event is sent again: cluster/revision/number of the event within its revision.
	ID       string `json:"id"`
	Revision int64  `json:"revision"`
	I        int    `json:"i"` // the event's place among the N of its revision
	N        int    `json:"n"`
	Source   string `json:"source"` // watch, or sync
	// Synthetic marks a delete that was not seen but concluded: it happened within Window, a first and a last revision.
	Synthetic bool       `json:"synthetic,omitempty"`
	Window    []int64    `json:"window,omitempty"`
	Last      *lastKnown `json:"last,omitempty"`
	// Recreated marks a put of a key that was deleted and created again since it was last sent.
	Recreated bool `json:"recreated,omitempty"`
}

// lastKnown is what was known of a key that vanished.
type lastKnown struct {
	ModRevision int64 `json:"mod_revision"`
	Version     int64 `json:"version"`
}

// controlRecord tells a handler where it is in a resync.
type controlRecord struct {
	Schema string `json:"schema"`
	Type   string `json:"type"` // sync_begin or sync_end
	Reason string `json:"reason,omitempty"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	// Puts and Deletes count the events of the resync, in sync_end.
	Puts    *int64 `json:"puts,omitempty"`
	Deletes *int64 `json:"deletes,omitempty"`
}

const schemaControl = "etcdx.watch-control/1"

// group is what is acknowledged as one: the events of one revision, an event of a resync, or a control record.
type group struct {
	rev     int64 // the position once it is handled; 0: none
	item    watch.Item
	events  []*clientv3.Event
	control *controlRecord
	cluster uint64
	first   int // in a resync: where the events stand in the item
}

// groups cuts an item into what is acknowledged as one.
func groups(it watch.Item, cluster uint64) []group {
	g := group{item: it, cluster: cluster}
	switch it.Kind {
	case watch.SyncBegin:
		g.control = &controlRecord{Schema: schemaControl, Type: "sync_begin", Reason: it.Sync.Reason, From: it.Sync.From, To: it.Sync.To}
		return []group{g}
	case watch.SyncEnd:
		g.rev = it.Rev
		g.control = &controlRecord{
			Schema: schemaControl, Type: "sync_end", Reason: it.Sync.Reason, From: it.Sync.From, To: it.Sync.To,
			Puts: &it.Sync.Puts, Deletes: &it.Sync.Deletes,
		}
		return []group{g}
	case watch.SyncDeletes, watch.SyncPuts:
		all := make([]group, len(it.Events))
		for i := range it.Events {
			g.events, g.first = it.Events[i:i+1], i
			all[i] = g
		}
		return all
	}
	var all []group
	for _, events := range watch.Revisions(it.Events) {
		g.events, g.rev = events, events[0].GetKv().GetModRevision()
		all = append(all, g)
	}
	return all
}

// record returns event i of the group.
func (g group) record(i int) eventRecord {
	e := g.events[i]
	r := eventRecord{Event: output.NewEvent(e), Kind: "modify", Revision: e.GetKv().GetModRevision(), I: i, N: len(g.events), Source: "watch"}
	switch {
	case e.GetType() == clientv3.EventTypeDelete:
		r.Kind = "delete"
	case e.GetKv().GetVersion() == 1:
		r.Kind = "create"
	}
	r.ID = fmt.Sprintf("%x/%d/%d", g.cluster, r.Revision, i)
	switch g.item.Kind {
	case watch.SyncPuts:
		r.Source, r.Recreated = "sync", g.item.Sync.Recreated[string(e.GetKv().GetKey())]
		r.ID = fmt.Sprintf("%x/%d/%x", g.cluster, r.Revision, e.GetKv().GetKey())
	case watch.SyncDeletes:
		known := g.item.Sync.Vanished[g.first+i]
		r.Source, r.Synthetic = "sync", true
		r.Window = []int64{max(g.item.Sync.From, known.Mod) + 1, g.item.Sync.To}
		if known.Mod > 0 { // else it was sent and never acknowledged
			r.Last = &lastKnown{ModRevision: known.Mod, Version: known.Version}
		}
		r.ID = fmt.Sprintf("%x/%d/%x", g.cluster, r.Revision, e.GetKv().GetKey())
	}
	return r
}

// lines appends the group as JSON lines to b.
func (g group) lines(b []byte) ([]byte, error) {
	if g.control != nil {
		return appendLine(b, g.control)
	}
	for i := range g.events {
		var err error
		if b, err = appendLine(b, g.record(i)); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendLine(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return b, err
	}
	return append(append(b, text...), '\n'), nil
}
