package conn_test

import (
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// What followers passed on to a leader that hangs is lost: the grant of a lease is sent again when there can be another leader.
func TestGrantOutlivesALeaderThatHangs(t *testing.T) {
	l := start(t, lab.Config{Members: 3})
	leader, err := l.Leader(within(t, 10*time.Second))
	check(t, err)
	var followers []string
	for i := range 3 {
		if i != leader {
			followers = append(followers, l.Endpoint(i))
		}
	}
	c := open(t, conn.Options{Endpoints: followers, TLS: conn.TLS{Insecure: true}})
	check(t, c.Grant(within(t, 5*time.Second), c.NewLease(), time.Minute)) // there are connections now
	check(t, l.Stop(leader))
	lease := c.NewLease()
	check(t, c.Grant(within(t, 5*time.Second), lease, time.Minute))
	check(t, l.Cont(leader))
	check(t, c.Revoke(within(t, 5*time.Second), lease))
}
