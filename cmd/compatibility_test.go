package cmd

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// etcdctlTree calls see with every command of etcdctl that does something, and its words.
func etcdctlTree(see func(c *cobra.Command, words []string)) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Runnable() {
			see(c, commandWords(c))
		}
	}
	for _, c := range etcdctlCommands(&cobra.Command{}) {
		parent := &cobra.Command{Use: "etcdctl"}
		parent.AddCommand(c)
		walk(c)
	}
}

// documentedCommands returns the commands that the table of docs/compatibility.md speaks of. "`a b\|c`" stands for a b and a c.
func documentedCommands(t *testing.T) map[string]string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "\n## Commands\n")
	table, _, _ = strings.Cut(table, "\n## ")
	verdicts := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.+?) \\| (same|better|different) \\|").FindAllStringSubmatch(table, -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			words := strings.Fields(strings.ReplaceAll(m[1], `\|`, "|"))
			last := len(words) - 1
			for alternative := range strings.SplitSeq(words[last], "|") {
				verdicts[strings.Join(append(slices.Clone(words[:last]), alternative), " ")] = row[2]
			}
		}
	}
	return verdicts
}

func TestEveryCommandOfEtcdctlIsDocumented(t *testing.T) {
	verdicts := documentedCommands(t)
	seen := map[string]bool{"help": true} // cobra's own
	etcdctlTree(func(_ *cobra.Command, words []string) {
		name := strings.Join(words, " ")
		seen[name] = true
		if verdicts[name] == "" {
			t.Errorf("docs/compatibility.md says nothing of %s", name)
		}
	})
	if len(seen) < 50 {
		t.Errorf("only %d commands were looked at", len(seen))
	}
	for name := range verdicts {
		if !seen[name] {
			t.Errorf("docs/compatibility.md speaks of %s, which etcdctl does not have", name)
		}
	}
}

// Every flag that etcdctl's commands have is there, with its shorthand, type and default, unless the documentation says how
// it differs.
func TestEveryFlagOfEtcdctlIsThere(t *testing.T) {
	root, flags := fullRoot(), 0
	doc, err := os.ReadFile(filepath.Join("..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, different, _ := strings.Cut(string(doc), "\n### Flags that differ\n")
	different, _, _ = strings.Cut(different, "\n## ")
	etcdctlTree(func(theirs *cobra.Command, words []string) {
		name := strings.Join(words, " ")
		mine, rest, err := root.Find(words)
		if err != nil || len(rest) > 0 {
			t.Errorf("%s is missing: %v", name, err)
			return
		}
		for _, alias := range theirs.Aliases {
			if !mine.HasAlias(alias) {
				t.Errorf("%s: its alias %s is missing", name, alias)
			}
		}
		theirs.LocalFlags().VisitAll(func(want *pflag.Flag) {
			flags++
			got := mine.Flag(want.Name)
			switch {
			case want.Name == "help", strings.Contains(different, "| `"+name+" --"+want.Name+"` |"):
			case got == nil:
				t.Errorf("%s: --%s is missing", name, want.Name)
			case got.Shorthand != want.Shorthand || got.DefValue != want.DefValue || got.Value.Type() != want.Value.Type():
				t.Errorf("%s --%s: -%s %s = %q, want -%s %s = %q", name, want.Name,
					got.Shorthand, got.Value.Type(), got.DefValue, want.Shorthand, want.Value.Type(), want.DefValue)
			}
		})
	})
	if flags < 50 {
		t.Errorf("only %d flags were looked at", flags)
	}
}

// Every command either prints records, in every format and for --jq, or is known not to.
func TestWhoPrintsRecordsIsKnown(t *testing.T) {
	silent := []string{
		"auth disable", "auth enable", "check datascale", "check perf", "checkpoint rm", "checkpoint set", "compaction", "completion",
		"context import-env", "context rm", "context set", "context use", "defrag", "lock check", "lock request", "lock wait", "make-mirror",
		"options", "snapshot save", "unlock", "version",
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		words := commandWords(c)
		if !c.Runnable() || len(words) == 0 {
			return
		}
		if name := strings.Join(words, " "); printsRecords(words) == slices.Contains(silent, name) {
			t.Errorf("%s: prints records is %v", name, printsRecords(words))
		}
	}
	walk(fullRoot())
}
