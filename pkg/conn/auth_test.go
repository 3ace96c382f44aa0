package conn_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lab"
)

// Tokens that last a second: calls and streams outlive them.
func TestExpiredTokensRenewThemselves(t *testing.T) {
	for _, jwt := range []bool{false, true} {
		name := map[bool]string{false: "simple", true: "JWT"}[jwt]
		t.Run(name, func(t *testing.T) {
			l := start(t, lab.Config{Members: 1, Auth: lab.Auth{Password: "secret", JWT: jwt, TokenTTL: time.Second}})
			o := plain(l)
			o.Auth = conn.Auth{User: "root", Password: "secret"}
			c := open(t, o)
			f := &follower{next: 1}
			ctx, cancel := context.WithCancel(t.Context())
			var tasks sync.WaitGroup
			defer tasks.Wait()
			defer cancel()
			tasks.Go(func() {
				if err := c.Stream(ctx, f.work); ctx.Err() == nil {
					t.Errorf("the stream ended: %v", err)
				}
			})
			for range 3 {
				_, err := c.Put(within(t, 5*time.Second), "w", "v")
				check(t, err)
				_, err = c.Get(within(t, 5*time.Second), "w")
				check(t, err)
				time.Sleep(1500 * time.Millisecond) // a token lasts a second
			}
			// A reconnection opens the stream anew, with a token that has long expired.
			check(t, l.Reset(0))
			_, err := c.Put(within(t, 5*time.Second), "w", "v")
			check(t, err)
			for ctx := within(t, 5*time.Second); ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
				if _, n, _ := f.now(); n == 4 {
					break
				}
			}
			if _, n, moves := f.now(); n != 4 {
				t.Errorf("%d of 4 events came, %d moves", n, moves)
			}
		})
	}
}
