package watch

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestWeakestVersionDecides(t *testing.T) {
	for _, c := range []struct {
		versions string
		want     string
	}{
		{"3.7.3", "3.7.3"},
		{"3.7.3 3.5.7 3.6.1", "3.5.7"},
		{"3.7.3 3.5.8", "3.5.8"},
		{"3.5.8 3.4.23", "3.4.23"},
		{"3.6.0 nonsense", "nonsense"},
		{"", ""},
	} {
		if got := weakest(strings.Fields(c.versions)); got != c.want {
			t.Errorf("%q: %q decides, want %q", c.versions, got, c.want)
		}
	}
}

// A watch that has met an old member asks nobody for its progress, wherever it is now.
func TestFollowTrustsNoProgressOfAMixedCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []bool
		play := func(rev int64) func(context.Context, *rawStream) {
			return func(_ context.Context, r *rawStream) {
				r.say(created())
				asked = append(asked, r.asked(time.Minute))
				r.say(events(rev, false, ev(rev, "a")))
			}
		}
		s := &script{streams: []func(context.Context, *rawStream){play(6), play(7), play(8)}, members: []Member{
			member("new:2379", "3.7.3"), member("old:2379", "3.5.7"), member("new:2379", "3.7.3"),
		}}
		follow(t, &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), ProgressEvery: 5 * time.Second}}, After(5), 8)
		if !slices.Equal(asked, []bool{true, false, false}) {
			t.Errorf("asked for progress: %v", asked)
		}
	})
}

// A member that does not say which version it is must not hold up events.
func TestFollowDoesNotWaitForAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{streams: []func(context.Context, *rawStream){func(ctx context.Context, r *rawStream) {
			r.say(created(), events(9, false, ev(9, "a")))
			<-ctx.Done()
		}}, members: []Member{{Endpoint: "hangs:2379", Version: func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}}}}
		begun := time.Now()
		follow(t, &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), ProgressEvery: 5 * time.Second}}, After(5), 9)
		if d := time.Since(begun); d > 0 {
			t.Errorf("the event came after %v", d)
		}
	})
}

func member(endpoint, version string) Member {
	return Member{Endpoint: endpoint, Version: func(context.Context) (string, error) { return version, nil }}
}

// Compactions that come every two minutes make an idle watch move within one of them.
func TestIdleAdvanceKeepsUpWithCompactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{version: "3.5.7", streams: []func(context.Context, *rawStream){
			func(ctx context.Context, r *rawStream) { r.say(created()); <-ctx.Done() },
		}}
		s.gets = func(string, clientv3.Op) *clientv3.GetResponse {
			return &clientv3.GetResponse{Header: header(100), Count: 3}
		}
		w := &Watcher{Source: s, KV: s, Config: Config{
			Range: allKeys(), Idle: Idle{Mode: IdleProof, After: 600 * time.Second, Lag: 60 * time.Second}, ProgressEvery: 5 * time.Second,
			Compactions: func() time.Duration { return 2 * time.Minute },
		}}
		begun := time.Now()
		follow(t, w, After(5), 100)
		if d := time.Since(begun); d > 2*time.Minute {
			t.Errorf("the watch moved after %v", d)
		}
	})
}

// A server that is asked too early does not answer; who asked for the progress gets it all the same, and once.
func TestFollowAsksUntilItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		s := &script{rev: 41, streams: []func(context.Context, *rawStream){func(ctx context.Context, r *rawStream) {
			r.say(created())
			for requests < 2 && r.asked(time.Minute) {
				requests++
			}
			r.say(progress(41))
			if r.asked(time.Minute) {
				requests++
			}
			r.say(events(42, false, ev(42, "a")))
		}}}
		ask := make(chan struct{}, 1)
		ask <- struct{}{}
		w := &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), Ask: ask}}
		items := follow(t, w, Since(0), 42)
		if requests != 2 || len(items) != 2 || items[0].Kind != Progress {
			t.Errorf("%d requests and %d items", requests, len(items))
		}
	})
}

// What is not read is not decoded, and takes no memory here: with a handler at work, no more is read than fills half of the
// queue.
func TestFollowReadsNoMoreThanItHasRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := 0
		s := &script{streams: []func(context.Context, *rawStream){func(ctx context.Context, r *rawStream) {
			r.say(created())
			for rev := int64(6); ctx.Err() == nil; rev++ {
				e := ev(rev, "k")
				e.Kv.Value = make([]byte, 1000-each-each-1)
				r.say(events(40, false, e))
				said++
			}
		}}}
		w := &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), QueueBytes: 10_000}}
		_ = w.Follow(t.Context(), After(5), func(context.Context, Item) error {
			time.Sleep(fullFor / 2)
			return errEnough
		})
		synctest.Wait()
		if said < 5 || said > 8 { // one is handled, and what is read last goes past the half
			t.Errorf("%d messages of a tenth of the queue were read", said)
		}
	})
}

// A message is handled in parts that end with revisions, so that it need not be held to its end.
func TestFollowCutsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{streams: []func(context.Context, *rawStream){func(ctx context.Context, r *rawStream) {
			r.say(created(), events(9, false, ev(6, "a"), ev(6, "b"), ev(6, "c"), ev(7, "d"), ev(8, "e"), ev(8, "f"), ev(9, "g")))
			<-ctx.Done()
		}}}
		w := &Watcher{Source: s, KV: s, Config: Config{Range: allKeys(), ItemBytes: 2 * each}}
		var got []string
		for _, it := range follow(t, w, After(5), 9) {
			got = append(got, strings.Join(names(it.Events), " "))
			if last := it.Events[len(it.Events)-1].GetKv().GetModRevision(); it.Rev != last {
				t.Errorf("the position after revision %d is %d", last, it.Rev)
			}
		}
		if !slices.Equal(got, []string{"6:a 6:b 6:c", "7:d 8:e 8:f", "9:g"}) {
			t.Errorf("%q", got)
		}
	})
}
