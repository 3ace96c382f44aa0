package cmd

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/etcdx/etcdx/pkg/watch"
)

// watchStats counts what a watch does, for the status line, the metrics and systemd.
type watchStats struct {
	mu  sync.Mutex
	now snapshot
}

// newWatchStats begins at the position rev, which was saved at the time given.
func newWatchStats(rev int64, saved time.Time) *watchStats {
	return &watchStats{now: snapshot{rev: rev, moved: saved, horizon: -1}}
}

// handled notes that n events were handled, and the position after them; 0: none.
func (s *watchStats) handled(n int, rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.events += int64(n)
	if rev > 0 {
		s.now.rev, s.now.moved = rev, time.Now()
	}
}

// saw notes that the cluster was at revision head.
func (s *watchStats) saw(head int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.head = max(s.now.head, head)
}

// compacted notes the horizon, how compactions follow each other, and when which revision was current.
func (s *watchStats) compacted(horizon int64, c watch.Cadence, points []watch.Point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.horizon, s.now.cadence, s.now.points = horizon, c, points
}

// live notes that the watch has begun.
func (s *watchStats) live() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.live = true
}

func (s *watchStats) read() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now
	now.at = time.Now()
	return now
}

// show keeps metrics file, terminal and systemd up to date, until ctx ends.
func (k keptWatch) show(ctx context.Context, stats *watchStats) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil || watchdog <= 0 {
		watchdog = 0
	}
	every := time.Second
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	var g gauge
	line := statusLine{to: k.g.streams, on: isTerminal(k.g.streams.Err)}
	ready := false
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			k.metrics(g.read(stats.read()))
			line.show("")
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			return
		}
		now := g.read(stats.read())
		if now.live && !ready {
			ready = true
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
		}
		if watchdog > 0 {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
		_, _ = daemon.SdNotify(false, "STATUS="+now.String())
		k.metrics(now)
		if now.behind > 0 || now.rate > 0 {
			line.show(now.String())
		} else {
			line.show("")
		}
	}
}

// statusLine is the last line of a terminal.
type statusLine struct {
	to Streams
	on bool
	up bool // something is shown
}

// show replaces what is shown; "" takes it away.
func (l *statusLine) show(text string) {
	if !l.on || text == "" && !l.up {
		return
	}
	if l.up = text != ""; l.up {
		text = "etcdx: " + text
	}
	fmt.Fprint(l.to.Err, "\r\x1b[K"+text)
}

// metrics writes the metrics file, whole or not at all. Failing to do so never stops a watch.
func (k keptWatch) metrics(r reading) {
	if k.spec.MetricsFile == "" {
		return
	}
	replacePublic(k.spec.MetricsFile, r.prometheus(filepath.Base(k.file.Path())))
}

// prometheus renders the reading in Prometheus' text format; what is not known is left out.
func (r reading) prometheus(checkpoint string) string {
	var b strings.Builder
	metric := func(name, kind, help string, value float64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s{checkpoint=%q} %.15g\n", name, help, name, kind, name, checkpoint, value)
	}
	metric("etcdx_watch_events_total", "counter", "Events handled by this process.", float64(r.events))
	metric("etcdx_watch_revision", "gauge", "Revision up to which every event is handled.", float64(r.rev))
	if !r.moved.IsZero() {
		metric("etcdx_watch_moved_timestamp_seconds", "gauge", "When the position last moved.", float64(r.moved.Unix()))
	}
	if r.head > 0 {
		metric("etcdx_watch_lag_revisions", "gauge", "Revisions between the position and the cluster's.", float64(r.behind))
	}
	if r.age >= 0 {
		metric("etcdx_watch_lag_seconds", "gauge", "How long ago the cluster was at the position.", r.age.Seconds())
	}
	if r.horizon >= 0 {
		metric("etcdx_watch_compact_revision", "gauge", "Revision of the cluster's last compaction.", float64(r.horizon))
	}
	if at, _, ok := r.cadence.Loss(r.rev, r.at); ok {
		metric("etcdx_watch_loss_seconds", "gauge", "Until the position is compacted if it does not move.", at.Sub(r.at).Seconds())
	}
	return b.String()
}
