package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
)

const checkEndpointsHelp = `Asks every endpoint by itself how it is, and prints one line for each.

An endpoint is well when it answers, knows its leader, belongs to the same cluster as
the others, has no alarm and lags behind the others by at most --max-lag raft entries.
What is wrong is said in one sentence, with the next step on stderr.

Ends with 0 when every endpoint is well, with 69 when one is not, and with 81 when the
endpoints belong to different clusters: fit for monitoring.`

func newCheckEndpoints(g *globals) *cobra.Command {
	var o checkEndpointsOptions
	cmd := &cobra.Command{
		Use:     "check-endpoints",
		Short:   "Shows every endpoint: reachable, leader, lag, size, alarms, and what is wrong with it",
		Long:    checkEndpointsHelp,
		Example: "  etcdx check-endpoints --endpoints a:2379,b:2379,c:2379\n  etcdx check-endpoints -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.complete(); err != nil {
				return err
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			return o.run(ctx, g)
		},
	}
	cmd.Flags().Uint64Var(&o.maxLag, "max-lag", 1000, "raft entries that an endpoint may be behind the foremost one")
	return cmd
}

type checkEndpointsOptions struct{ maxLag uint64 }

func (o checkEndpointsOptions) run(ctx context.Context, g *globals) error {
	endpoints := g.settings.Conn.Endpoints
	states := make([]endpointState, len(endpoints))
	var asked sync.WaitGroup
	for i, ep := range endpoints {
		asked.Go(func() { states[i] = askEndpoint(ctx, g.settings.Conn, ep) })
	}
	asked.Wait()
	records := judgeEndpoints(states, o.maxLag)
	if err := printEndpoints(g, records); err != nil {
		return err
	}
	hints := map[string]bool{}
	for _, r := range records {
		if r.Hint != "" && !hints[r.Hint] {
			fmt.Fprintf(g.streams.Err, "etcdx: hint: %s: %s\n", r.Endpoint, r.Hint)
			hints[r.Hint] = true
		}
	}
	return endpointsVerdict(records)
}

// endpointState is what one endpoint said of itself.
type endpointState struct {
	endpoint string
	tls      bool
	took     time.Duration
	status   *clientv3.StatusResponse
	err      error
}

// askEndpoint asks one endpoint, and no other, for its status.
func askEndpoint(ctx context.Context, o conn.Options, endpoint string) endpointState {
	s := endpointState{endpoint: endpoint, tls: speaksTLS(o, endpoint)}
	// The verdicts of other commands neither help nor matter: this one asks everybody.
	o.Endpoints, o.Pin, o.StateFile, o.Notice = []string{endpoint}, true, "", nil
	c, err := conn.Open(o)
	if err != nil {
		s.err = err
		return s
	}
	defer func() { _ = c.Close() }()
	start := time.Now()
	s.status, s.err = conn.Read(ctx, c, func(ctx context.Context, m conn.Member) (*clientv3.StatusResponse, error) {
		return m.Client.Status(ctx, endpoint)
	})
	s.took = time.Since(start)
	return s
}

// speaksTLS says whether the settings make an endpoint speak TLS: by its scheme, else because TLS is set up.
func speaksTLS(o conn.Options, endpoint string) bool {
	scheme, _, ok := strings.Cut(endpoint, "://")
	if ok {
		return scheme == "https" || scheme == "unixs"
	}
	return o.TLS.CACert != "" || o.TLS.Cert != "" || !o.TLS.Insecure
}

// endpointRecord is one line of check-endpoints. Sizes are in bytes, the time in milliseconds.
type endpointRecord struct {
	Kind     string `json:"kind"`
	Endpoint string `json:"endpoint"`
	Healthy  bool   `json:"healthy"`
	TLS      bool   `json:"tls"`
	TookMS   int64  `json:"took_ms"`
	Cluster  string `json:"cluster_id,omitempty"`
	Member   string `json:"member_id,omitempty"`
	Role     string `json:"role,omitempty"` // leader, follower, learner
	Version  string `json:"version,omitempty"`
	Term     uint64 `json:"raft_term,omitempty"`
	Index    uint64 `json:"raft_index,omitempty"`
	Lag      uint64 `json:"lag"`
	Size     int64  `json:"db_size,omitempty"`
	InUse    int64  `json:"db_size_in_use,omitempty"`
	Problem  string `json:"problem,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

// judgeEndpoints turns what the endpoints said into records, comparing each with the others.
func judgeEndpoints(states []endpointState, maxLag uint64) []endpointRecord {
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
		r := endpointRecord{Kind: "endpoint", Endpoint: s.endpoint, TLS: s.tls, TookMS: s.took.Milliseconds()}
		if s.status == nil {
			r.Problem, r.Hint = problemOf(s.err)
		} else {
			r.describe((*pb.StatusResponse)(s.status), foremost)
			r.Problem, r.Hint = problemIn(r, s.status.Errors, maxLag)
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
		r.Role = "no leader"
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
	case r.Role == "no leader":
		return conn.NoLeader.Explain()
	case len(alarms) > 0:
		return strings.Join(alarms, ", "), ""
	case r.Lag > maxLag:
		return fmt.Sprintf("is %d raft entries behind", r.Lag), "it is slow or was away: look at its disk, processor and network"
	}
	return "", ""
}

func printEndpoints(g *globals, records []endpointRecord) error {
	if g.asJSON() {
		for _, r := range records {
			if err := printJSON(g.streams.Out, r); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(g.streams.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ENDPOINT\tSTATE\tTLS\tTIME\tMEMBER\tROLE\tVERSION\tTERM\tINDEX\tLAG\tDB\tPROBLEM")
	for _, r := range records {
		state, secure := "ok", "no"
		if !r.Healthy {
			state = "BAD"
		}
		if r.TLS {
			secure = "yes"
		}
		if r.Member == "" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%dms\t-\t-\t-\t-\t-\t-\t-\t%s\n", r.Endpoint, state, secure, r.TookMS, r.Problem)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%dms\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", r.Endpoint, state, secure, r.TookMS,
			r.Member, r.Role, r.Version, r.Term, r.Index, r.Lag, sizeText(r.Size), cmp.Or(r.Problem, "-"))
	}
	return w.Flush()
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
