//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// A put of unknown outcome is written again if it was not done, and not if only its answer was lost.
func TestTheWriterReadsBeforeItWritesAgain(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{"lost": "", "its answer lost": `etcdx "$@"; `} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			d := &stage{out: io.Discard}
			if err := d.open(ctx, lab.Config{Members: 1}); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.close() }()
			// Its first call ends with outcome unknown; the others are etcdx's.
			d.self = filepath.Join(t.TempDir(), "etcdx")
			script := fmt.Sprintf("#!/bin/sh\ntest -e first || { touch first; %sexit 76; }\nexec etcdx \"$@\"\n", first)
			if err := os.WriteFile(d.self, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			var w writes
			key := d.writeOne(ctx, &w)
			if w.err != nil || w.failed != 0 || w.unknown != 1 || key == "" {
				t.Fatalf("%q: %+v", key, w)
			}
			r, err := d.run(ctx, "get", "-w", "fields", key)
			if err != nil || !strings.Contains(r.out, "\"Version\" : 1\n") {
				t.Errorf("%v: the key was not written once:\n%s%s", err, r.out, r.err)
			}
		})
	}
}
