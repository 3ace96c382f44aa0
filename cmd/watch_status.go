package cmd

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchStats counts what a watch does, for the status line, the metrics and systemd.
type watchStats struct {
	mu      sync.Mutex
	started time.Time
	events  int64
	rev     int64
	moved   time.Time
}

func newWatchStats() *watchStats { return &watchStats{started: time.Now()} }

// handled notes that n events were handled, and the position after them; 0: none.
func (s *watchStats) handled(n int, rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events += int64(n)
	if rev > 0 {
		s.rev, s.moved = rev, time.Now()
	}
}

// snapshot is the counters at one time.
type snapshot struct {
	events, rev int64
	moved       time.Time
}

func (s *watchStats) read() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return snapshot{s.events, s.rev, s.moved}
}

// show keeps metrics file, terminal and systemd up to date, until ctx ends.
func (k keptWatch) show(ctx context.Context, stats *watchStats) {
	// Not READY yet: a unit is ready when its watch is, which the first position shows.
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil || watchdog <= 0 {
		watchdog = 0
	}
	every := time.Second
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	line := isTerminal(k.g.streams.Err)
	ready := false
	last := stats.read()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			k.metrics(stats.read())
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			return
		}
		now := stats.read()
		if now.rev > 0 && !ready {
			ready = true
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
		}
		if watchdog > 0 {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
		rate := float64(now.events-last.events) / every.Seconds()
		_, _ = daemon.SdNotify(false, fmt.Sprintf("STATUS=revision %d, %d events, %.0f/s", now.rev, now.events, rate))
		k.metrics(now)
		if line && now.events != last.events {
			fmt.Fprintf(k.g.streams.Err, "\r\x1b[Ketcdx: revision %d, %d events, %.0f/s", now.rev, now.events, rate)
		} else if line && last.events > 0 && now.events == last.events && rate == 0 {
			fmt.Fprint(k.g.streams.Err, "\r\x1b[K")
		}
		last = now
	}
}

// metrics writes the metrics file, whole or not at all. Failing to do so never stops a watch.
func (k keptWatch) metrics(s snapshot) {
	if k.spec.MetricsFile == "" {
		return
	}
	name := filepath.Base(k.file.Path())
	moved := int64(0)
	if !s.moved.IsZero() {
		moved = s.moved.Unix()
	}
	text := fmt.Sprintf(`# HELP etcdx_watch_events_total Events handled by this process.
# TYPE etcdx_watch_events_total counter
etcdx_watch_events_total{checkpoint=%q} %d
# HELP etcdx_watch_revision Revision up to which every event is handled.
# TYPE etcdx_watch_revision gauge
etcdx_watch_revision{checkpoint=%q} %d
# HELP etcdx_watch_moved_timestamp_seconds When the position last moved.
# TYPE etcdx_watch_moved_timestamp_seconds gauge
etcdx_watch_moved_timestamp_seconds{checkpoint=%q} %d
`, name, s.events, name, s.rev, name, moved)
	replacePublic(k.spec.MetricsFile, text)
}
