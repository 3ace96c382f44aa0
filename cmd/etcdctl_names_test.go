package cmd

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// fullRoot returns the root as a command line gets it that names none of etcdx's own commands.
func fullRoot() *cobra.Command { return NewRootForDocs() }

func TestEtcdctlNamesAreThoseOfEtcdctl(t *testing.T) {
	var want []string
	for _, c := range etcdctlCommands(&cobra.Command{}) {
		want = append(want, c.Name())
	}
	want = append(want, "help") // cobra's own
	slices.Sort(want)
	if got := etcdctlNames(); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	root := fullRoot()
	root.InitDefaultHelpCmd()
	for _, name := range want {
		if c, _, err := root.Find([]string{name}); err != nil || c.Name() != name {
			t.Errorf("%s is missing: %v", name, err)
		}
	}
}

// Every abbreviation that etcdctl understands must name the same command here, whatever commands etcdx has besides.
func TestEveryAbbreviationOfEtcdctlKeepsItsMeaning(t *testing.T) {
	root := fullRoot()
	tried := 0
	for _, name := range etcdctlNames() {
		for n := 1; n <= len(name); n++ {
			short := name[:n]
			var meant []string
			for _, other := range etcdctlNames() {
				if strings.HasPrefix(other, short) {
					meant = append(meant, other)
				}
			}
			if len(meant) > 1 && !slices.Contains(meant, short) {
				continue // ambiguous in etcdctl, too
			}
			tried++
			if got := firstWord(root.PersistentFlags(), expand(root, []string{"-w", "json", short, "x"})); got != name {
				t.Errorf("%s means %s, want %s", short, got, name)
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d abbreviations were tried", tried)
	}
}

func TestNewCommandsYieldToOldAbbreviations(t *testing.T) {
	old, added := []string{"check", "compaction", "completion", "watch", "lock"}, []string{"compact-check", "resume", "warp"}
	for _, c := range []struct{ word, want string }{
		{"compact", "compaction"},
		{"compa", "compaction"},
		{"compact-", "compact-check"},
		{"comp", "comp"},
		{"w", "watch"},
		{"war", "warp"},
		{"r", "resume"},
		{"l", "lock"},
		{"x", "x"},
		{"", ""},
		{"watch", "watch"},
	} {
		if got := unabbreviate(c.word, old, added); got != c.want {
			t.Errorf("%q: %q, want %q", c.word, got, c.want)
		}
	}
}

func TestFirstWord(t *testing.T) {
	global := newRoot(&globals{}).PersistentFlags()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "k"}, "get"},
		{[]string{"--endpoints", "a:1", "get"}, "get"},
		{[]string{"--endpoints=a:1", "get"}, "get"},
		{[]string{"--hex", "get"}, "get"},
		{[]string{"-w", "json", "get"}, "get"},
		{[]string{"-wjson", "get"}, "get"},
		{[]string{"-w=json", "get"}, "get"},
		{[]string{"-d", "example", "-o", "yaml", "put"}, "put"},
		{[]string{"--consistency", "s", "get"}, "get"},
		{[]string{"--consistency=s", "get"}, "get"},
		{[]string{"-x", "s", "get"}, "get"},
		{[]string{"--", "get"}, ""},
		{[]string{"--endpoints"}, ""},
		{nil, ""},
	} {
		if got := firstWord(global, c.args); got != c.want {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}
