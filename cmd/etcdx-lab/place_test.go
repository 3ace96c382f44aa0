package main

import (
	"os"
	"testing"
)

// Whatever a lab's file holds, it is a record or an error, and a record that was read can be saved.
func FuzzPlace(f *testing.F) {
	f.Add([]byte(`{"name":"default","pid":7,"url":"http://127.0.0.1:1","token":"x","env":[{"name":"ETCDCTL_ENDPOINTS","value":"a:1"}]}`))
	f.Add([]byte(`{"pid":-1,"env":null}`))
	f.Add([]byte(`[]`))
	p := place{name: "f", dir: f.TempDir()}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(p.file(".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := p.load()
		if err != nil {
			return
		}
		if err := p.save(r); err != nil {
			t.Fatal(err)
		}
		if again, err := p.load(); err != nil || again.Pid != r.Pid || again.URL != r.URL || len(again.Env) != len(r.Env) {
			t.Errorf("%+v became %+v: %v", r, again, err)
		}
	})
}
