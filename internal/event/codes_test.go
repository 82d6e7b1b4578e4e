package event

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources parses the Go files below a folder of the repository, tests aside.
func sources(t *testing.T, folder string) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(filepath.Join("../..", folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in %s: %v", len(files), folder, err)
	}
	return files
}

// constants are the string constants whose name begins with a prefix, or whose
// type has the given name, with their values.
func constants(files map[string]*ast.File, prefix, typeName string) map[string]string {
	found := map[string]string{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			typed, _ := spec.Type.(*ast.Ident)
			value, text := textOf(spec.Values[0])
			named := prefix != "" && strings.HasPrefix(spec.Names[0].Name, prefix)
			if text && (named || typed != nil && typed.Name == typeName) {
				found[spec.Names[0].Name] = value
			}
			return true
		})
	}
	return found
}

// textOf is the value of a string literal.
func textOf(n ast.Node) (value string, ok bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(lit.Value)
	return value, err == nil
}

func TestEachCodeStandsOnceInTheTable(t *testing.T) {
	listed := map[string]int{}
	for _, info := range Codes() {
		listed[info.Code]++
		if !slices.Contains([]Severity{Error, Warn, Notice}, info.Severity) {
			t.Errorf("%s has severity %q", info.Code, info.Severity)
		}
		if !strings.HasSuffix(info.Action, ".") || strings.Contains(info.Action, "\n") {
			t.Errorf("%s: what a person does is no sentence: %q", info.Code, info.Action)
		}
	}
	declared := constants(sources(t, "internal/event"), "Code", "")
	for name, code := range declared {
		if listed[code] != 1 {
			t.Errorf("%s stands %d times in the table", name, listed[code])
		}
	}
	if len(declared) != len(Codes()) {
		t.Errorf("%d constants and %d rows", len(declared), len(Codes()))
	}
	for _, code := range EgressCodes() {
		if listed[code] != 1 {
			t.Errorf("%s can be allowed and is not in the table", code)
		}
	}
}

// TestEachCodeIsEmitted: package bundle cannot import this one, so its codes are
// compared by their values.
func TestEachCodeIsEmitted(t *testing.T) {
	used := map[string]bool{}
	for path, file := range sources(t, "internal") {
		if strings.Contains(path, "internal/event/") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if p, ok := s.X.(*ast.Ident); ok && p.Name == "event" {
					used[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	ofBundle := map[string]bool{}
	for _, code := range constants(sources(t, "bundle"), "", "Code") {
		ofBundle[code] = true
	}
	for name, code := range constants(sources(t, "internal/event"), "Code", "") {
		if !used[name] && !ofBundle[code] {
			t.Errorf("nothing emits %s", name)
		}
		delete(ofBundle, code)
	}
	for code := range ofBundle {
		t.Errorf("%s of package bundle is not in the table", code)
	}
}

// TestCodesAreConstants: no finding gets its code from a literal, be it a field,
// an assignment or an argument.
func TestCodesAreConstants(t *testing.T) {
	codes := map[string]bool{}
	for _, info := range Codes() {
		codes[info.Code] = strings.ContainsAny(info.Code, "-/") // other codes are words that mean more
	}
	for path, file := range sources(t, "internal") {
		if strings.HasSuffix(path, "internal/event/codes.go") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal := literalCode(n); literal != "" {
				t.Errorf("%s: %q is given as a code; the constants are in internal/event/codes.go", path, literal)
			}
			if text, ok := textOf(n); ok && codes[text] {
				t.Errorf("%s: %q is a code; use its constant", path, text)
			}
			return true
		})
	}
}

// literalCode is a string literal that a field Code is set to.
func literalCode(n ast.Node) string {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
			text, _ := textOf(n.Value)
			return text
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "Code" && len(n.Rhs) == len(n.Lhs) {
				text, _ := textOf(n.Rhs[i])
				return text
			}
		}
	}
	return ""
}

func TestLiteralCodesAreSeen(t *testing.T) {
	for source, want := range map[string]string{
		`event.Finding{Code: "some-word"}`:                       "some-word",
		`func() { f.Severity, f.Code = event.Warn, "a-word" }`:   "a-word",
		`func() { f.Code = event.CodeQuota }`:                    "",
		`[]event.Finding{{Severity: event.Warn, Code: "other"}}`: "other",
	} {
		expr, err := parser.ParseExpr(source)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		ast.Inspect(expr, func(n ast.Node) bool {
			got += literalCode(n)
			return true
		})
		if got != want {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
}
