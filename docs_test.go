package main

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityNamesItsTests keeps docs/security.md from resting on tests that are gone.
func TestSecurityNamesItsTests(t *testing.T) {
	doc, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	walk(t, func(name string) {
		switch {
		case strings.HasSuffix(name, ".txtar"):
			there[path.Base(name)] = true
		case strings.HasSuffix(name, "_test.go"):
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(data), -1) {
				there[m[1]] = true
			}
		}
	})
	named := 0
	for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*|\\w+\\.txtar)`").FindAllStringSubmatch(string(doc), -1) {
		named++
		if !there[m[1]] {
			t.Errorf("docs/security.md names %s, which does not exist", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`((?:scripts|\\.github|\\.goreleaser)[\\w./-]*)`").FindAllStringSubmatch(string(doc), -1) {
		if _, err := fs.Stat(os.DirFS("."), m[1]); err != nil {
			t.Errorf("docs/security.md: %v", err)
		}
	}
	if named < 20 {
		t.Errorf("docs/security.md names only %d tests", named)
	}
}
