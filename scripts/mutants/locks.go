package main

// holderMutants are about how a lock is taken and let go.
func holderMutants() []mutant {
	return []mutant{
		{
			Name: "lock-delay", Protection: "a holder's unclean end is waited for", File: "pkg/lock/wait.go",
			Old: `a.session.clock() < over && len(stale) > 0 {`, New: `a.session.clock() < over && false {`,
			Test: "./pkg/lock TestWrongfulRevocation",
		},
		{
			Name: "delay-short", Protection: "who waits for a whole lease does", File: "pkg/lock/lock.go",
			Old: `	case TTLDelay:
		return ttl`, New: `	case TTLDelay:
		return min(2*time.Second, ttl/4)`,
			Test: "./pkg/lock TestUnheardRevocation",
		},
		{
			Name: "mixed-markers", Protection: "an unclean end is seen among the markers of other locks", File: "pkg/lock/join.go",
			Old: `			a.mixed = true
			return nil, errMixed`, New: `			a.mixed = true`,
			Test: "./pkg/lock TestAnUncleanEndIsSeen",
		},
		{
			Name: "begin-unchecked", Protection: "work is not begun on what was true long ago", File: "pkg/lock/hold.go",
			Old: `if err := h.ready(ctx); errors.Is(err, errPlaceLost) {`, New: `if err := error(nil); errors.Is(err, errPlaceLost) {`,
			Test: "./pkg/lock TestWorkIsNotBegun",
		},
		{
			Name: "taken-unchecked", Protection: "a lock that was lost while it was taken is taken anew", File: "pkg/lock/acquire.go",
			Old: `if err := h.ready(ctx); err != nil {`, New: `if err := error(nil); err != nil {`,
			Test: "./pkg/lock TestALockThatWasLostWhileItWasTaken",
		},
		{
			Name: "release-any-key", Protection: "a release leaves the key of somebody else", File: "pkg/lock/hold.go",
			Old: `[]clientv3.Cmp{isToken(h.key, h.token)}, then, marker)`, New: `nil, then, marker)`,
			Test: "./pkg/lock TestReleaseLeaves",
		},
		{
			Name: "leave-any-key", Protection: "a waiter that leaves does so, too", File: "pkg/lock/acquire.go",
			Old: `_, _ = a.store.Commit(ctx, []clientv3.Cmp{isToken(a.key, a.token)},`, New: `_, _ = a.store.Commit(ctx, nil,`,
			Test: "./pkg/lock TestAWaiterLeaves",
		},
	}
}

// processMutants are about the processes that hold a lock, and those under it.
func processMutants() []mutant {
	return []mutant{
		{
			Name: "front-any-key", Protection: "a front that releases for its keeper does so, too", File: "cmd/lock_run.go",
			Old: `[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(r.Key), "=", r.Token)},`, New: `nil,`,
			Test: "./cmd TestScript/lock_keeper_killed",
		},
		{
			Name: "one-process", Protection: "a command ends with whichever process of etcdx is killed", File: "cmd/lock_guard.go",
			Old: `case o.noGuard || !canGuard:`, New: `case true:`,
			Test: "./cmd TestScript/lock_killed",
		},
		{
			Name: "ends-late", Protection: "a command whose host is cut off ends before its lease can", File: "pkg/lock/tenure.go",
			Old: `return t.sent.Add(part(t.ttl, hardPart)) }`, New: `return t.sent.Add(20 * t.ttl) }`,
			Test: "./cmd TestScript/lock_host_cut_off",
		},
		{
			Name: "told-late", Protection: "the front knows of the lock before the command begins", File: "cmd/lock_run.go",
			Old: `told := l.renewed(held, -1)`, New: `told := lock.Instant(-1)`,
			Test: "./cmd TestScript/lock_keeper_killed",
		},
		{
			Name: "front-kills-one", Protection: "a front kills the whole tree", File: "cmd/lock_guard_unix.go",
			Old: `left := child.KillDescendants(f.keeper.Process.Pid, 5*time.Second)`, New: `left := []int(nil)`,
			Test: "./cmd TestScript/lock_keeper_killed",
		},
		{
			Name: "front-late", Protection: "a front kills the command before the lease of a keeper that hangs can end", File: "cmd/lock_guard.go",
			Old: `.Hard().Add(r.TTL / 25)`, New: `.Hard().Add(r.TTL)`,
			Test: "./cmd TestScript/lock_killed",
		},
		{
			Name: "keeper-kills-one", Protection: "a keeper kills the whole tree", File: "pkg/child/tree_linux.go",
			Old: `if pid != root && !p.zombie && t.contains(procs, pid, root, self) {`, New: `if false && !p.zombie && t.contains(procs, pid, root, self) {`,
			Test: "./pkg/child TestTheWholeTree",
		},
		{
			Name: "headless", Protection: "a process whose first thread has ended, and others not, is not taken for dead", File: "pkg/child/tree_linux.go",
			Old: ` && len(fields[threads]) == 1 && fields[threads][0] <= '1'`, New: ``,
			Test: "./pkg/child TestAProcessWithoutItsFirstThreadLives",
		},
		{
			Name: "late-leave", Protection: "a waiter is not kept by members that do not answer", File: "pkg/lock/acquire.go",
			Old: `budget = hopelessTime`, New: `budget = leaveTime`,
			Test: "./cmd TestScript/lock_deadline",
		},
		{
			Name: "txn-fence", Protection: "a fenced transaction depends on the lock, its second list too", File: "cmd/txn.go",
			Old: `[]clientv3.Cmp{f.guards()}`, New: `nil`,
			Test: "./cmd TestScript/lock_fence_txn",
		},
	}
}

