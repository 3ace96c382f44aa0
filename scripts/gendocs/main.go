// Command gendocs writes one page per command, from the help texts: Markdown for people who browse the repository, and
// man pages for packages.
//
//	gendocs                 writes docs/cli/*.md
//	gendocs -check          fails if docs/cli is not what it would write
//	gendocs -man DIR        writes man pages to DIR instead
//
// The pages hold no date of their making and nothing of the machine, so that the same source gives the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/etcdx/etcdx/cmd"
)

// markdownDir is where the pages for browsing are kept, from the repository's root.
const markdownDir = "docs/cli"

func main() {
	check := flag.Bool("check", false, "fail if "+markdownDir+" is not up to date")
	man := flag.String("man", "", "write man pages to this `directory`")
	flag.Parse()
	if err := run(*check, *man); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func run(check bool, man string) error {
	switch {
	case check:
		return checkMarkdown()
	case man != "":
		return writeMan(man)
	default:
		return writeMarkdown(markdownDir)
	}
}

// writeMarkdown replaces the pages in dir.
func writeMarkdown(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := cmd.NewRootForDocs()
	root.DisableAutoGenTag = true
	dress(root, false)
	return doc.GenMarkdownTree(root, dir)
}

// writeMan writes the man pages of section 1. Their date is that of the Unix epoch unless SOURCE_DATE_EPOCH says another.
func writeMan(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	date := time.Unix(0, 0).UTC()
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		var sec int64
		if _, err := fmt.Sscan(s, &sec); err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH %q: %w", s, err)
		}
		date = time.Unix(sec, 0).UTC()
	}
	root := cmd.NewRootForDocs()
	root.DisableAutoGenTag = true
	dress(root, true)
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Date: &date, Source: "etcdx", Manual: "etcdx"}, dir)
}

// checkMarkdown compares the pages that are kept with those that would be written.
func checkMarkdown() error {
	fresh, err := os.MkdirTemp("", "gendocs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := writeMarkdown(fresh); err != nil {
		return err
	}
	want, err := readPages(fresh)
	if err != nil {
		return err
	}
	have, err := readPages(markdownDir)
	if err != nil {
		return err
	}
	var stale []string
	for name, text := range want {
		if have[name] != text {
			stale = append(stale, name)
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			stale = append(stale, name)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	slices.Sort(stale)
	return errors.New("run `make docs`, these pages are not what the commands say:\n  " + strings.Join(stale, "\n  "))
}

// readPages returns the text of every Markdown page in dir by its name.
func readPages(dir string) (map[string]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return nil, err
	}
	pages := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		pages[filepath.Base(name)] = string(text)
	}
	return pages, nil
}
