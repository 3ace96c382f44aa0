package conn

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// ClockDifference is by how much an endpoint's clock is ahead of this host's, as far as that can be known: at least Least
// and at most Most. Negative: it is behind.
type ClockDifference struct{ Least, Most time.Duration }

// Certain returns the part of the difference that is beyond doubt: 0 when the clocks may agree.
func (d ClockDifference) Certain() time.Duration {
	switch {
	case d.Least > 0:
		return d.Least
	case d.Most < 0:
		return d.Most
	}
	return 0
}

// clockDifference is what follows from an answer with that Date, which the server wrote after the request was sent and before
// the answer was received. The seconds of a Date are whole ones, rounded down.
func clockDifference(date, sent, received time.Time) ClockDifference {
	return ClockDifference{Least: date.Sub(received), Most: date.Add(time.Second).Sub(sent)}
}

// AskClock asks an endpoint for the time. gRPC has no way to, but on the same port etcd answers GET /version, with the time in
// the Date that every answer in HTTP has. That costs nothing but a connection: no quorum, no right. It returns an error where
// there is no such answer: etcd was told to serve HTTP elsewhere, or it is not etcd.
func AskClock(ctx context.Context, o Options, endpoint string) (ClockDifference, error) {
	a, err := parseEndpoint(endpoint)
	if err != nil {
		return ClockDifference{}, err
	}
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, a.network, a.addr)
		},
		// No HTTP/2: where both are spoken, etcd's port gives that to gRPC.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	url := "http://" + a.addr + "/version"
	if a.network == "unix" {
		url = "http://localhost/version"
	}
	if a.tls == tlsAlways || a.tls == tlsIfSet && o.TLS.wanted() {
		if t.TLSClientConfig, err = o.TLS.config(); err != nil {
			return ClockDifference{}, err
		}
		url = "https" + url[len("http"):]
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return ClockDifference{}, err
	}
	return readClock(t, req)
}

// readClock sends one request, and measures between what other processes cannot delay.
func readClock(t *http.Transport, req *http.Request) (ClockDifference, error) {
	sent := time.Now()
	resp, err := t.RoundTrip(req)
	received := time.Now()
	if err != nil {
		return ClockDifference{}, err
	}
	defer resp.Body.Close()
	var v struct {
		Server string `json:"etcdserver"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<10)).Decode(&v); err != nil || v.Server == "" {
		return ClockDifference{}, fmt.Errorf("%s is not answered by etcd", req.URL)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return ClockDifference{}, err
	}
	// The monotonic clock has no place in a comparison with another host's.
	return clockDifference(date, sent.Round(0), received.Round(0)), nil
}
