package watch

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// SoundProgress says whether a server of this version answers progress requests only after all events before the answer's
// revision. Servers before 3.4.25 and 3.5.8 answer too early, ahead of events that are still on their way (etcd #15220).
// A version that cannot be read is not trusted.
func SoundProgress(version string) bool {
	major, minor, patch, ok := parseVersion(version)
	switch {
	case !ok || major < 3 || major == 3 && minor < 4:
		return false
	case major == 3 && minor == 4:
		return patch >= 25
	case major == 3 && minor == 5:
		return patch >= 8
	}
	return true
}

// AnswersProgress says whether a server of this version answers progress requests even before a watch's first event
// (etcd #17507), so that a watch that gets no answer is known to be broken.
func AnswersProgress(version string) bool {
	major, minor, patch, ok := parseVersion(version)
	switch {
	case !SoundProgress(version) || !ok:
		return false
	case major == 3 && minor == 4:
		return patch >= 31
	case major == 3 && minor == 5:
		return patch >= 13
	}
	return true
}

// timing is when what is due on a silent stream.
type timing struct {
	ask     time.Duration // 0: never
	stall   time.Duration // 0: never
	heard   time.Time     // the last message
	asked   bool          // since the last message
	replied bool          // a progress request was answered on this stream before
	idle    idleClock
}

func newTiming(c Config, now time.Time) *timing {
	return &timing{heard: now, idle: idleClock{rules: c.Idle, moved: now}}
}

// trust turns on what a server of this version does soundly; a stream begins without trust.
func (t *timing) trust(c Config, version string) {
	t.ask, t.stall = 0, 0
	if SoundProgress(version) {
		t.ask = c.ProgressEvery
	}
	if AnswersProgress(version) {
		t.stall = c.StallAfter
	}
}

// weakest returns that one of the versions whose progress marks deserve the least trust, or "" if any cannot be read. A
// watch goes by it, and not by the member that it is connected to: what stands between them, a proxy or a balancer, may
// lead it to another one without a word, and so may an upgrade that is taken back.
func weakest(versions []string) string {
	if len(versions) == 0 {
		return ""
	}
	rank := func(v string) int {
		switch {
		case AnswersProgress(v):
			return 2
		case SoundProgress(v):
			return 1
		}
		return 0
	}
	return slices.MinFunc(versions, func(a, b string) int { return rank(a) - rank(b) })
}

// every is how often to look.
func (t *timing) every(c Config) time.Duration {
	d := time.Hour
	if c.ProgressEvery > 0 {
		d = c.ProgressEvery
	}
	if r := t.idle.rules; r.Mode != "" && r.Mode != IdleStrict && r.After > 0 {
		d = min(d, max(r.After/10, 10*time.Millisecond))
	}
	return d
}

func (t *timing) hear(now time.Time, moved, replied bool) {
	t.heard, t.asked = now, false
	t.replied = t.replied || replied
	if moved {
		t.idle.move(now)
	}
}

func (t *timing) askNow(now time.Time) bool {
	due := t.ask > 0 && now.Sub(t.heard) >= t.ask
	t.asked = t.asked || due
	return due
}

// stalled says whether a stream that answered before no longer does.
func (t *timing) stalled(now time.Time) bool {
	return t.stall > 0 && t.asked && t.replied && now.Sub(t.heard) >= t.stall
}

// errStale ends a stream that was silent although there was something to tell.
var errStale = errors.New("the watch stream kept silent about changes")

// advance takes the sampled revision as the position, after making sure, in proof mode, that the range is the same then
// as at the position. The proof cannot see a key that was created and deleted in between.
func (s *stream) advance(ctx context.Context, t *timing) error {
	rev := t.idle.sample
	t.idle.move(time.Now())
	if rev <= s.cur.Position() {
		return nil
	}
	if t.idle.rules.Mode == IdleProof {
		same, err := s.unchanged(ctx, rev)
		if err != nil {
			s.w.notice("cannot prove that nothing changed: " + err.Error())
			return nil
		}
		if !same {
			return errStale
		}
	}
	s.cur.skip(rev)
	s.held = append(s.held, Item{Kind: Progress, Rev: rev})
	s.flush()
	return nil
}

// count counts the keys at the cursor's position while that is still possible: a compaction may pass it before a proof
// needs the number. Without it there may be no proof later, and nothing worse.
func (s *stream) count(ctx context.Context) {
	if s.cur.counted || s.cur.Position() <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	resp, err := s.w.KV.Get(ctx, string(s.w.Range.Key), s.w.rangeOps(clientv3.WithRev(s.cur.Position()), clientv3.WithCountOnly())...)
	if err == nil {
		s.cur.counted, s.cur.base = true, resp.Count-s.cur.grown
	}
}

// unchanged says whether the range is the same at revision rev as at the cursor's position: nothing in it was modified
// since, and it holds as many keys.
func (s *stream) unchanged(ctx context.Context, rev int64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	get := func(opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
		return s.w.KV.Get(ctx, string(s.w.Range.Key), s.w.rangeOps(opts...)...)
	}
	changed, err := get(clientv3.WithRev(rev), clientv3.WithMinModRev(s.cur.Position()+1), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	if err != nil {
		return false, err
	}
	if len(changed.Kvs) > 0 {
		return false, nil
	}
	before, err := get(clientv3.WithRev(max(s.cur.Position(), 1)), clientv3.WithCountOnly())
	switch {
	case errors.Is(err, rpctypes.ErrCompacted) && s.cur.counted:
		return changed.Count == s.cur.base+s.cur.grown, nil
	case err != nil:
		return false, err
	}
	s.cur.counted, s.cur.base = true, before.Count-s.cur.grown
	return changed.Count == before.Count, nil
}

func parseVersion(v string) (major, minor, patch int, ok bool) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	parts := strings.Split(v, ".")
	if len(parts) != 3 {
		return 0, 0, 0, false
	}
	var n [3]int
	for i, p := range parts {
		var err error
		if n[i], err = strconv.Atoi(p); err != nil || n[i] < 0 {
			return 0, 0, 0, false
		}
	}
	return n[0], n[1], n[2], true
}
