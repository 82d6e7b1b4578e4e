package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caisson/caisson/"

// The kinds of packages. One that is in no list here is a domain table or a
// helper of several, bound only by the rules for all.
var (
	verbs = []string{"resolve", "pack", "verify", "serve", "load", "survey", "install", "report", "inspect", "nodes", "support"}
	nouns = []string{"stack", "lock", "site", "plan", "journal", "event", "yamlfile", "gpu"}
	faces = []string{"cli", "tui"}
	// helpers of tests, which the product never imports
	testers = []string{"upstreamtest", "bundletest", "clustertest", "stacktest", "bench", "deps"}
	// onlyIn says which packages may import a foreign module.
	onlyIn = map[string][]string{
		"oras.land/oras-go":                      {"registry"},
		"github.com/google/go-containerregistry": {"registry"},
		"helm.sh/helm":                           {"helm"},
		"k8s.io/client-go":                       {"kube", "helm"},
		"github.com/sigstore/":                   {"sign"},
		"github.com/distribution/distribution":   {},
	}
)

// listed is a package as go list tells it.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func (p listed) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "internal/")
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = "../.."
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

func internal(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, module+"internal/"+n)
	}
	return out
}

// TestImports holds the direction of the packages: faces lead to verbs, verbs to
// nouns, all to the bundle and to events; foreign engines each have one door.
func TestImports(t *testing.T) {
	for _, p := range list(t) {
		if slices.Contains(testers, strings.Split(p.name(), "/")[0]) || strings.HasPrefix(p.name(), "test/") {
			continue
		}
		never(t, p, internal(testers...), "the product reaches a helper of tests")
		switch {
		case slices.Contains(verbs, p.name()):
			never(t, p, internal(without(verbs, p.name())...), "a verb reaches a verb")
		case slices.Contains(nouns, p.name()):
			never(t, p, internal(verbs...), "a noun reaches a verb")
		case p.name() == "bundle":
			never(t, p, []string{module}, "the public library reaches the rest")
		}
		if p.name() != "cmd/caisson" && !slices.Contains(faces, p.name()) {
			never(t, p, internal(append(faces, "explain", "render")...), "something beneath a face reaches it")
		}
		doors(t, p)
	}
}

// TestImportsOfEvent keeps events free of everything.
func TestImportsOfEvent(t *testing.T) {
	for _, p := range list(t) {
		if p.name() == "event" {
			never(t, p, []string{"github.com/", "k8s.io/", "golang.org/"}, "events need more than the standard library")
		}
	}
}

func never(t *testing.T, p listed, forbidden []string, why string) {
	t.Helper()
	for _, d := range p.Deps {
		for _, f := range forbidden {
			if d == f || strings.HasPrefix(d, strings.TrimSuffix(f, "/")+"/") {
				t.Errorf("%s: %s imports %s", why, p.name(), d)
			}
		}
	}
}

// doors looks at direct imports: what comes through another package is that
// package's matter.
func doors(t *testing.T, p listed) {
	t.Helper()
	for _, imported := range p.Imports {
		for foreign, allowed := range onlyIn {
			if strings.HasPrefix(imported, foreign) && !slices.Contains(allowed, p.name()) {
				t.Errorf("%s imports %s, whose only door is %v", p.name(), imported, allowed)
			}
		}
	}
}

func without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x == s })
}
