package cmd

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// etcdctlNames are the top-level commands of etcdctl 3.7. Their abbreviations stay theirs, whatever commands etcdx adds:
// "compact" is compaction, beside compact-check.
func etcdctlNames() []string {
	return []string{
		"alarm", "auth", "check", "compaction", "completion", "defrag", "del", "downgrade", "elect", "endpoint", "get", "help",
		"lease", "lock", "make-mirror", "member", "move-leader", "options", "put", "role", "snapshot", "txn", "user", "version", "watch",
	}
}

// expand writes an abbreviated command name out in full.
func expand(root *cobra.Command, args []string) []string {
	i := firstWordIndex(root.PersistentFlags(), args)
	if i < 0 {
		return args
	}
	var own []string
	for _, c := range root.Commands() {
		own = append(own, c.Name())
	}
	full := unabbreviate(args[i], etcdctlNames(), own)
	if full == args[i] {
		return args
	}
	out := slices.Clone(args)
	out[i] = full
	return out
}

// unabbreviate returns the one name that begins with word, looking first among the names that were there first; word itself when
// it is a name, or begins none or several.
func unabbreviate(word string, first, then []string) string {
	if slices.Contains(first, word) || slices.Contains(then, word) {
		return word
	}
	for _, names := range [][]string{first, slices.Concat(first, then)} {
		var found []string
		for _, n := range names {
			if strings.HasPrefix(n, word) && !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
		if len(found) == 1 && word != "" {
			return found[0]
		}
	}
	return word
}

// firstWord returns the first argument that is no global flag, nor a flag's value: the command's name. It is empty when there
// is none.
func firstWord(global *pflag.FlagSet, args []string) string {
	if i := firstWordIndex(global, args); i >= 0 {
		return args[i]
	}
	return ""
}

func firstWordIndex(global *pflag.FlagSet, args []string) int {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return -1
		case !strings.HasPrefix(arg, "-") || arg == "-":
			return i
		case takesNext(global, arg):
			i++
		}
	}
	return -1
}

// takesNext says whether the argument after a flag is its value. A flag that is not a global one belongs to a command that is not
// known yet, as in "--consistency s get k"; it is taken to have a value, as cobra does when it looks for the command.
func takesNext(global *pflag.FlagSet, arg string) bool {
	var f *pflag.Flag
	switch {
	case strings.Contains(arg, "="):
		return false
	case strings.HasPrefix(arg, "--"):
		f = global.Lookup(arg[2:])
	case len(arg) == 2:
		f = global.ShorthandLookup(arg[1:])
	default:
		return false // -wjson has its value
	}
	return f == nil || f.NoOptDefVal == ""
}

// isOwn says whether a word is the name of a command that root has.
func isOwn(root *cobra.Command, word string) bool {
	return word != "" && slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool {
		return c.Name() == word || c.HasAlias(word)
	})
}
