package checkpoint

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// BenchmarkIndexOfNewKeys is what an index costs a replay in which every key is a new one: an operation is one key.
func BenchmarkIndexOfNewKeys(b *testing.B) {
	const (
		item  = 9000   // events of 64 bytes that are handled at a time
		total = 500000 // keys after which a new index is begun
	)
	for _, order := range []string{"in order", "at random"} {
		b.Run(order, func(b *testing.B) {
			b.ReportAllocs()
			r := rand.New(rand.NewPCG(1, 2))
			var x *Index
			rev := int64(0)
			for n := 0; n < b.N; n += item {
				if n%(total/item*item) == 0 {
					b.StopTimer()
					if x != nil {
						_ = x.Close()
					}
					var err error
					if x, err = OpenIndex(filepath.Join(b.TempDir(), "keys")); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				changes := make([]Change, item)
				for i := range changes {
					rev++
					key := fmt.Sprintf("b/%07d", n+i)
					if order == "at random" {
						key = fmt.Sprintf("b/%016x", r.Uint64())
					}
					changes[i] = Change{Key: []byte(key), Rev: rev, Created: true}
				}
				if err := x.Announce(changes); err != nil {
					b.Fatal(err)
				}
				for _, c := range changes {
					x.Set(c.Key, Known{Create: c.Rev, Mod: c.Rev, Version: 1})
				}
				save := x.Log
				if x.Full() {
					save = x.Flush
				} else if n/item%4 == 3 {
					save = x.Sync
				}
				if err := save(rev); err != nil {
					b.Fatal(err)
				}
			}
			_ = x.Close()
		})
	}
}
