package main

func lockCampaigns() []mutant {
	return []mutant{
		{
			Name: "lock-queue", Protection: "a contender waits for those before it", File: "pkg/lock/queue.go",
			Old: `return len(q) == 0
	}
}`, New: `return true
	}
}`,
			Campaign: "--workloads lock --duration 20s", Seed: 31, Rule: "lock/exclusive",
		},
		{
			Name: "lock-deadline", Protection: "the command is killed before its lease can end", File: "pkg/lock/tenure.go",
			Old: `return t.sent.Add(part(t.ttl, hardPart)) }`, New: `return t.sent.Add(20 * t.ttl) }`,
			Campaign: "--workloads lock --faults proc-cut --duration 70s --ttl 2s", Seed: 51, Rule: "lock/exclusive",
		},
		{
			Name: "lock-guard", Protection: "a second process watches over the first", File: "cmd/lock_guard.go",
			Old: `case o.noGuard || !canGuard:`, New: `case true:`,
			Campaign: "--workloads lock --duration 60s --faults proc-kill --ttl 2s", Seed: 36, Rule: "lock/exclusive",
		},
		{
			Name: "lock-fence", Protection: "a fenced write depends on the lock", File: "cmd/fence.go",
			Old: `[]clientv3.Cmp{f.guards()}`, New: `nil`,
			Campaign: "--workloads lock --faults freeze --duration 70s --ttl 2s", Seed: 37, Rule: "lock/fenced",
		},
		{
			Name: "kept-late-write", Protection: "the same, with a schedule that is kept", File: "cmd/fence.go",
			Old: `[]clientv3.Cmp{f.guards()}`, New: `nil`,
			Campaign: "--replay scripts/campaign/testdata/late-write.schedule", Seed: 37, Rule: "lock/fenced",
		},
		{
			Name: "lock-once", Protection: "a run with an ID is looked up before it starts", File: "pkg/lock/once.go",
			Old: `if r := parseRun(resp.Kvs[0]); r.Token != token || token == 0 {`, New: `if r := parseRun(resp.Kvs[0]); false {`,
			Campaign: "--workloads lock --duration 60s", Seed: 38, Rule: "lock/once",
		},
		{
			Name: "lock-period", Protection: "when the last run was is looked up before one starts", File: "pkg/lock/once.go",
			Old: `if !due && (last.Token`, New: `if false && !due && (last.Token`,
			Campaign: "--workloads lock --duration 60s", Seed: 44, Rule: "lock/period",
		},
		{
			Name: "lock-shared", Protection: "who shares a lock waits for who holds it alone", File: "pkg/lock/queue.go",
			Old: `if o.Claim.Mode != Shared {`, New: `if false && o.Claim.Mode != Shared {`,
			Campaign: "--workloads lock --duration 60s", Seed: 39, Rule: "lock/exclusive",
		},
		{
			Name: "lock-slots", Protection: "a semaphore counts who holds it", File: "pkg/lock/queue.go",
			Old: `return sum <= c.Slots`, New: `return true`,
			Campaign: "--workloads lock --duration 60s", Seed: 40, Rule: "lock/exclusive",
		},
	}
}

func otherCampaigns() []mutant {
	return []mutant{
		{
			Name: "write-blind", Protection: "a write of unknown outcome is not sent again", File: "pkg/conn/write.go",
			Old: `case t.left() && !refused(err):`, New: `case false && t.left() && !refused(err):`,
			Campaign: "--workloads kv --faults reset --duration 60s", Seed: 32, Rule: "kv/linearizable",
		},
		{
			Name: "write-told", Protection: "an unknown outcome is called so", File: "pkg/conn/write.go",
			Old: `return zero, &UnknownOutcomeError{Err: err}`, New: `return zero, &UnavailableError{Attempts: []Attempt{{c.members[i].endpoint, why, err}}}`,
			Campaign: "--workloads kv --faults reset --duration 60s", Seed: 32, Rule: "kv/linearizable",
		},
		{
			Name: "read-failover", Protection: "a read goes to another member when one does not answer", File: "pkg/conn/race.go",
			Old: `		if l.out || l.hopeless || l.again.After(now) {
			continue`, New: `		if l.out || l.hopeless || l.again.After(now) || i != s.order[0] {
			continue`,
			Campaign: "--workloads kv --duration 40s", Seed: 42, Rule: "kv/available",
		},
		{
			Name: "watch-dedupe", Protection: "events at or before the last one are dropped", File: "pkg/watch/cursor.go",
			Old: `if rev <= c.last {`, New: `if false {`,
			Campaign: "--workloads watch --duration 30s", Seed: 31, Rule: "watch/",
		},
		{
			Name: "watch-resync-deletes", Protection: "a resync looks for vanished keys", File: "pkg/watch/resync.go",
			Old: `list: s.announced > 0 || s.known+s.created != s.count}`, New: `list: false && s.known+s.created != s.count}`,
			Campaign: "--workloads watch --duration 40s", Seed: 31, Rule: "watch/resync",
		},
		{
			Name: "watch-compacted", Protection: "after a compaction the watch resyncs", File: "pkg/watch/keep.go",
			Old: `err = k.resync(ctx, Resync{From: k.pos, Reason: ReasonCompacted})`, New: `c, _ := errors.AsType[*CompactedError](err)
			k.pos, err = c.Oldest, nil`,
			Campaign: "--workloads watch --duration 45s", Seed: 41, Rule: "watch/resumable",
		},
	}
}
