package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The limits of this repository. A file or a function that outgrows them is to be divided, not excused.
const (
	maxFileLines = 400
	maxTestLines = 500 // tables are long, and easy to read
	maxFuncLines = 60
)

func TestSizes(t *testing.T) {
	eachSource(t, func(s source) {
		limit := maxFileLines
		if s.isTest() {
			limit = maxTestLines
		}
		if lines := s.fset.Position(s.file.FileEnd).Line; lines > limit {
			t.Errorf("%s has %d lines, more than %d", s.name, lines, limit)
		}
		if s.isTest() {
			return
		}
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.line(fn.End()) - s.line(fn.Pos()) + 1; n > maxFuncLines {
				t.Errorf("%s:%d: %s has %d lines, more than %d", s.name, s.line(fn.Pos()), fn.Name.Name, n, maxFuncLines)
			}
		}
	})
}

// TestNoHiddenStarts keeps package initialisation empty of work: it costs every start of every command,
// and what it sets up cannot be set up differently by a test.
func TestNoHiddenStarts(t *testing.T) {
	eachSource(t, func(s source) {
		for _, decl := range s.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s:%d: init()", s.name, s.line(fn.Pos()))
			}
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR || s.isTest() {
				continue
			}
			for _, spec := range gen.Specs {
				v := spec.(*ast.ValueSpec)
				embeds := gen.Doc != nil && strings.Contains(gen.Doc.List[len(gen.Doc.List)-1].Text, "//go:embed")
				if len(v.Values) == 0 && !embeds && s.name != "cmd/version.go" {
					t.Errorf("%s:%d: the package variable %s is state that any function could change", s.name, s.line(v.Pos()), v.Names[0].Name)
				}
			}
		}
	})
}

// TestOnlyMainExits keeps the decision to end the process where the process begins: whoever else ended it
// would skip clean-up that others have deferred.
func TestOnlyMainExits(t *testing.T) {
	eachSource(t, func(s source) {
		if s.file.Name.Name == "main" && !s.isTest() {
			return
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch name := calledFunc(call); name {
			case "os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln":
				if !s.isTest() || !insideTestMain(s.file, call.Pos()) {
					t.Errorf("%s:%d: %s outside package main", s.name, s.line(call.Pos()), name)
				}
			case "time.Sleep":
				if s.isTest() && !s.usesSynctest() && !insideLoop(s.file, call.Pos()) && !s.explained(call.Pos()) {
					t.Errorf("%s:%d: a test that sleeps: wait for a condition, use testing/synctest, or say in a comment on this line what has to last so long",
						s.name, s.line(call.Pos()))
				}
			}
			return true
		})
	})
}

// TestNoMachinePaths finds what only works, or only makes sense, on the machine it was written on.
func TestNoMachinePaths(t *testing.T) {
	var foreign []*regexp.Regexp
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	foreign = append(foreign, regexp.MustCompile(regexp.QuoteMeta(filepath.ToSlash(here)+"/")))
	if home, err := os.UserHomeDir(); err == nil && strings.Count(home, "/") >= 1 && len(home) > 1 {
		foreign = append(foreign, regexp.MustCompile(`(?:^|[^\w./])`+regexp.QuoteMeta(filepath.ToSlash(home)+"/")))
	}
	walk(t, func(name string) {
		switch path.Ext(name) {
		case ".go", ".md", ".txtar", ".sh", ".yml", ".yaml", ".json", ".mod", "":
		default:
			return
		}
		if name == "rules_test.go" {
			return
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		patterns := foreign
		if !strings.HasSuffix(name, "_test.go") {
			patterns = append(patterns, regexp.MustCompile(`/(?:home|Users)/[a-z0-9_-]+/`))
		}
		for _, re := range patterns {
			if m := re.Find(data); m != nil {
				t.Errorf("%s names a path of one machine: %s", name, m)
			}
		}
	})
}

// source is a parsed Go file of the module.
type source struct {
	name string
	fset *token.FileSet
	file *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s source) line(p token.Pos) int { return s.fset.Position(p).Line }

func (s source) usesSynctest() bool {
	for _, imp := range s.file.Imports {
		if imp.Path.Value == `"testing/synctest"` {
			return true
		}
	}
	return false
}

// explained says whether a comment stands on the line of p or on the one before.
func (s source) explained(p token.Pos) bool {
	for _, c := range s.file.Comments {
		if end := s.line(c.End()); end == s.line(p) || end == s.line(p)-1 {
			return true
		}
	}
	return false
}

// calledFunc returns "pkg.Name" for a call of that form.
func calledFunc(call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + sel.Sel.Name
}

// insideTestMain says whether p is in a TestMain, which is the main function of a test binary.
func insideTestMain(f *ast.File, p token.Pos) bool {
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "TestMain" && fn.Pos() <= p && p < fn.End() {
			return true
		}
	}
	return false
}

// insideLoop says whether p is in a loop, where a sleep is the pause between two looks at a condition.
func insideLoop(f *ast.File, p token.Pos) bool {
	inside := false
	ast.Inspect(f, func(n ast.Node) bool {
		if loop, ok := n.(*ast.ForStmt); ok && loop.Pos() <= p && p < loop.End() {
			inside = true
		}
		return !inside
	})
	return inside
}

// eachSource calls see with every Go file of the module, tests included.
func eachSource(t *testing.T, see func(source)) {
	t.Helper()
	walk(t, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		see(source{name: name, fset: fset, file: f})
	})
}

// walk calls see with the slash-separated name of every file of the module that is not built or hidden.
// .ci and .github are looked into: they are part of the project.
func walk(t *testing.T, see func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && p != "." && d.Name() != ".ci" && d.Name() != ".github"
		if d.IsDir() {
			if hidden || d.Name() == "dist" || d.Name() == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() && info.Size() < 1<<20 {
			see(filepath.ToSlash(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
