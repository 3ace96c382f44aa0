package cmd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// goldenCase is one command line, on a pipe or on a terminal.
type goldenCase struct {
	args     []string
	stdin    string
	terminal bool
}

func (c goldenCase) String() string {
	where := ""
	if c.terminal {
		where = " (on a terminal)"
	}
	return strings.Join(c.args, " ") + where
}

// format returns the value of -w, the last one.
func (c goldenCase) format() string {
	format := "simple"
	for i, arg := range c.args[:len(c.args)-1] {
		if arg == "-w" {
			format = c.args[i+1]
		}
	}
	return format
}

// goldenCases reads testdata/golden.txt: a command per line, words quoted as in Go where they need it. A line that begins with
// "*" stands for the command in every format, with and without --hex; "+" leaves out the table, which etcdctl refuses only after
// it has written. After "<<", the rest of the line is standard input.
// Each command is run on a pipe, then on a terminal; one that begins with "-" only on a pipe, as it would not work twice.
func goldenCases(t *testing.T) []goldenCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line, formats := strings.CutPrefix(line, "* ")
		line, writes := strings.CutPrefix(line, "+ ")
		line, once := strings.CutPrefix(line, "- ")
		line, input, _ := strings.Cut(line, " << ")
		base := goldenCase{args: goldenWords(t, line)}
		if input != "" {
			if base.stdin, err = strconv.Unquote(input); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		variants := []goldenCase{base}
		if formats || writes {
			variants = nil
			for _, format := range []string{"simple", "fields", "json", "protobuf", "table"} {
				if writes && format == "table" {
					continue
				}
				for _, hex := range []string{"", "--hex"} {
					c := base
					c.args = append(append([]string{}, base.args...), "-w", format)
					if hex != "" {
						c.args = append(c.args, hex)
					}
					variants = append(variants, c)
				}
			}
		}
		for _, c := range variants {
			cases = append(cases, c)
			if c.terminal = true; !once {
				cases = append(cases, c)
			}
		}
	}
	return cases
}

// goldenWords splits a line at spaces, except inside quotes.
func goldenWords(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			out, line = append(out, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		word, _ := strconv.Unquote(quoted)
		out, line = append(out, word), line[len(quoted):]
	}
	return out
}
