//go:build linux

package main

import (
	"os"
	"strconv"
)

// way is how a watch hands its events over: as lines on its standard output, to one process for all of them, or to one for each batch of
// revisions or each event.
type way string

const (
	asLines     way = "lines"
	toCoprocess way = "coprocess"
	eachBatch   way = "batch"
	eachEvent   way = "event"
)

// handled is what is watched, and how it is handed over.
type handled struct {
	prefix string
	by     way
}

// handled returns what is watched. etcdctl has no handlers that tell how they did.
func (l *watchLoad) handled() []handled {
	if l.tool.ctl {
		return []handled{{busyPrefix, asLines}, {idlePrefix, asLines}, {busyPrefix, asLines}}
	}
	return []handled{{busyPrefix, asLines}, {idlePrefix, asLines}, {busyPrefix, toCoprocess}, {busyPrefix, eachBatch}, {somePrefix, eachEvent}}
}

// logVar is in the environment of handlers, with the file that they append the records to. handler is one that fails now and then, before
// it has done anything: it has to be asked again.
const (
	logVar  = "ETCDX_CAMPAIGN_LOG"
	handler = `test $(($$ % 16)) != 0 && exec cat >>"$` + logVar + `"`
)

// arguments make the tool write what it sees to log. A handler is named once: then the checkpoint knows it.
func (w *watcher) arguments(log string) ([]string, error) {
	args := []string{"watch", "--prefix", w.prefix}
	if w.load.tool.ctl {
		args = append(args, "-w", "json")
		if !w.forgotten {
			args = append(args, "--rev", strconv.FormatInt(w.position+1, 10))
		}
		return args, nil
	}
	args = append(args, "--checkpoint", w.file())
	_, err := os.Stat(w.file())
	known := err == nil
	switch {
	case w.by == asLines:
		return append(args, "-w", "jsonl"), nil
	case w.by == toCoprocess:
		self, err := os.Executable()
		return append(args, "--coprocess", "--", self, coprocessWord, log), err
	case known:
		return []string{"resume", w.file()}, nil
	case w.by == eachBatch:
		args = append(args, "--batch")
	}
	return append(args, "--", "sh", "-c", handler), nil
}
