package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// dressHelp keeps the global flags out of each command's help, as etcdctl does, and ends it with the exit codes.
func dressHelp(g *globals, root *cobra.Command) {
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	root.Flags().BoolP("help", "h", false, "help for "+root.Name())
	root.Flags().Lookup("help").Hidden = true
	_ = root.RegisterFlagCompletionFunc("write-out", formatCompletion)
	_ = root.RegisterFlagCompletionFunc("output", formatCompletion)
	print := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		print(cmd, args)
		out := cmd.OutOrStdout()
		if text := exitCodesText(cmd); text != "" && !g.asEtcdctl {
			fmt.Fprintf(out, "\n%s", text)
		}
		fmt.Fprintf(out, "Use \"%s options\" for a list of global command-line options (applies to all commands).\n", root.Name())
	})
}

func formatCompletion(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"fields", "json", "protobuf", "simple", "table", "jsonl", "yaml", "value"}, cobra.ShellCompDirectiveNoFileComp
}

// codesOf returns the exit codes of a command, in order. Whoever connects can fail to; the others are the command's own.
func codesOf(words []string) []int {
	if len(words) == 0 {
		return nil
	}
	codes := []int{exitOK, exitFailed, exitUsage}
	local := slices.Contains([]string{"version", "completion", "options", "help", "context", "checkpoint", "lab", "demo"}, words[0])
	if !local {
		codes = append(codes, exitUnavailable, exitDenied, exitImpossible)
	}
	codes = append(codes, ownCodes()[words[0]]...)
	slices.Sort(codes)
	return slices.Compact(codes)
}

// ownCodes lists what commands end with besides the codes that all have.
func ownCodes() map[string][]int {
	return map[string][]int{
		"get":             {exitBadData, exitNotFound, exitCompacted},
		"put":             {exitBadData, exitNotFound, exitUnknown, exitLost},
		"del":             {exitNotFound, exitUnknown, exitLost},
		"txn":             {exitUnknown, exitLost},
		"watch":           {exitBadData, exitCantSave, exitBusy, exitCompacted, exitOther, exitHandler, exitSignal},
		"resume":          {exitBadData, exitNotFound, exitCantSave, exitBusy, exitCompacted, exitOther, exitHandler, exitSignal},
		"compact-check":   {exitBadData, exitNotFound, exitBusy, exitCompacted, exitOther},
		"verify":          {exitBadData, exitNotFound, exitCantSave, exitBusy, exitOther, exitHandler},
		"checkpoint":      {exitBadData, exitNotFound, exitCantSave, exitBusy},
		"lock":            {exitNotFound, exitBusy, exitLost, exitCannotRun, exitNoCommand, exitSignal},
		"unlock":          {exitNotFound, exitUnknown},
		"elect":           {exitBusy, exitLost, exitCannotRun, exitNoCommand, exitSignal},
		"check-endpoints": {exitOther},
		"context":         {exitNotFound, exitDenied, exitUnavailable, exitImpossible},
		"lease":           {exitNotFound, exitUnknown},
		"user":            {exitNotFound, exitUnknown},
		"role":            {exitNotFound, exitUnknown},
		"member":          {exitNotFound, exitUnknown},
		"auth":            {exitUnknown},
		"alarm":           {exitUnknown},
		"move-leader":     {exitUnknown},
		"downgrade":       {exitUnknown},
		"compaction":      {exitBadData, exitUnknown, exitCompacted},
	}
}

// exitCodesText lists a command's exit codes for its help; empty for the root, and for a command that has subcommands only.
func exitCodesText(cmd *cobra.Command) string {
	if !cmd.Runnable() {
		return ""
	}
	codes := codesOf(commandWords(cmd))
	if len(codes) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, code := range codes {
		fmt.Fprintf(&b, "  %3d  %s\n", code, strings.TrimPrefix(meanings()[code], "128+n: "))
	}
	return strings.Replace(b.String(), "  128  ", "  128+n ", 1)
}

// appendExitCodes puts the exit codes into the long help of every command below c, for documents made from it.
func appendExitCodes(c *cobra.Command) {
	for _, sub := range c.Commands() {
		appendExitCodes(sub)
	}
	text := exitCodesText(c)
	if text == "" {
		return
	}
	if c.Long == "" {
		c.Long = c.Short
	}
	c.Long += "\n\n" + strings.TrimSuffix(text, "\n")
}
