package cmd

import (
	"context"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
)

const (
	// completionLimit is how long a person waits for a Tab: shells do not interrupt a completion that takes longer.
	completionLimit = 300 * time.Millisecond
	// maxCompletions is about as many as a person looks through.
	maxCompletions = 100
	// completionPage is how many keys are read at once.
	completionPage = 200
)

// addCompletions completes keys where a command takes one, and lock names where it takes those.
func addCompletions(g *globals, root *cobra.Command) {
	_ = root.RegisterFlagCompletionFunc("context", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return g.completeContexts(cmd, nil, word)
	})
	for _, c := range root.Commands() {
		if c.ValidArgsFunction != nil {
			continue
		}
		switch c.Name() {
		case "get", "put", "del", "watch":
			c.ValidArgsFunction = g.completeKeys
		case "lock", "elect":
			c.ValidArgsFunction = g.completeLocks
		case "resume", "compact-check":
			c.ValidArgsFunction = g.completeCheckpoints
		case "checkpoint":
			for _, sub := range c.Commands() {
				if sub.Name() != "ls" && sub.ValidArgsFunction == nil {
					sub.ValidArgsFunction = g.completeCheckpoints
				}
			}
		}
	}
}

// completeCheckpoints completes the names of the checkpoints in the state directory.
func (g *globals) completeCheckpoints(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var err error
	if g.settings, err = config.Resolve(cmd.Flags(), g.env); err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	dir, err := g.checkpointDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.checkpoint"))
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".checkpoint"))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeKeys completes a key, segment by segment as shells complete paths.
func (g *globals) completeKeys(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && cmd.Name() == "put" || len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return g.completeFrom(cmd, word, nextSegment), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeLocks completes the name of a lock: its holders and waiters have keys below it.
func (g *globals) completeLocks(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault // the command to run
	}
	return g.completeFrom(cmd, word, func(key, word string) string {
		if name := path.Dir(key); strings.HasPrefix(name, word) {
			return nextSegment(name, word)
		}
		return ""
	}), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// nextSegment returns the part of key up to the first slash after word.
func nextSegment(key, word string) string {
	if i := strings.IndexByte(key[len(word):], '/'); i >= 0 {
		return key[:len(word)+i+1]
	}
	return key
}

// completeFrom reads the keys that begin with word and returns what cut makes of them, each once. It never asks for a password,
// says nothing, and gives up after completionLimit.
func (g *globals) completeFrom(cmd *cobra.Command, word string, cut func(key, word string) string) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionLimit)
	defer cancel()
	c, prefix := g.openForCompletion(ctx, cmd)
	if c == nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	if word == "" {
		word = prefix
	}
	start, end := word, clientv3.GetPrefixRangeEnd(word)
	if start == "" {
		start, end = "\x00", "\x00"
	}
	var found []string
	for len(found) < maxCompletions {
		resp, err := c.Get(ctx, start, clientv3.WithRange(end), clientv3.WithLimit(completionPage), clientv3.WithKeysOnly(), clientv3.WithSerializable())
		if err != nil || len(resp.Kvs) == 0 {
			return found
		}
		for _, kv := range resp.Kvs {
			s := cut(string(kv.Key), word)
			if s == "" || len(found) > 0 && found[len(found)-1] == s || !printable(s) {
				continue
			}
			found = append(found, s)
		}
		start = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		// The rest of a segment that was begun is not read: a directory of a million keys is one completion.
		if len(found) > 0 && strings.HasSuffix(found[len(found)-1], "/") && strings.HasPrefix(start, found[len(found)-1]) {
			start = clientv3.GetPrefixRangeEnd(found[len(found)-1])
		}
		if !resp.More {
			return found
		}
	}
	return found[:maxCompletions]
}

// openForCompletion connects with the settings of a command line that is not complete; nil if that takes more than it says.
func (g *globals) openForCompletion(ctx context.Context, cmd *cobra.Command) (c *conn.Cluster, prefix string) {
	s, err := config.Resolve(cmd.Flags(), g.env)
	if err != nil {
		return nil, ""
	}
	a := g.access()
	a.In, a.Hidden, a.Prompt, a.Err = strings.NewReader(""), nil, nil, nil
	if s.Complete(ctx, a) != nil {
		return nil, ""
	}
	s.Conn.Notice = nil
	if c, err = conn.Open(s.Conn); err != nil {
		return nil, ""
	}
	return c, s.Prefix
}

// printable says whether a completion can be shown and typed.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) })
}
