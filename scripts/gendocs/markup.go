package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// dress makes the help texts of a command tree, which are laid out for a terminal, into Markdown.
func dress(c *cobra.Command, man bool) {
	c.Long = markup(c.Long)
	c.Short = escape(c.Short)
	if man {
		// In a man page the usage line is text; in Markdown it is code.
		c.Use = escape(c.Use)
	}
	for _, sub := range c.Commands() {
		dress(sub, man)
	}
}

// markup turns indented lines and shell lines into code blocks, and keeps angle brackets from being read as HTML elsewhere.
func markup(help string) string {
	var out []string
	code := false
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, " \n")
		switch {
		case line == "":
		case strings.HasPrefix(line, "  "), strings.HasPrefix(line, "\t"), strings.HasPrefix(line, "$ "):
			if !code {
				out = append(out, "")
			}
			code = true
			line = "    " + line
		default:
			if code {
				out = append(out, "")
			}
			code = false
			line = escape(line)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func escape(text string) string { return strings.ReplaceAll(text, "<", `\<`) }
