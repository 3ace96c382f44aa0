package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/output"
)

// printSheet prints records of etcdx's own in the format that the global flags ask for.
func (g *globals) printSheet(s output.Sheet) error {
	p, err := g.anyPrinter(output.Options{})
	if err != nil {
		return err
	}
	return g.badFormat(p.Sheet(s))
}

// useFilter compiles the expression of --jq, and makes records what it gets to see. It is asked before a command does
// anything, so that a mistake in the expression changes nothing.
func (g *globals) useFilter(cmd *cobra.Command, expression string) error {
	if expression == "" {
		return nil
	}
	words := commandWords(cmd)
	if !printsRecords(words) {
		return usageError{text: "--jq: " + strings.Join(words, " ") + " prints no records", hint: "leave --jq out"}
	}
	switch output.Format(g.settings.Output) {
	case output.Simple, output.JSONL:
		g.settings.Output = string(output.JSONL)
	case output.JSON:
	default:
		return usageError{
			text: fmt.Sprintf("--jq does not go with the format %s", g.settings.Output),
			hint: "leave the format out; -o json gives the expression etcdctl's JSON instead of records",
		}
	}
	var err error
	if g.filter, err = output.NewFilter(expression); err != nil {
		return usageError{text: err.Error(), hint: "the language is jq's; quote the expression, such as --jq '.key'"}
	}
	return nil
}

// printsRecords says whether a command prints records, rather than a sentence or what is no text.
func printsRecords(words []string) bool {
	name := strings.Join(words, " ")
	switch words[0] {
	case "get", "put", "del", "watch", "resume", "verify", "txn", "elect", "move-leader", "check-endpoints", "compact-check",
		"lease", "member", "endpoint", "alarm", "user", "role", "downgrade":
		return true
	case "lock":
		return len(words) == 1 || slices.Contains([]string{"lock ls", "lock who", "lock break"}, name)
	}
	return slices.Contains([]string{"auth status", "checkpoint ls", "checkpoint show", "context ls", "context show", "context check"}, name)
}

// isFilterMisfit says whether a record did not have what the expression of --jq takes for granted.
func isFilterMisfit(err error) bool {
	e, ok := errors.AsType[*output.FilterError](err)
	return ok && e.Parsed
}
