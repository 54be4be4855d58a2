package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// TestEveryPackageKeepsItsLayer checks this module.
func TestEveryPackageKeepsItsLayer(t *testing.T) {
	problems, err := check(os.DirFS("../.."), house)
	if err != nil {
		t.Fatalf("reading the module: %v", err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// TestTheRulesCatch runs every rule against a small tree that breaks it.
func TestTheRulesCatch(t *testing.T) {
	r := rules{
		allowed: map[string][]string{
			".":          {"*"},
			"core":       {"values"},
			"values":     {},
			"shell":      {"core", "values", "wire/**"},
			"wire/**":    {},
			"proof/**":   {"*"},
			"not/yet":    {},
			"wire/inner": {"values"},
		},
		landing:   []string{"not/yet", "proof/**", "wire/inner", "."},
		pure:      []string{"values", "core"},
		pureFiles: []string{"shell/decide*.go"},
		pureMay:   []string{"fmt", "time"},
		homes:     map[string][]string{"example.org/raft": {"shell"}},
	}
	sound := map[string]string{
		"core/core.go":     `package core; import ("fmt"; "` + module + `/values")`,
		"values/values.go": `package values; import "time"; type T = time.Duration`,
		"shell/shell.go":   `package shell; import ("net"; "example.org/raft/v2"; "` + module + `/core"; "` + module + `/wire/v1"); var now = time.Now()`,
		"wire/v1/pb.go":    `package wire`,
	}
	tests := []struct {
		name, file, source, want string
	}{
		{"a sound tree has no problem", "", "", ""},
		{"upward import", "values/up.go", `package values; import "` + module + `/core"`, "values/up.go: values may not import core"},
		{"package without a row", "stray/stray.go", `package stray`, "package stray has no layer"},
		{"root imported from below", "core/up.go", `package core; import "` + module + `"`, "core/up.go: core may not import ."},
		{"pure package does I/O", "core/io.go", `package core; import "os"`, "core/io.go: pure code may not import os"},
		{"pure package reads the clock", "core/clock.go", `package core; import "time"; var now = time.Now()`, "core/clock.go:1: pure code may not use time.Now"},
		{"renamed clock", "core/clock.go", `package core; import tm "time"; var now = tm.Since`, "core/clock.go:1: pure code may not use time.Since"},
		{"pure package starts a goroutine", "core/go.go", "package core\nfunc f() {\n\tgo f()\n}", "core/go.go:3: pure code may not start a goroutine"},
		{"pure file in a shell does I/O", "shell/decide_join.go", `package shell; import "net"`, "shell/decide_join.go: pure code may not import net"},
		{"pure file imports a shell", "shell/decide.go", `package shell; import "` + module + `/wire/v1"`, "shell/decide.go: pure code may not import wire/v1"},
		{"library away from home", "core/raft.go", `package core; import "example.org/raft"`, "core/raft.go: example.org/raft has its home in shell"},
		{"a longer name is another library", "wire/v1/raft.go", `package wire; import "example.org/rafting"`, ""},
		{"proof may import a library", "proof/bench/raft.go", `package bench; import ("example.org/raft"; "` + module + `/core")`, ""},
		{"root may import all of the module", "root.go", `package holdfast; import "` + module + `/shell"`, ""},
		{"root may not import a library with a home", "root.go", `package holdfast; import "example.org/raft"`, "root.go: example.org/raft has its home in shell"},
		{"exact row wins over a tree's row", "wire/inner/x.go", `package inner; import "` + module + `/core"`, "wire/inner/x.go: wire/inner may not import core"},
		{"tests are free", "core/core_test.go", `package core; import ("os"; "` + module + `/shell")`, ""},
		{"testdata is not code", "core/testdata/x.go", `package x; import "os"`, ""},
		{"hidden folders are not code", ".bin/x.go", `package x`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for name, src := range sound {
				tree[name] = &fstest.MapFile{Data: []byte(src)}
			}
			if tt.file != "" {
				tree[tt.file] = &fstest.MapFile{Data: []byte(tt.source)}
			}
			problems, err := check(tree, r)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(problems, "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got problems %q, want one with %q", got, tt.want)
			}
		})
	}

	t.Run("row without a package", func(t *testing.T) {
		problems, err := check(fstest.MapFS{}, rules{allowed: map[string][]string{"gone": {}, "tree/**": {}}})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{`the row "gone" has no package: remove it`, `the row "tree/**" has no package: remove it`}
		if !slices.Equal(problems, want) {
			t.Errorf("got %q, want %q", problems, want)
		}
	})
}

// check returns what in tree is against the rules, in the order of the tree.
func check(tree fs.FS, r rules) ([]string, error) {
	var problems []string
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	used := map[string]bool{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if base := d.Name(); base == "testdata" || len(base) > 1 && strings.HasPrefix(base, ".") {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			if strings.HasSuffix(name, "_test.go") {
				// A package of tests only still needs its row.
				if row, ok := r.row(path.Dir(name)); ok {
					used[row] = true
				}
			}
			return nil
		}
		row, ok := r.row(path.Dir(name))
		if !ok {
			report("package %s has no layer: add a row to the table in internal/archtest", path.Dir(name))
			return nil
		}
		used[row] = true
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return r.checkFile(name, row, src, report)
	})
	if err != nil {
		return nil, err
	}
	var stale []string
	for row := range r.allowed {
		if !used[row] && !slices.Contains(r.landing, row) {
			stale = append(stale, fmt.Sprintf("the row %q has no package: remove it", row))
		}
	}
	slices.Sort(stale)
	return append(problems, stale...), nil
}

