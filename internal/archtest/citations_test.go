package archtest

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestEveryCitedTestExists keeps promises and proofs together: a test that a
// doc.go or a page of docs names must be there.
func TestEveryCitedTestExists(t *testing.T) {
	problems, err := checkCitations(os.DirFS("../.."))
	if err != nil {
		t.Fatalf("reading the module: %v", err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

func TestAMissingProofIsFound(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	problems, err := checkCitations(fstest.MapFS{
		"a/doc.go":             file("// 1. It holds (TestItHolds,\n// TestItHoldsTwice, FuzzIt).\n//\n//\tfunc TestYours(t *testing.T)\npackage a"),
		"a/a_test.go":          file("package a\nfunc TestItHolds(t *testing.T) {}\nfunc FuzzIt(f *testing.F) {}"),
		"a/a.go":               file("package a // TestNotLookedFor is no citation"),
		"docs/invariants.md":   file("| I1 | `TestItHolds`, `TestGone` |"),
		"docs/testdata/old.md": file("TestForgotten"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a/doc.go names TestItHoldsTwice, which does not exist", "docs/invariants.md names TestGone, which does not exist"}
	if !slices.Equal(problems, want) {
		t.Errorf("got %q, want %q", problems, want)
	}
}

// checkCitations returns the tests that are named in documentation and do not exist.
func checkCitations(tree fs.FS) ([]string, error) {
	var (
		cited   = regexp.MustCompile(`(func )?\b((?:Test|Fuzz|Benchmark)[A-Z]\w*)`)
		defined = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
		exists  = map[string]bool{}
		names   = map[string][]string{} // by the file that cites them
	)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (base == "testdata" || len(base) > 1 && strings.HasPrefix(base, ".")):
			return fs.SkipDir
		case d.IsDir():
			return nil
		case strings.HasSuffix(base, "_test.go"):
			text, err := fs.ReadFile(tree, name)
			for _, m := range defined.FindAllSubmatch(text, -1) {
				exists[string(m[1])] = true
			}
			return err
		case base == "doc.go", strings.HasSuffix(base, ".md"):
			text, err := fs.ReadFile(tree, name)
			for _, m := range cited.FindAllSubmatch(text, -1) {
				if len(m[1]) == 0 { // else it is an example to copy
					names[name] = append(names[name], string(m[2]))
				}
			}
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var problems []string
	for file, tests := range names {
		for _, test := range tests {
			if !exists[test] {
				problems = append(problems, fmt.Sprintf("%s names %s, which does not exist", file, test))
			}
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems), nil
}
