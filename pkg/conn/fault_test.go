package conn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// Every fault of one member, begun right before the calls, and on each member in turn. Each command of a script is a process
// of its own, so every call here gets a cluster of its own, and knows nothing about the fault.
func TestReadsAndWritesGoOnWithOneMemberSick(t *testing.T) {
	l := start(t, lab.Config{})
	faults := map[string]func(int) error{
		"stopped":              l.Stop,
		"no leader":            func(i int) error { return l.Cut(i, lab.Peers) },
		"cut off from clients": func(i int) error { return l.Cut(i, lab.Clients) },
	}
	for name, fault := range faults {
		for i := range l.Len() {
			t.Run(fmt.Sprintf("%s m%d", name, i+1), func(t *testing.T) {
				check(t, fault(i))
				defer func() {
					_ = l.Cont(i)
					check(t, l.Heal())
					check(t, l.Ready(within(t, 10*time.Second)))
				}()
				for k := range 8 {
					c, err := conn.Open(plain(l))
					check(t, err)
					ctx := within(t, 5*time.Second)
					begun := time.Now()
					value := fmt.Sprint(name, i, k)
					_, err = c.Put(ctx, "k", value)
					put := time.Since(begun)
					check(t, err)
					begun = time.Now()
					resp, err := c.Get(ctx, "k")
					check(t, err)
					if got := string(resp.Kvs[0].Value); got != value {
						t.Errorf("got %q after putting %q", got, value)
					}
					t.Logf("put %v, get %v", put, time.Since(begun))
					_ = c.Close()
				}
			})
		}
	}
}