// answerMutants are about answers that are late or lost between a lock and its cluster, or its two processes.
func answerMutants() []mutant {
	return []mutant{
		{
			Name: "renewals-one-by-one", Protection: "a renewal that is answered late counts", File: "pkg/lock/session.go",
			Old: `const renewCopies = 3`, New: `const renewCopies = 1`,
			Test: "./pkg/lock TestALateAnswerToARenewalCounts",
		},
		{
			Name: "last-report", Protection: "the keeper's last report reaches a front that is slow", File: "cmd/lock_guard.go",
			Old: `		patience = lastReportTime`, New: `		patience += 0 * lastReportTime`,
			Test: "./cmd TestTheLastReportIsNotLost",
		},
		{
			Name: "unheard", Protection: "a detached lock that nobody has heard of is let go", File: "cmd/lock_guard_unix.go",
			Old: `			if !knows {`, New: `			if !knows && f.last.TTL == 0 {`,
			Test: "./cmd TestScript/lock_keeper_killed",
		},
		{
			Name: "run-leases", Protection: "what remembers a run has one lease, however often it is granted", File: "pkg/lock/once.go",
			Old: `		return o.marks(ctx, a.store`, New: `		leases = newRunLeases(a.store)
		return o.marks(ctx, a.store`,
			Test: "./pkg/lock TestARunTakesOneLease",
		},
	}
}

// terminalMutants are about a command on a terminal, whose keys reach it and both processes of etcdx.
func terminalMutants() []mutant {
	return []mutant{
		{
			Name: "key-passed-on", Protection: "a key that the command got from its terminal is not passed on by the keeper", File: "cmd/lock_guard_unix.go",
			Old: `				seen[sig] = time.Now()
				s.out <- keySignal{sig.String(), sig}`, New: `				seen[sig] = time.Now()
				s.out <- sig`,
			Test: "./cmd TestLockPassesCtrlC",
		},
		{
			Name: "key-passed-twice", Protection: "nor by the front", File: "cmd/lock_guard_unix.go",
			Old: `if fromKeys(sig) && s.sawToo(sig, seen) {`, New: `if false && s.sawToo(sig, seen) {`,
			Test: "./cmd TestLockPassesCtrlC",
		},
		{
			Name: "sigint-swallowed", Protection: "a SIGINT to the front on a terminal reaches the command", File: "cmd/lock_guard_unix.go",
			Old: `if fromKeys(sig) && s.sawToo(sig, seen) {`, New: `if fromKeys(sig) {`,
			Test: "./cmd TestLockPassesCtrlC",
		},
		{
			Name: "no-key", Protection: "a command on a terminal gets its keys", File: "cmd/lock_run.go",
			Old: `Terminal: l.terminal, Sole`, New: `Sole`,
			Test: "./cmd TestLockPassesCtrlC",
		},
	}
}
