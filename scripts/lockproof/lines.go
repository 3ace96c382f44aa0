package main

import (
	"context"
	"strings"
	"sync"
	"time"
)

// lines collects a program's output.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// get returns line i, or "".
func (l *lines) get(i int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Split(l.text.String(), "\n")
	if i+1 >= len(all) {
		return ""
	}
	return all[i]
}

// wait returns when there are n lines.
func (l *lines) wait(ctx context.Context, n int) error {
	for l.get(n-1) == "" {
		pause(ctx, 2*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
