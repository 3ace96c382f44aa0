package conn

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestClockDifference(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 400e6, time.UTC)
	second := at.Truncate(time.Second)
	for _, c := range []struct {
		name                 string
		date, sent, received time.Time
		want                 ClockDifference
		certain              time.Duration
	}{
		{"the same second", second, at, at, ClockDifference{-400 * time.Millisecond, 600 * time.Millisecond}, 0},
		{"a slow answer", second, at, at.Add(2 * time.Second), ClockDifference{-2400 * time.Millisecond, 600 * time.Millisecond}, 0},
		{"the next second", second.Add(time.Second), at, at, ClockDifference{600 * time.Millisecond, 1600 * time.Millisecond}, 600 * time.Millisecond},
		{"a minute behind", second.Add(-time.Minute), at, at, ClockDifference{-60400 * time.Millisecond, -59400 * time.Millisecond}, -59400 * time.Millisecond},
	} {
		got := clockDifference(c.date, c.sent, c.received)
		if got != c.want || got.Certain() != c.certain {
			t.Errorf("%s: %v, certain %v, want %v, certain %v", c.name, got, got.Certain(), c.want, c.certain)
		}
	}
}

// A time that is not etcd's own says nothing of etcd's clock.
func TestAskClockWantsEtcd(t *testing.T) {
	for _, c := range []struct {
		name, body, date string
		ok               bool
	}{
		{"etcd an hour ahead", `{"etcdserver":"3.7.3"}`, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), true},
		{"another server", "welcome", time.Now().UTC().Format(http.TimeFormat), false},
		{"another server that speaks JSON", `{"version":"1"}`, time.Now().UTC().Format(http.TimeFormat), false},
		{"no time", `{"etcdserver":"3.7.3"}`, "", false},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", c.date)
			if r.URL.Path == "/version" {
				fmt.Fprint(w, c.body)
			}
		}))
		d, err := AskClock(t.Context(), Options{TLS: TLS{Insecure: true}}, srv.Listener.Addr().String())
		if (err == nil) != c.ok || c.ok && (d.Certain() < time.Hour-2*time.Second || d.Most > time.Hour+2*time.Second) {
			t.Errorf("%s: %v, %v", c.name, d, err)
		}
		srv.Close()
	}
}

func TestSetAside(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := Options{Endpoints: []string{"a:1", "b:1", "c:1"}, RetryAfter: 30 * time.Second, StateFile: t.TempDir() + "/endpoints.json"}
	r := newRoster(o.Endpoints, o.RetryAfter)
	r.failedAt(1, now, Silent)
	saveState(o.StateFile, now, r)
	got := SetAside(o, now.Add(10*time.Second))
	if len(got) != 1 || got[0] != (Aside{Endpoint: "b:1", Failed: now, Until: now.Add(30 * time.Second), Reason: Silent}) {
		t.Errorf("after 10 s: %+v", got)
	}
	if got := SetAside(o, now.Add(31*time.Second)); len(got) != 0 {
		t.Errorf("after 31 s: %+v", got)
	}
	o.StateFile = ""
	if got := SetAside(o, now); len(got) != 0 {
		t.Errorf("without a file: %+v", got)
	}
}
