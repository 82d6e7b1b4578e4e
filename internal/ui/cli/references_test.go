package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// converting are the packages that take a string for an image reference without
// parsing it: they build one of parts that are valid, or read one from a document
// that is checked. Everybody else has it from imageref.Parse, or is given it.
var converting = []string{
	"internal/api/imageref",
	"internal/api/lock",          // what the check compares is checked there
	"internal/api/site",          // a site's registry and an upstream path
	"internal/cargo/catalog",     // an index that was checked when the head was read
	"internal/client/agent",      // this program's own image
	"internal/command/preflight", // manifests of the lock
	"internal/command/resolve",   // references of what has no registry
	"internal/rules/gpu",         // images that vendors' tables name
}

// TestReferencesAreParsedWhereTheyEnter holds that no other package converts.
func TestReferencesAreParsedWhereTheyEnter(t *testing.T) {
	root := "../../.."
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		name, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil || wingOf(name, testOnly) >= 0 || slices.Contains(converting, name) {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isReference(call.Fun) {
				t.Errorf("%s: imageref.Ref(...): parse it where it enters", set.Position(call.Pos()))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func isReference(called ast.Expr) bool {
	f, ok := called.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Ref" {
		return false
	}
	of, ok := f.X.(*ast.Ident)
	return ok && of.Name == "imageref"
}
