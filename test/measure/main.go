// Command measure counts what a reader of the code meets, so that a rebuilding
// can say what it changed:
//
//	go run ./test/measure [DIRECTORY]
//
// It reads the product's source (no tests, no nested modules) and prints the
// number and size of packages, the length of functions in lines, how many
// private functions have a name of one word, where image references are parsed
// or taken for parsed, and which types hold the digest and the size of a blob.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// parsers are the functions that take a reference apart, by any name they had.
var parsers = []string{
	"NormalizeImage", "SplitReference", "RepositoryPath",
	"ParseNormalizedNamed", "ParseAnyReference", "ParseDockerRef", "ParseReference", "NewTag", "NewDigest",
}

// tally is what was counted.
type tally struct {
	lines     map[string]int // by package directory
	functions []int          // lines of each
	private   int
	oneWord   int
	parses    map[string]int // by package directory
	converted map[string]int // strings taken for references without being parsed, by package directory
	blobs     []string       // PACKAGE.TYPE
}

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	t := tally{lines: map[string]int{}, parses: map[string]int{}, converted: map[string]int{}}
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { return t.visit(root, path, d, err) }); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
	t.print()
}

func (t *tally) visit(root, path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	name, _ := filepath.Rel(root, path)
	if d.IsDir() {
		if slices.Contains([]string{".git", "test", "testdata", "bin"}, d.Name()) && path != root {
			return fs.SkipDir
		}
		return nil
	}
	if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
		return nil
	}
	return t.countFile(path, filepath.ToSlash(filepath.Dir(name)))
}

func (t *tally) countFile(path, dir string) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		return err
	}
	t.lines[dir] += set.File(file.Pos()).LineCount()
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			t.countFunction(set, d)
		case *ast.GenDecl:
			t.countTypes(dir, d)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			t.countCall(dir, call)
		}
		return true
	})
	return nil
}

func (t *tally) countCall(dir string, call *ast.CallExpr) {
	f, _ := call.Fun.(*ast.SelectorExpr)
	ours := f != nil && fmt.Sprint(f.X) == "imageref"
	switch {
	case slices.Contains(parsers, calledName(call)), ours && f.Sel.Name == "Parse":
		t.parses[dir]++
	case ours && f.Sel.Name == "Ref":
		t.converted[dir]++
	}
}

func (t *tally) countFunction(set *token.FileSet, f *ast.FuncDecl) {
	t.functions = append(t.functions, set.Position(f.End()).Line-set.Position(f.Pos()).Line+1)
	if name := f.Name.Name; !ast.IsExported(name) && name != "main" {
		t.private++
		if strings.ToLower(name) == name {
			t.oneWord++
		}
	}
}

// countTypes finds the structs that have both a digest and a size.
func (t *tally) countTypes(dir string, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		s, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		if body, ok := s.Type.(*ast.StructType); ok && holdsField(body, "digest") && holdsField(body, "size") {
			t.blobs = append(t.blobs, dir+"."+s.Name.Name)
		}
	}
}

func holdsField(body *ast.StructType, name string) bool {
	return slices.ContainsFunc(body.Fields.List, func(f *ast.Field) bool {
		return slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return strings.EqualFold(n.Name, name) })
	})
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func (t *tally) print() {
	var sizes []int
	for _, n := range t.lines {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	slices.Sort(t.functions)
	slices.Sort(t.blobs)
	fmt.Printf("packages            %d, median %d lines, longest %d\n", len(sizes), at(sizes, 50), at(sizes, 100))
	fmt.Printf("functions           %d, median %d lines, 95th %d, longest %d\n",
		len(t.functions), at(t.functions, 50), at(t.functions, 95), at(t.functions, 100))
	fmt.Printf("private functions   %d, of one word %d (%.0f %%)\n", t.private, t.oneWord, 100*float64(t.oneWord)/float64(max(t.private, 1)))
	printByPackage("reference parses", t.parses)
	printByPackage("conversions to one", t.converted)
	fmt.Printf("types of a blob     %d: %s\n", len(t.blobs), strings.Join(t.blobs, ", "))
}

func printByPackage(what string, count map[string]int) {
	sum := 0
	for _, n := range count {
		sum += n
	}
	fmt.Printf("%-19s %d in %d packages\n", what, sum, len(count))
	for _, dir := range slices.Sorted(maps.Keys(count)) {
		fmt.Printf("                    %4d %s\n", count[dir], dir)
	}
}

// at is the value below which that share of a sorted list lies, in per cent.
func at(sorted []int, percent int) int {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}
