package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caisson/caisson/"

// wings are the folders of the house from the bottom up: a package imports its
// own wing and those above it in this list, never one below. ARCHITECTURE.md
// says what each is for.
var wings = []string{
	"bundle", "charts", "manifests", "internal/event", "internal/bytesize", "internal/listing", "internal/atomicfile",
	"internal/api", "internal/rules", "internal/client", "internal/cargo",
	"internal/command", "internal/ui", "cmd",
}

// alone are wings whose packages do not import each other.
var alone = []string{
	"bundle", "charts", "manifests", "internal/event", "internal/bytesize", "internal/listing", "internal/atomicfile", "internal/command",
}

// testOnly holds what only tests and benchmarks use; the product never imports it.
var testOnly = []string{"internal/testkit", "test"}

// doors says which packages may import a foreign module directly.
var doors = map[string][]string{
	"oras.land/oras-go":                      {"internal/client/registry"},
	"github.com/google/go-containerregistry": {"internal/client/registry"},
	"helm.sh/helm":                           {"internal/client/helm"},
	"k8s.io/client-go":                       {"internal/client/kube", "internal/client/helm"},
	"github.com/sigstore/":                   {"internal/client/sign"},
	"sigs.k8s.io/kustomize/":                 {"internal/client/kustomize"},
	"github.com/distribution/distribution":   {},
}

// outside is what a decision without I/O cannot need.
var outside = []string{"net", "net/http", "os/exec"}

// listed is a package as go list tells it.
type listed struct {
	ImportPath string
	Imports    []string
}

func (p listed) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// ours are the packages of this module that p imports, by name.
func (p listed) ours() (names []string) {
	for _, i := range p.Imports {
		if name, ok := strings.CutPrefix(i, module); ok {
			names = append(names, name)
		}
	}
	return names
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within says whether a package is the wing or stands in it.
func within(name, wing string) bool { return name == wing || strings.HasPrefix(name, wing+"/") }

func wingOf(name string, of []string) int {
	return slices.IndexFunc(of, func(wing string) bool { return within(name, wing) })
}

// TestImports holds the direction of the wings, without an exception.
func TestImports(t *testing.T) {
	for _, p := range list(t) {
		if wingOf(p.name(), testOnly) >= 0 {
			continue
		}
		own := wingOf(p.name(), wings)
		if own < 0 {
			t.Errorf("%s stands in no wing of ARCHITECTURE.md", p.name())
			continue
		}
		for _, imported := range p.ours() {
			holdDirection(t, p.name(), own, imported)
		}
	}
}

func holdDirection(t *testing.T, name string, own int, imported string) {
	t.Helper()
	switch other := wingOf(imported, wings); {
	case wingOf(imported, testOnly) >= 0:
		t.Errorf("%s imports %s, which is for tests", name, imported)
	case other > own:
		t.Errorf("%s imports %s: %s is below %s", name, imported, wings[own], wings[other])
	case other == own && slices.Contains(alone, wings[own]):
		t.Errorf("%s imports %s: packages of %s do not import each other", name, imported, wings[own])
	case wings[own] == "cmd" && wings[other] != "internal/ui":
		t.Errorf("%s imports %s: it starts the command line and nothing else", name, imported)
	case wings[own] == "bundle":
		t.Errorf("%s imports %s: the public library needs nothing of ours", name, imported)
	}
}

// TestImportsAreOnTheMap: ARCHITECTURE.md names every package below internal, and
// none that is not there.
func TestImportsAreOnTheMap(t *testing.T) {
	text, err := os.ReadFile("../../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(text), "\n## ")
	named := map[string]bool{}
	for _, row := range strings.Split(table, "\n") {
		if folder, packages, ok := mapRow(row); ok {
			for _, name := range packages {
				named[folder+"/"+name] = true
			}
		}
	}
	for _, p := range list(t) {
		if !strings.HasPrefix(p.name(), "internal/") || strings.Count(p.name(), "/") != 2 {
			continue
		}
		if !named[p.name()] {
			t.Errorf("ARCHITECTURE.md does not name %s in the row of its folder", p.name())
		}
		delete(named, p.name())
	}
	for name := range named {
		t.Errorf("ARCHITECTURE.md names %s, which is no package", name)
	}
}

// mapRow reads a row of the map: the folder in its first cell and the packages in
// its last.
func mapRow(row string) (folder string, packages []string, ok bool) {
	cells := strings.Split(strings.Trim(row, "| "), "|")
	if len(cells) != 3 {
		return "", nil, false
	}
	folders := codeSpan.FindAllStringSubmatch(cells[0], -1)
	if len(folders) == 0 {
		return "", nil, false
	}
	for _, m := range codeSpan.FindAllStringSubmatch(cells[2], -1) {
		packages = append(packages, m[1])
	}
	return folders[0][1], packages, true
}

var codeSpan = regexp.MustCompile("`([a-z/]+)`")

// TestImportsOfForeignModules: each engine has one door, decisions do no I/O and
// events need the standard library alone.
func TestImportsOfForeignModules(t *testing.T) {
	for _, p := range list(t) {
		if wingOf(p.name(), testOnly) >= 0 {
			continue
		}
		for _, imported := range p.Imports {
			for foreign, allowed := range doors {
				if strings.HasPrefix(imported, foreign) && !slices.Contains(allowed, p.name()) {
					t.Errorf("%s imports %s, whose only door is %v", p.name(), imported, allowed)
				}
			}
			if within(p.name(), "internal/rules") && slices.Contains(outside, imported) {
				t.Errorf("%s imports %s: a rule decides and does no I/O", p.name(), imported)
			}
			if p.name() == "internal/event" && strings.Contains(imported, ".") {
				t.Errorf("events need %s, which is not of the standard library", imported)
			}
		}
	}
}
