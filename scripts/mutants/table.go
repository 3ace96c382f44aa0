package main

import (
	"fmt"
	"strings"
)

// mutant is a protection with the change that takes it away, and the proof that has to fail then.
type mutant struct {
	Name, Protection string
	File             string // the only one that is changed
	Old, New         string // Old occurs once in it
	// Test is a package and the expression for its tests; Campaign are the campaign's arguments, beginning with this Seed.
	Test     string
	Campaign string
	Seed     int
}

func (m mutant) apply(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 {
		return "", fmt.Errorf("%q is %d times in %s, not once", m.Old, n, m.File)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

func mutants() []mutant {
	var all []mutant
	for _, some := range [][]mutant{connMutants(), watchMutants(), handlerMutants(), streamMutants(), lockMutants(), holderMutants(), processMutants(), lockCampaigns(), otherCampaigns()} {
		all = append(all, some...)
	}
	return all
}

func connMutants() []mutant {
	return []mutant{
		{
			Name: "put-guard", Protection: "a put that is sent again is guarded by the key's mod revision", File: "pkg/conn/put.go",
			Old: `If(clientv3.Compare(clientv3.ModRevision(o.key), "=", g.rev)).`, New: `If().`,
			Test: "./pkg/conn TestLateCopyOfAPutTakesNoEffect",
		},
		{
			Name: "put-range", Protection: "a write of unknown outcome is not sent again", File: "pkg/conn/write.go",
			Old: `case t.left() && !refused(err):`, New: `case false && t.left() && !refused(err):`,
			Test: "./pkg/conn TestLostAnswers",
		},
		{
			Name: "no-set-aside", Protection: "an endpoint that failed is not asked first", File: "pkg/conn/roster.go",
			Old: `	e.failed, e.reason = at, why
`, New: ``,
			Test: "./pkg/conn TestRoster",
		},
		{
			Name: "no-revival", Protection: "an endpoint that is set aside is probed, and comes back early", File: "pkg/conn/revive.go",
			Old: `	if c.reviving || c.opts.Pin`, New: `	if true || c.reviving || c.opts.Pin`,
			Test: "./pkg/conn TestEndpointsSetAsideComeBack",
		},
		{
			Name: "old-files", Protection: "certificate files are read for each connection", File: "pkg/conn/tls.go",
			Old: `	cfg, err := h.tls.config()
	if err != nil {
		h.notes`, New: `	cfg, err := TLS{SkipVerify: true}.config()
	if err != nil {
		h.notes`,
			Test: "./pkg/conn TestRenewedFilesAreRead",
		},
		{
			Name: "stale-login", Protection: "a stream whose token has expired logs in again", File: "pkg/conn/stream.go",
			Old: `if staleLogin(err) && m.token.renewable() {`, New: `if false {`,
			Test: "./pkg/conn TestRefusedStreamLogsInAgain",
		},
	}
}

func watchMutants() []mutant {
	return []mutant{
		{
			Name: "header-revision", Protection: "the position is that of events, never of a header", File: "pkg/watch/cursor.go",
			Old: `	case len(resp.GetEvents()) == 0:
		return c.progress(resp.GetHeader().GetRevision()), nil
	}
	return c.events(resp.GetEvents(), resp.GetFragment())`, New: `	case len(resp.GetEvents()) == 0:
		return c.progress(resp.GetHeader().GetRevision()), nil
	}
	s, err := c.events(resp.GetEvents(), resp.GetFragment())
	c.pos = max(c.pos, resp.GetHeader().GetRevision())
	c.start = c.pos
	return s, err`,
			Test: "./pkg/watch TestCursor|TestFollow",
		},
		{
			Name: "torn-revision", Protection: "the position moves past whole revisions only", File: "pkg/watch/cursor.go",
			Old: `	for fragment && whole > 0 &&`, New: `	for false && fragment && whole > 0 &&`,
			Test: "./pkg/watch TestCursor",
		},
		{
			Name: "progress-overtakes", Protection: "progress comes behind the events before it", File: "pkg/watch/cursor.go",
			Old: `rev < c.pos || len(c.partial) > 0 {`, New: `rev < c.pos {`,
			Test: "./pkg/watch TestCursor",
		},
		{
			Name: "no-overlap", Protection: "a stream begins one revision early, so that a delete at the compacted revision is not lost", File: "pkg/watch/cursor.go",
			Old: `return &Cursor{start: max(rev, 1), last: rev, pos: rev}`, New: `return &Cursor{start: rev + 1, last: rev, pos: rev}`,
			Test: "./pkg/watch TestCursor",
		},
		{
			Name: "kept-pieces", Protection: "the pieces of a revision are not kept from one stream to the next", File: "pkg/watch/cursor.go",
			Old: `{ c.partial, c.created = nil, false }`, New: `{ c.created = false }`,
			Test: "./pkg/watch TestCursor|TestFollow",
		},
	}
}

func handlerMutants() []mutant {
	return []mutant{
		{
			Name: "position-per-event", Protection: "a revision is handled when all of its events are", File: "cmd/watch_record.go",
			Old: `	for _, events := range watch.Revisions(it.Events) {
`, New: `	for i := range it.Events {
		events := it.Events[i : i+1]
`,
			Test: "./cmd TestScript/watch_atomic",
		},
		{
			Name: "not-announced", Protection: "keys are announced before the handler hears of them", File: "cmd/watch_sink.go",
			Old: `	if err := s.announce(it); err != nil {`, New: `	if err := error(nil); err != nil {`,
			Test: "./cmd TestScript/watch_killed_unacknowledged",
		},
		{
			Name: "index-unlocked", Protection: "the key index is not read while it is written", File: "cmd/watch_source.go",
			Old: `	k.mu.Lock()
	return k.mu.Unlock`, New: `	return func() {}`,
			Test: "./cmd TestKeyIndexIsRead",
		},
		{
			Name: "index-taken", Protection: "an index that another process has is left to it", File: "pkg/checkpoint/index.go",
			Old: ` || errors.Is(err, boltErrors.ErrTimeout)`, New: ` || errors.Is(err, boltErrors.ErrTimeout) && false`,
			Test: "./pkg/checkpoint TestIndexBelongs",
		},
		{
			Name: "handler-left", Protection: "what the handler of a killed watch left is ended before it runs again", File: "cmd/watch_kept.go",
			Old: `	if mark == "" {`, New: `	if true || mark == "" {`,
			Test: "./cmd TestScript/watch_killed_handler",
		},
		{
			Name: "block-bounds", Protection: "a block of the key index ends where the next one begins", File: "pkg/checkpoint/blocks.go",
			Old: `if next, _ := c.Next(); next != nil {`, New: `if next, _ := c.Next(); next == nil && len(next) > 0 {`,
			Test: "./pkg/checkpoint TestIndexAgainstAMap",
		},
		{
			Name: "announced-once", Protection: "a key's first life does not answer for its second", File: "pkg/checkpoint/announce.go",
			Old: `!is && !c.Created && !deleted[key] && x.holds(at, key)`, New: `!is && !c.Created && x.holds(at, key)`,
			Test: "./pkg/checkpoint TestAnnounced",
		},
		{
			Name: "announced-forgotten", Protection: "what is announced outlives the clearing of the log", File: "pkg/checkpoint/announce.go",
			Old: `	if len(x.announced) == 0 {
		return nil
	}
	b, err := tx.Create`, New: `	if true || len(x.announced) == 0 {
		return nil
	}
	b, err := tx.Create`,
			Test: "./pkg/checkpoint TestAnnounced",
		},
	}
}

func streamMutants() []mutant {
	return []mutant{
		{
			Name: "newest-version", Protection: "the weakest member decides whether progress is trusted", File: "pkg/watch/progress.go",
			Old: `return slices.MinFunc(versions,`, New: `return slices.MaxFunc(versions,`,
			Test: "./pkg/watch TestWeakest|TestFollowTrusts",
		},
		{
			Name: "idle-too-late", Protection: "an idle watch moves within half of the compactions' interval", File: "pkg/watch/stream.go",
			Old: `t.idle.rules = s.w.Idle.Within(s.w.Compactions())`, New: `t.idle.rules = s.w.Idle`,
			Test: "./pkg/watch TestIdle",
		},
		{
			Name: "asked-once", Protection: "who asks for the progress of a watch that catches up gets it", File: "pkg/watch/stream.go",
			Old: `again = time.After(askAgain)`, New: `again = nil`,
			Test: "./pkg/watch TestFollowAsks",
		},
		{
			Name: "stale-answer", Protection: "an answer to an earlier batch acknowledges nothing", File: "cmd/watch_coprocess.go",
			Old: `case a.Nack != nil && *a.Nack >= next:`, New: `case a.Nack != nil:`,
			Test: "./cmd TestCoprocessAnswers",
		},
		{
			Name: "unread-bound", Protection: "no message is read while more than half of the queue waits", File: "pkg/watch/stream.go",
			Old: `len(s.held) == 0 && s.q.size() <= s.q.limit/2 {`, New: `len(s.held) == 0 {`,
			Test: "./pkg/watch TestFollow",
		},
		{
			Name: "torn-parts", Protection: "a message is cut between revisions only", File: "pkg/watch/stream.go",
			Old: `if bytes >= s.w.ItemBytes && rev != events[i-1].GetKv().GetModRevision() {`, New: `if bytes >= s.w.ItemBytes && rev > 0 {`,
			Test: "./pkg/watch TestFollowCuts",
		},
		{
			Name: "no-spread", Protection: "resyncs after the same compaction begin apart", File: "pkg/watch/sync.go",
			Old: `return pause(ctx, rand.N(limit))`, New: `return pause(ctx, rand.N(limit)/1000)`,
			Test: "./pkg/watch TestResyncs",
		},
		{
			Name: "resync-gives-up", Protection: "a resync outlives an outage", File: "pkg/watch/keep.go",
			Old: `k.Mends == nil || !k.Mends(err) {`, New: `true {`,
			Test: "./pkg/watch TestResync",
		},
	}
}

func lockMutants() []mutant {
	return []mutant{
		{
			Name: "receipt-time", Protection: "a lease's time counts from the sending of a renewal", File: "pkg/lock/session.go",
			Old: `t = t.Renewed(sent, ttl)`, New: `_, t = sent, t.Renewed(n.clock(), ttl)`,
			Test: "./pkg/lock TestTheTimeCountsFromTheSendingOfTheLastAnsweredRenewal",
		},
		{
			Name: "watch-gap", Protection: "a watch of the own key begins where it was read", File: "pkg/lock/hold.go",
			Old: `rev = max(rev, g.check(ctx)+1)`, New: `rev = 0 * g.check(ctx)`,
			Test: "./pkg/lock TestABrokenWatchHidesNothing",
		},
		{
			Name: "once-check", Protection: "whether a run is due is asked again under the lock", File: "pkg/lock/once.go",
			Old: `err := o.check(ctx, a.store, a.r.Name, a.token)`, New: `err := error(nil)`,
			Test: "./pkg/lock TestOneRunPerPeriod",
		},
		{
			Name: "once-lease", Protection: "a run is not kept away by a lease that new leaders restart", File: "pkg/lock/once.go",
			Old: `return r, !open || now.Sub(r.Start) >= o.Every`, New: `return r, !open`,
			Test: "./pkg/lock TestOneRunPerPeriod",
		},
		{
			Name: "killed-too-late", Protection: "the command is dead before its lease can end", File: "pkg/lock/tenure.go",
			Old: `return t.sent.Add(part(t.ttl, hardPart)) }`, New: `return t.sent.Add(part(t.ttl, 3)) }`,
			Test: "./pkg/lock TestNoTwoHoldersWorkAtOnce",
		},
		{
			Name: "overtaking", Protection: "a contender waits for those before it", File: "pkg/lock/queue.go",
			Old: `return len(q) == 0
	}
}`, New: `return true
	}
}`,
			Test: "./pkg/lock TestQueue|TestAdmits|TestNoTwoHoldersWorkAtOnce",
		},
	}
}

func lockCampaigns() []mutant {
	return []mutant{
		{
			Name: "lock-queue", Protection: "a contender waits for those before it", File: "pkg/lock/queue.go",
			Old: `return len(q) == 0
	}
}`, New: `return true
	}
}`,
			Campaign: "--workloads lock --duration 20s", Seed: 31,
		},
		{
			Name: "lock-deadline", Protection: "the command is killed before its lease can end", File: "pkg/lock/tenure.go",
			Old: `return t.sent.Add(part(t.ttl, hardPart)) }`, New: `return t.sent.Add(20 * t.ttl) }`,
			Campaign: "--workloads lock --duration 70s --ttl 2s", Seed: 35,
		},
		{
			Name: "lock-guard", Protection: "a second process watches over the first", File: "cmd/lock_guard.go",
			Old: `case o.noGuard || !canGuard:`, New: `case true:`,
			Campaign: "--workloads lock --duration 60s --faults proc-kill --ttl 2s", Seed: 36,
		},
		{
			Name: "lock-fence", Protection: "a fenced write depends on the lock", File: "cmd/fence.go",
			Old: `[]clientv3.Cmp{f.guards()}`, New: `nil`,
			Campaign: "--workloads lock --faults freeze --duration 70s --ttl 2s", Seed: 37,
		},
		{
			Name: "lock-once", Protection: "a run with an ID is looked up before it starts", File: "pkg/lock/once.go",
			Old: `if r := parseRun(resp.Kvs[0]); r.Token != token || token == 0 {`, New: `if r := parseRun(resp.Kvs[0]); false {`,
			Campaign: "--workloads lock --duration 60s", Seed: 38,
		},
		{
			Name: "lock-shared", Protection: "who shares a lock waits for who holds it alone", File: "pkg/lock/queue.go",
			Old: `if o.Claim.Mode != Shared {`, New: `if false && o.Claim.Mode != Shared {`,
			Campaign: "--workloads lock --duration 60s", Seed: 39,
		},
		{
			Name: "lock-slots", Protection: "a semaphore counts who holds it", File: "pkg/lock/queue.go",
			Old: `return sum <= c.Slots`, New: `return true`,
			Campaign: "--workloads lock --duration 60s", Seed: 40,
		},
	}
}

func otherCampaigns() []mutant {
	return []mutant{
		{
			Name: "write-blind", Protection: "a write of unknown outcome is not sent again", File: "pkg/conn/write.go",
			Old: `case t.left() && !refused(err):`, New: `case false && t.left() && !refused(err):`,
			Campaign: "--workloads kv --duration 40s", Seed: 32,
		},
		{
			Name: "write-told", Protection: "an unknown outcome is called so", File: "pkg/conn/write.go",
			Old: `return zero, &UnknownOutcomeError{Err: err}`, New: `return zero, &UnavailableError{Attempts: []Attempt{{c.members[i].endpoint, why, err}}}`,
			Campaign: "--workloads kv --duration 40s", Seed: 32,
		},
		{
			Name: "read-failover", Protection: "a read goes to another member when one does not answer", File: "pkg/conn/race.go",
			Old: `		if l.out || l.hopeless || l.again.After(now) {
			continue`, New: `		if l.out || l.hopeless || l.again.After(now) || i != s.order[0] {
			continue`,
			Campaign: "--workloads kv --duration 40s", Seed: 42,
		},
		{
			Name: "watch-dedupe", Protection: "events at or before the last one are dropped", File: "pkg/watch/cursor.go",
			Old: `if rev <= c.last {`, New: `if false {`,
			Campaign: "--workloads watch --duration 30s", Seed: 31,
		},
		{
			Name: "watch-resync-deletes", Protection: "a resync looks for vanished keys", File: "pkg/watch/resync.go",
			Old: `list: s.announced > 0 || s.known+s.created != s.count}`, New: `list: false && s.known+s.created != s.count}`,
			Campaign: "--workloads watch --duration 40s", Seed: 31,
		},
		{
			Name: "watch-compacted", Protection: "after a compaction the watch resyncs", File: "pkg/watch/keep.go",
			Old: `err = k.resync(ctx, Resync{From: k.pos, Reason: ReasonCompacted})`, New: `c, _ := errors.AsType[*CompactedError](err)
			k.pos, err = c.Oldest, nil`,
			Campaign: "--workloads watch --duration 45s", Seed: 41,
		},
		{
			Name: "watch-moves", Protection: "a stream leaves a member that does not answer", File: "pkg/conn/watchdog.go",
			Old: `		if down && next != i {`, New: `		if false && down && next != i {`,
			Campaign: "--workloads watch --duration 45s", Seed: 43,
		},
	}
}