func (r rules) checkFile(name, row string, src []byte, report func(string, ...any)) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	pkg, may, pure := path.Dir(name), r.allowed[row], r.isPure(name)
	everything := strings.HasSuffix(row, "/**") && slices.Contains(may, "*")
	timeName := ""
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if imp == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
		}
		rest, inside := strings.CutPrefix(imp+"/", module+"/")
		if inside {
			dep := path.Clean(rest)
			if !matches(may, dep) {
				report("%s: %s may not import %s", name, pkg, dep)
			} else if pure && !slices.Contains(r.pure, dep) {
				report("%s: pure code may not import %s", name, dep)
			}
			continue
		}
		if pure && !slices.Contains(r.pureMay, imp) {
			report("%s: pure code may not import %s", name, imp)
		}
		for lib, homes := range r.homes {
			if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !everything && !matches(homes, pkg) {
				report("%s: %s has its home in %s", name, lib, strings.Join(homes, ", "))
			}
		}
	}
	if pure {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				report("%s:%d: pure code may not start a goroutine", name, fset.Position(n.Pos()).Line)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && slices.Contains(clock, n.Sel.Name) {
					report("%s:%d: pure code may not use time.%s: take it as an argument", name, fset.Position(n.Pos()).Line, n.Sel.Name)
				}
			}
			return true
		})
	}
	return nil
}

// row returns the row that governs pkg: its own, or the nearest tree's.
func (r rules) row(pkg string) (string, bool) {
	if _, ok := r.allowed[pkg]; ok {
		return pkg, true
	}
	for dir := pkg; dir != "."; dir = path.Dir(dir) {
		if _, ok := r.allowed[dir+"/**"]; ok {
			return dir + "/**", true
		}
	}
	return "", false
}

func (r rules) isPure(name string) bool {
	if slices.Contains(r.pure, path.Dir(name)) {
		return true
	}
	return slices.ContainsFunc(r.pureFiles, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return err == nil && ok
	})
}

func matches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		tree, isTree := strings.CutSuffix(p, "/**")
		return p == "*" || p == pkg || isTree && (pkg == tree || strings.HasPrefix(pkg, tree+"/"))
	})
}
