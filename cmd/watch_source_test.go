package cmd

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/checkpoint"
)

// A resync reads the key index while the clock writes it: neither does while the other one is at it.
func TestKeyIndexIsReadUnderTheLockOfItsWriter(t *testing.T) {
	x, err := checkpoint.OpenIndex(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var mu sync.Mutex
	k := keyIndex{&mu, x}
	for name, read := range map[string]func(){
		"Len":       func() { k.Len() },
		"Announced": func() { k.Announced() },
		"Get":       func() { _, _, _ = k.Get([]byte("a")) },
		"Page":      func() { _, _ = k.Page([]byte("a"), 1) },
	} {
		mu.Lock() // as the clock does
		done := make(chan struct{})
		go func() { read(); close(done) }()
		select {
		case <-done:
			t.Errorf("%s reads while the index is written", name)
		case <-time.After(200 * time.Millisecond): // that nothing happens has no event to wait for; without the lock it takes microseconds
		}
		mu.Unlock()
		<-done
	}
}
