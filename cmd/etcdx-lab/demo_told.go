package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// told is a line that a watch printed: an event, or where it is in a resync.
type told struct {
	Type     string `json:"type"` // put, delete, sync_begin, sync_end
	Key      string `json:"key"`
	Value    string `json:"value"`
	ID       string `json:"id"`
	Revision int64  `json:"revision"`
	Source   string `json:"source"`
}

// readTold returns the whole lines in files, in order.
func readTold(files ...string) []told {
	var all []told
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		whole := data[:strings.LastIndexByte(string(data), '\n')+1]
		for lines := bufio.NewScanner(strings.NewReader(string(whole))); lines.Scan(); {
			var t told
			if json.Unmarshal(lines.Bytes(), &t) == nil {
				all = append(all, t)
			}
		}
	}
	return all
}

// state returns what keys there are after all that was told.
func state(all []told) map[string]string {
	keys := map[string]string{}
	for _, t := range all {
		switch t.Type {
		case "put":
			keys[t.Key] = t.Value
		case "delete":
			delete(keys, t.Key)
		}
	}
	return keys
}

// account says what became of writes that were done: how many were never told, how many times one was told again, and whether a
// revision came before an earlier one.
type account struct {
	missing, again int
	disorder       bool
}

// takeAccount compares what was told with the keys that were put, each once.
func takeAccount(all []told, keys []string) account {
	var a account
	seen := map[string]int{}
	last := int64(0)
	for _, t := range all {
		if t.Type != "put" && t.Type != "delete" {
			continue
		}
		if seen[t.ID]++; seen[t.ID] > 1 {
			a.again++
			continue
		}
		if t.Revision < last {
			a.disorder = true
		}
		last = t.Revision
		if t.Type == "put" {
			seen["key "+t.Key]++
		}
	}
	for _, k := range keys {
		if seen["key "+k] == 0 {
			a.missing++
		}
	}
	return a
}

// lag measures how far the watch is behind the writer.
type lag struct {
	mu      sync.Mutex
	waiting map[string]time.Time // the keys not told yet, and when their put was done
	worst   time.Duration
}

// add notes that the put of key was done at a time.
func (l *lag) add(key string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[string]time.Time{}
	}
	l.waiting[key] = at
}

// look compares with what is told by now.
func (l *lag) look(all []told, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := map[string]bool{}
	for _, t := range all {
		there[t.Key] = true
	}
	for key, at := range l.waiting {
		l.worst = max(l.worst, now.Sub(at))
		if there[key] {
			delete(l.waiting, key)
		}
	}
}

// ticks are the signs of life of the command that holds the lock.
type ticks struct {
	count int
	// gap is the longest time between two of them, or since the last one.
	gap time.Duration
}

// readTicks reads the file that work writes.
func readTicks(file string, now time.Time) ticks {
	var t ticks
	data, err := os.ReadFile(file)
	if err != nil {
		return t
	}
	var last time.Time
	for line := range strings.Lines(string(data)) {
		ms, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil || !strings.HasSuffix(line, "\n") {
			continue
		}
		at := time.UnixMilli(ms)
		if t.count++; t.count > 1 {
			t.gap = max(t.gap, at.Sub(last))
		}
		last = at
	}
	if t.count > 0 {
		t.gap = max(t.gap, now.Sub(last))
	}
	return t
}
