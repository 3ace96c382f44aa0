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
	// Test is a package and the expression for its tests; Campaign are the campaign's arguments, beginning with this Seed, and Rule is what it
	// has to see broken.
	Test     string
	Campaign string
	Seed     int
	Rule     string
}

func (m mutant) apply(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 {
		return "", fmt.Errorf("%q is %d times in %s, not once", m.Old, n, m.File)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

func mutants() []mutant {
	var all []mutant
	for _, some := range [][]mutant{connMutants(), watchMutants(), handlerMutants(), streamMutants(), lockMutants(), holderMutants(), processMutants(), answerMutants(), terminalMutants(), lockCampaigns(), otherCampaigns()} {
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
		{
			Name: "watch-moves", Protection: "a stream leaves a member that does not answer", File: "pkg/conn/watchdog.go",
			Old: `		if down && next != i {`, New: `		if false && down && next != i {`,
			Test: "./pkg/conn TestStreamLeavesASickMember",
		},
		{
			Name: "grant-once", Protection: "the grant of a lease is sent again when its members do not answer", File: "pkg/conn/lease.go",
			Old: `const firstResend = time.Second`, New: `const firstResend = time.Hour`,
			Test: "./pkg/conn TestGrantOutlivesALeaderThatHangs",
		},
		{
			Name: "slow-handshake", Protection: "a handshake that is not finished in time is no sign of a server without TLS", File: "pkg/conn/classify.go",
			Old: `first[0] == 0 && (len(first) < 4`, New: `(len(first) < 4`,
			Test: "./pkg/conn TestAHandshakeThatStallsIsNoPlainPort",
		},
		{
			Name: "txn-own", Protection: "a transaction leaves a member that hangs, and ends in time", File: "cmd/txn.go",
			Old: `if f == nil && g.asEtcdctl {`, New: `if f == nil {`,
			Test: "./cmd TestScript/txn$",
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
			Name: "balancer", Protection: "a watch that was served outlives a load balancer that says for a while that nobody is there", File: "cmd/watch_source.go",
			Old: `p == wrongSetUp && s.c.Served()`, New: `false`,
			Test: "./cmd TestScript/watch_balancer",
		},
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
			Old: `t = t.Renewed(r.sent, r.ttl)`, New: `t = t.Renewed(n.clock(), r.ttl)`,
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
