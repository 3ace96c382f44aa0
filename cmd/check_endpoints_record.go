package cmd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

// endpointRecord is one line of check-endpoints. Sizes are in bytes, the time in milliseconds.
type endpointRecord struct {
	Schema   string `json:"schema"`
	Endpoint string `json:"endpoint"`
	Healthy  bool   `json:"healthy"`
	TLS      bool   `json:"tls"`
	TookMS   int64  `json:"took_ms"`
	Cluster  string `json:"cluster_id,omitempty"`
	Member   string `json:"member_id,omitempty"`
	Role     string `json:"role,omitempty"` // leader, follower, learner, no leader
	Version  string `json:"version,omitempty"`
	Term     uint64 `json:"raft_term,omitempty"`
	Index    uint64 `json:"raft_index,omitempty"`
	Lag      uint64 `json:"lag"`
	Size     int64  `json:"db_size,omitempty"`
	InUse    int64  `json:"db_size_in_use,omitempty"`
	// The endpoint's clock is ahead of this host's by at least ClockLeast and at most ClockMost; null: not known.
	ClockLeast *int64 `json:"clock_least_ms"`
	ClockMost  *int64 `json:"clock_most_ms"`
	// Until AsideUntil other commands try this endpoint after all others, because of AsideWhy.
	AsideUntil *time.Time `json:"aside_until,omitempty"`
	AsideWhy   string     `json:"aside_why,omitempty"`

	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`

	asideFor time.Duration
}

// noLeader is the role of a member that knows of no leader.
const noLeader = "no leader"

const schemaEndpoint = "etcdx.endpoint/1"

// judge turns what the endpoints said into records, comparing each with the others.
func (o checkEndpointsOptions) judge(states []endpointState) []endpointRecord {
	var foremost uint64
	clusters := map[uint64]int{}
	for _, s := range states {
		if s.status != nil {
			foremost = max(foremost, s.status.RaftIndex)
			clusters[s.status.Header.ClusterId]++
		}
	}
	records := make([]endpointRecord, len(states))
	for i, s := range states {
		r := endpointRecord{Schema: schemaEndpoint, Endpoint: s.endpoint, TLS: s.tls, TookMS: s.took.Milliseconds()}
		if s.status == nil {
			r.Problem, r.Hint = problemOf(s.err)
		} else {
			r.describe((*pb.StatusResponse)(s.status), foremost)
			r.Problem, r.Hint = problemIn(r, s.status.Errors, o.maxLag)
			if r.Problem == "" {
				r.Problem, r.Hint = r.readClock(s.clock, o.maxClock)
			}
			if len(clusters) > 1 {
				r.Problem, r.Hint = "belongs to cluster "+r.Cluster+", others to another one", errOtherClusters.Error()
			}
		}
		r.Healthy = r.Problem == ""
		records[i] = r
	}
	return records
}

// describe fills in what a member says of itself.
func (r *endpointRecord) describe(s *pb.StatusResponse, foremost uint64) {
	r.Cluster, r.Member = fmt.Sprintf("%x", s.Header.ClusterId), fmt.Sprintf("%x", s.Header.MemberId)
	r.Version, r.Term, r.Index, r.Lag = s.Version, s.RaftTerm, s.RaftIndex, foremost-s.RaftIndex
	r.Size, r.InUse = s.DbSize, s.DbSizeInUse
	switch {
	case s.Leader == s.Header.MemberId:
		r.Role = "leader"
	case s.IsLearner:
		r.Role = "learner"
	default:
		r.Role = "follower"
	}
	if s.Leader == 0 {
		r.Role = noLeader
	}
}

// problemOf says why an endpoint could not be asked.
func problemOf(err error) (problem, hint string) {
	e, ok := errors.AsType[*conn.UnavailableError](err)
	if !ok || len(e.Attempts) == 0 {
		return err.Error(), ""
	}
	a := e.Attempts[0]
	problem, hint = a.Reason.Explain()
	if a.Reason == conn.Other {
		problem = a.Err.Error()
	}
	return problem, hint
}

// problemIn says what is wrong with a member that answers; empty: nothing.
func problemIn(r endpointRecord, alarms []string, maxLag uint64) (problem, hint string) {
	for _, alarm := range alarms {
		switch {
		case strings.Contains(alarm, "NOSPACE"):
			return "alarm NOSPACE: the database is full", "compact, defragment, then etcdx alarm disarm; or raise the server's --quota-backend-bytes"
		case strings.Contains(alarm, "CORRUPT"):
			return "alarm CORRUPT: its data differs from the others'", "remove the member, and add it again with empty data"
		}
	}
	switch {
	case r.Role == noLeader:
		return conn.NoLeader.Explain()
	case len(alarms) > 0:
		return strings.Join(alarms, ", "), ""
	case r.Lag > maxLag:
		return fmt.Sprintf("is %d raft entries behind", r.Lag), "it is slow or was away: look at its disk, processor and network"
	}
	return "", ""
}

// readClock fills in what is known of the clock, and says what is wrong with it; empty: nothing.
func (r *endpointRecord) readClock(d *conn.ClockDifference, most time.Duration) (problem, hint string) {
	if d == nil {
		return "", ""
	}
	r.ClockLeast, r.ClockMost = new(d.Least.Milliseconds()), new(d.Most.Milliseconds())
	if d.Certain().Abs() <= most {
		return "", ""
	}
	return "its clock differs from this host's: " + r.clockText(), "synchronise the clocks (NTP): certificates, tokens and logs are judged by them"
}

// clockText says in a few words how the clocks differ; empty: not known.
func (r *endpointRecord) clockText() string {
	if r.ClockLeast == nil {
		return ""
	}
	d := conn.ClockDifference{Least: time.Duration(*r.ClockLeast) * time.Millisecond, Most: time.Duration(*r.ClockMost) * time.Millisecond}
	middle := (d.Least + d.Most) / 2
	switch {
	case d.Certain() > 0:
		return fmt.Sprintf("%v ahead", middle.Round(time.Second/10))
	case d.Certain() < 0:
		return fmt.Sprintf("%v behind", -middle.Round(time.Second/10))
	}
	return fmt.Sprintf("within %.1fs", max(-d.Least, d.Most).Seconds())
}

// setAside fills in an earlier verdict, if it is on this endpoint.
func (r *endpointRecord) setAside(a conn.Aside, now time.Time) {
	if a.Endpoint != r.Endpoint {
		return
	}
	why, _ := a.Reason.Explain()
	r.AsideUntil, r.AsideWhy = new(a.Until.UTC()), why
	r.asideFor = a.Until.Sub(now)
}

// endpointSheet is what check-endpoints prints. Columns about which nothing is known are left out.
func endpointSheet(records []endpointRecord) output.Sheet {
	s := output.Sheet{Columns: []string{"ENDPOINT", "STATE", "TLS", "TIME", "MEMBER", "ROLE", "VERSION", "TERM", "INDEX", "LAG", "DB"}}
	clocks := slices.ContainsFunc(records, func(r endpointRecord) bool { return r.ClockLeast != nil })
	asides := slices.ContainsFunc(records, func(r endpointRecord) bool { return r.AsideUntil != nil })
	if clocks {
		s.Columns = append(s.Columns, "CLOCK")
	}
	if asides {
		s.Columns = append(s.Columns, "ASIDE")
	}
	s.Columns = append(s.Columns, "PROBLEM")
	for _, r := range records {
		state, secure := "ok", "no"
		if !r.Healthy {
			state = "BAD"
		}
		if r.TLS {
			secure = "yes"
		}
		cells := []string{r.Endpoint, state, secure, fmt.Sprintf("%dms", r.TookMS), r.Member, r.Role, r.Version, "", "", "", ""}
		if r.Member != "" {
			cells[7], cells[8], cells[9], cells[10] = fmt.Sprint(r.Term), fmt.Sprint(r.Index), fmt.Sprint(r.Lag), sizeText(r.Size)
		}
		if clocks {
			cells = append(cells, r.clockText())
		}
		if asides && r.AsideUntil != nil {
			cells = append(cells, fmt.Sprintf("%v: %s", r.asideFor.Round(time.Second), r.AsideWhy))
		} else if asides {
			cells = append(cells, "")
		}
		s.Cells = append(s.Cells, append(cells, r.Problem))
		s.Records, s.Values = append(s.Records, r), append(s.Values, r.Endpoint)
	}
	return s
}

// The exit codes of a Nagios plugin.
const (
	nagiosWarning  = 1
	nagiosCritical = 2
	nagiosUnknown  = 3
)

// nagiosEndpoints prints one line, and returns how the command ends.
func nagiosEndpoints(w io.Writer, records []endpointRecord) error {
	var bad []string
	leader := false
	var lag uint64
	for _, r := range records {
		leader = leader || r.Role != "" && r.Role != noLeader
		lag = max(lag, r.Lag)
		if !r.Healthy {
			bad = append(bad, r.Endpoint+" "+r.Problem)
		}
	}
	word, code := "OK", exitOK
	switch {
	case 2*len(bad) >= len(records) && len(bad) > 0, !leader, errors.Is(endpointsVerdict(records), errOtherClusters):
		word, code = "CRITICAL", nagiosCritical
	case len(bad) > 0:
		word, code = "WARNING", nagiosWarning
	}
	text := fmt.Sprintf("%d of %d endpoints are well", len(records)-len(bad), len(records))
	if len(bad) > 0 {
		text += ": " + strings.Join(bad, "; ")
	}
	// A bar begins the numbers in a plugin's line.
	text = strings.ReplaceAll(output.Escape(text, true), "|", "/")
	if _, err := fmt.Fprintf(w, "ETCDX %s - %s | bad=%d lag=%d\n", word, text, len(bad), lag); err != nil {
		return &output.WriteError{Err: err}
	}
	if code == exitOK {
		return nil
	}
	return codeError{code: code}
}

// sizeText writes a number of bytes for people.
func sizeText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}

// errOtherClusters says that the endpoints do not belong together.
var errOtherClusters = errors.New("the endpoints belong to different clusters: etcdx needs those of one")

// endpointsVerdict is the command's error, if an endpoint is not well.
func endpointsVerdict(records []endpointRecord) error {
	var bad []string
	for _, r := range records {
		if !r.Healthy {
			bad = append(bad, r.Endpoint)
		}
	}
	switch {
	case slices.ContainsFunc(records, func(r endpointRecord) bool { return r.Hint == errOtherClusters.Error() }):
		return errOtherClusters
	case len(bad) > 0:
		return fmt.Errorf("%w: %d of %d: %s", errEndpointsBad, len(bad), len(records), strings.Join(bad, ", "))
	}
	return nil
}

// errEndpointsBad says that some endpoints are not well.
var errEndpointsBad = errors.New("endpoints that are not well")
