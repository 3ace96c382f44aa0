package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/etcdx/etcdx"

// allowed says which of the module's own packages each package may import outside its tests. An import that is
// missing here is a change of the architecture: docs/architecture.md changes with it, or the import goes.
func allowed() map[string][]string {
	return map[string][]string{
		".":              {"cmd"},
		"cmd":            {"pkg/config", "pkg/conn", "pkg/lock", "pkg/watch", "pkg/checkpoint", "pkg/child", "pkg/output"},
		"cmd/etcdx-lab":  {"cmd", "pkg/lab"},
		"pkg/config":     {"pkg/conn", "pkg/yaml"},
		"pkg/conn":       {},
		"pkg/lock":       {},
		"pkg/watch":      {},
		"pkg/checkpoint": {},
		"pkg/child":      {},
		"pkg/output":     {"pkg/yaml"},
		"pkg/yaml":       {},
		"pkg/lab":        {},
	}
}

// pure lists the files that hold decisions: functions of values and time, so nothing that waits or reads a clock.
func pure() []string {
	return []string{"pkg/conn/roster.go", "pkg/lock/tenure.go", "pkg/lock/queue.go", "pkg/watch/cursor.go", "pkg/watch/resync.go"}
}

func TestLayers(t *testing.T) {
	table := allowed()
	eachFile(t, func(file string, imports []string) {
		dir := path.Dir(file)
		may, ok := table[dir]
		if !ok {
			if !strings.HasPrefix(dir, "scripts/") {
				t.Errorf("%s: package %s is not in the table", file, dir)
			}
			return
		}
		for _, imp := range imports {
			own, isOwn := strings.CutPrefix(imp, module+"/")
			if isOwn && !slices.Contains(may, own) {
				t.Errorf("%s may not import %s", file, own)
			}
			if strings.HasPrefix(imp, "go.etcd.io/etcd/server/") && dir != "pkg/lab" {
				t.Errorf("%s links the etcd server: only pkg/lab may", file)
			}
			if strings.HasPrefix(imp, "gopkg.in/yaml") && dir != "pkg/yaml" {
				t.Errorf("%s imports YAML: only pkg/yaml may", file)
			}
		}
	})
}

func TestPureFilesDoNotWait(t *testing.T) {
	seen := map[string]bool{}
	eachFile(t, func(file string, imports []string) {
		if !slices.Contains(pure(), file) {
			return
		}
		seen[file] = true
		for _, imp := range imports {
			if slices.Contains([]string{"context", "os", "io", "net", "sync"}, imp) {
				t.Errorf("%s imports %q, but holds decisions only", file, imp)
			}
		}
	})
	for _, file := range pure() {
		if !seen[file] {
			t.Errorf("%s does not exist", file)
		}
	}
}

// eachFile calls see with every Go file of the module that is not a test, and its imports.
func eachFile(t *testing.T, see func(file string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "dist" || strings.HasPrefix(d.Name(), ".") && p != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, imp)
		}
		see(filepath.ToSlash(p), imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
