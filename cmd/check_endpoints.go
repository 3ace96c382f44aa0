package cmd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
)

const checkEndpointsHelp = `Asks every endpoint by itself how it is, and prints one line for each.

An endpoint is well when it answers, knows its leader, belongs to the same cluster as
the others, has no alarm, lags behind the others by at most --max-lag raft entries, and
has a clock that does not certainly differ from this host's by more than --max-clock.
What is wrong is said in one sentence, with the next step on stderr.

CLOCK is what etcd's answer to GET /version on the same port says of its clock; HTTP
gives whole seconds, so that "within 0.8s" is as good as it gets. The column is left out
where nobody answers that. ASIDE says for how long other commands try an endpoint after
all others, because it failed them.

Ends with 0 when every endpoint is well, with 69 when one is not, and with 81 when the
endpoints belong to different clusters: fit for monitoring. With --nagios: 0 OK,
1 WARNING, 2 CRITICAL (half of the endpoints or more, no leader, or different clusters),
3 UNKNOWN.`

func newCheckEndpoints(g *globals) *cobra.Command {
	var o checkEndpointsOptions
	cmd := &cobra.Command{
		Use:     "check-endpoints",
		Short:   "Shows every endpoint: reachable, leader, lag, size, alarms, and what is wrong with it",
		Long:    checkEndpointsHelp,
		Example: "  etcdx check-endpoints --endpoints a:2379,b:2379,c:2379\n  etcdx check-endpoints --jq 'select(.healthy | not) | .endpoint'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.complete(); err != nil && o.nagios {
				fmt.Fprintf(g.streams.Out, "ETCDX UNKNOWN - %v\n", err)
				return codeError{code: nagiosUnknown}
			} else if err != nil {
				return err
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			return o.run(ctx, g)
		},
	}
	cmd.Flags().Uint64Var(&o.maxLag, "max-lag", 1000, "raft entries that an endpoint may be behind the foremost one")
	cmd.Flags().DurationVar(&o.maxClock, "max-clock", 5*time.Second, "difference between an endpoint's clock and this host's; 0: do not ask for the time")
	cmd.Flags().BoolVar(&o.nagios, "nagios", false, "print one line and exit as a Nagios plugin does")
	return cmd
}

type checkEndpointsOptions struct {
	maxLag   uint64
	maxClock time.Duration
	nagios   bool
}

func (o checkEndpointsOptions) run(ctx context.Context, g *globals) error {
	endpoints := g.settings.Conn.Endpoints
	states := make([]endpointState, len(endpoints))
	var asked sync.WaitGroup
	for i, ep := range endpoints {
		asked.Go(func() { states[i] = o.ask(ctx, g.settings.Conn, ep) })
	}
	asked.Wait()
	records := o.judge(states)
	now := time.Now()
	for _, a := range conn.SetAside(g.settings.Conn, now) {
		for i := range records {
			records[i].setAside(a, now)
		}
	}
	if o.nagios {
		return nagiosEndpoints(g.streams.Out, records)
	}
	if err := g.printSheet(endpointSheet(records)); err != nil {
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
	clock    *conn.ClockDifference // nil: not known
	err      error
}

// clockLimit is how long an endpoint that has answered is waited for once more, to hear its time.
const clockLimit = time.Second

// ask asks one endpoint, and no other, for its status and its time.
func (o checkEndpointsOptions) ask(ctx context.Context, to conn.Options, endpoint string) endpointState {
	s := endpointState{endpoint: endpoint, tls: speaksTLS(to, endpoint)}
	// The verdicts of other commands neither help nor matter: this one asks everybody.
	to.Endpoints, to.Pin, to.StateFile, to.Notice = []string{endpoint}, true, "", nil
	c, err := conn.Open(to)
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
	if s.err == nil && o.maxClock > 0 {
		ctx, cancel := context.WithTimeout(ctx, clockLimit)
		defer cancel()
		if d, err := conn.AskClock(ctx, to, endpoint); err == nil {
			s.clock = &d
		}
	}
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
