package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const baseText = `apiVersion: caisson.dev/v1alpha1
kind: Stack
metadata: {name: base, version: 1.0.0}
platforms: [linux/amd64]
kubernetes: {versions: ["1.33"]}
profiles:
  - {name: core, components: [certs]}
  - {name: web, components: [web]}
components:
  - name: certs
    charts:
      - {name: certs, source: "oci://ghcr.io/acme/charts/certs", version: 1.0.0, values: {crds: {enabled: true}, keep: 1}}
  - name: web
    needs: [certs]
    images: [ghcr.io/acme/side:1]
    manifests: [base/web.yaml]
    charts:
      - {name: web, source: "oci://ghcr.io/acme/charts/web", version: 1.0.0, valuesFiles: [base/values.yaml]}
  - name: guard
    after: [web]
    needs: [certs]
    charts:
      - {name: guard, source: "oci://ghcr.io/acme/charts/guard", version: 1.0.0}
`

// written writes files into a folder and returns the path of one of them.
func written(t *testing.T, files map[string]string, name string) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, name)
}

const ownHead = "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: own, version: 2.0.0}\nextends: ./shared/base.yaml\n"

func readOwn(t *testing.T, own string) (*Stack, error) {
	t.Helper()
	return ReadStack(written(t, map[string]string{"shared/base.yaml": baseText, "own.yaml": ownHead + own}, "own.yaml"))
}

func TestExtend(t *testing.T) {
	s, err := readOwn(t, `remove: [guard]
components:
  - name: extra
    needs: [web]
    manifests: [extra.yaml]
  - name: web
    optional: true
    images: [ghcr.io/acme/more:1]
    manifests: [mine.yaml]
    charts:
      - {name: web, version: 1.1.0, values: {replicas: 3}, valuesFiles: [mine-values.yaml]}
      - {name: more, source: "oci://ghcr.io/acme/charts/more", version: 0.1.0}
  - name: certs
    charts:
      - {name: certs, values: {crds: {keep: false}, keep: null}}
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.componentNames(); !slices.Equal(got, []string{"certs", "web", "extra"}) {
		t.Fatalf("components are %q", got)
	}
	if s.Metadata.Name != "own" || !slices.Equal(s.Platforms, []string{"linux/amd64"}) || !slices.Equal(s.Kubernetes.Versions, []string{"1.33"}) {
		t.Errorf("%+v", s)
	}
	certs, web := s.Components[0].Charts[0], s.Components[1]
	if want := map[string]any{"crds": map[string]any{"enabled": true, "keep": false}, "keep": nil}; !reflect.DeepEqual(certs.Values, want) {
		t.Errorf("values are %v", certs.Values)
	}
	if !web.Optional || !slices.Equal(web.Images, []string{"ghcr.io/acme/side:1", "ghcr.io/acme/more:1"}) || len(web.Charts) != 2 {
		t.Errorf("%+v", web)
	}
	if c := web.Charts[0]; c.Version != "1.1.0" || c.Source != "oci://ghcr.io/acme/charts/web" || !slices.Equal(c.ValuesFiles, []string{"base/values.yaml", "mine-values.yaml"}) {
		t.Errorf("%+v", c)
	}
}

// Whatever is wrong or missing is told at the place where it was written.
func TestExtendedFieldsKnowTheirPlace(t *testing.T) {
	s, err := readOwn(t, "components:\n  - name: web\n    manifests: [mine.yaml]\n    charts: [{name: web, valuesFiles: [mine-values.yaml]}]\n")
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"components[1].manifests[0]":             "base.yaml components[1].manifests[0]",
		"components[1].manifests[1]":             "own.yaml components[0].manifests[0]",
		"components[1].charts[0].valuesFiles[0]": "base.yaml components[1].charts[0].valuesFiles[0]",
		"components[1].charts[0].valuesFiles[1]": "own.yaml components[0].charts[0].valuesFiles[0]",
		"components[2]":                          "base.yaml components[2]",
		"metadata.name":                          "own.yaml metadata.name",
	} {
		o := s.Origin(field)
		if got := filepath.Base(o.File.Name) + " " + o.Field; got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
}

func TestExtendRefuses(t *testing.T) {
	for name, c := range map[string]struct{ own, says string }{
		"a component that is not there": {"remove: [gard]\n", `no component "gard", did you mean "guard"?`},
		"two of the same name":          {"components: [{name: web}, {name: web}]\n", `"web" is already the name of components[0]`},
		"a need that nobody has":        {"components: [{name: web, needs: [nobody]}]\n", `unknown component "nobody"`},
		"a circle":                      {"components: [{name: certs, needs: [web]}]\n", "goes in a circle"},
		"an added chart without source": {"components: [{name: web, charts: [{name: new, version: 1.0.0}]}]\n", "components[0].charts[0].source"},
	} {
		_, err := readOwn(t, c.own)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := ReadStack(written(t, map[string]string{"own.yaml": strings.Replace(ownHead, "./shared/base.yaml", "sovreign-ai", 1)}, "own.yaml"))
	if err == nil || !strings.Contains(err.Error(), `did you mean "sovereign-ai"?`) {
		t.Errorf("a stack that is not there: %v", err)
	}
	_, err = ReadStack(written(t, map[string]string{"own.yaml": strings.Replace(ownHead, "./shared/base.yaml", "./own.yaml", 1)}, "own.yaml"))
	if err == nil || !strings.Contains(err.Error(), "stacks extend one another") {
		t.Errorf("a stack that extends itself: %v", err)
	}
}

// A profile is its components and what they need; what they only come after stays away.
func TestCut(t *testing.T) {
	s, err := readOwn(t, "profiles: [{name: guarded, components: [guard]}]\n")
	if err != nil {
		t.Fatal(err)
	}
	for profiles, want := range map[string]string{"core": "certs", "web": "certs web", "guarded": "certs guard", "core web guarded": "certs web guard"} {
		cut, err := s.Cut(strings.Fields(profiles))
		if err != nil || strings.Join(cut.componentNames(), " ") != want {
			t.Errorf("%s is %q, %v", profiles, cut.componentNames(), err)
			continue
		}
		last := cut.Components[len(cut.Components)-1]
		if profiles == "guarded" && len(last.Before()) != 1 {
			t.Errorf("guard comes after %q", last.Before())
		}
		if o := cut.Origin("components[0].charts[0]"); filepath.Base(o.File.Name) != "base.yaml" || o.Field != "components[0].charts[0]" {
			t.Errorf("%+v", o)
		}
	}
	if _, err := s.Cut([]string{"webb"}); !errors.Is(err, ErrNoProfile) || !strings.Contains(err.Error(), `did you mean "web"?`) {
		t.Errorf("error is %v", err)
	}
}

// TestExtendUpstreamManifests: entries of the same name are merged, and what belongs to an
// address goes with it.
func TestExtendUpstreamManifests(t *testing.T) {
	const head = "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nplatforms: [linux/amd64]\n"
	base := head + `metadata: {name: base, version: 1.0.0}
components:
  - name: flows
    upstreamManifests:
      - name: flows
        url: https://github.com/acme/flows/archive/v1.tar.gz
        sha256: "` + strings.Repeat("1", 64) + `"
        kustomize: deploy
        remotes: [{match: a, url: "https://acme.example/a"}, {match: b, url: "https://acme.example/b"}]
        patches: [{path: base.yaml}]
      - {name: crds, url: "https://acme.example/crds.yaml"}
`
	for own, want := range map[string]UpstreamManifest{
		"{name: flows, url: \"https://acme.example/v2.tar.gz\"}":                        {URL: "https://acme.example/v2.tar.gz", Kustomize: "deploy"},
		"{name: flows, kustomize: other}":                                               {URL: "https://github.com/acme/flows/archive/v1.tar.gz", Kustomize: "other"},
		"{name: flows, kustomize: \"github.com/acme/flows//deploy?ref=v2\"}":            {Kustomize: "github.com/acme/flows//deploy?ref=v2"},
		"{name: flows, remotes: [{match: a, url: \"https://acme.example/other\"}]}":     {URL: "https://github.com/acme/flows/archive/v1.tar.gz", Kustomize: "deploy"},
		"{name: flows, namespace: flows, patches: [{path: own.yaml}, {path: o2.yaml}]}": {URL: "https://github.com/acme/flows/archive/v1.tar.gz", Kustomize: "deploy", Namespace: "flows"},
	} {
		s, err := ReadStack(written(t, map[string]string{"base/base.yaml": base, "own.yaml": head + "metadata: {name: own, version: 1.0.0}\nextends: ./base/base.yaml\ncomponents:\n  - name: flows\n    upstreamManifests:\n      - " + own + "\n"}, "own.yaml"))
		if err != nil {
			t.Fatalf("%s: %v", own, err)
		}
		m := s.Components[0].UpstreamManifests
		if len(m) != 2 || m[0].URL != want.URL || m[0].Kustomize != want.Kustomize || m[0].Namespace != want.Namespace || len(m[0].Remotes) != 2 {
			t.Errorf("%s: %+v", own, m)
		}
		if kept := m[0].SHA256 != ""; kept != (m[0].URL == "https://github.com/acme/flows/archive/v1.tar.gz") {
			t.Errorf("%s: the digest is %q", own, m[0].SHA256)
		}
		for k, p := range m[0].Patches {
			o := s.Origin(fmt.Sprintf("components[0].upstreamManifests[0].patches[%d]", k))
			if from := filepath.Base(o.File.Name); from != map[bool]string{true: "base.yaml", false: "own.yaml"}[p.Path == "base.yaml"] {
				t.Errorf("%s: patch %s is of %s", own, p.Path, from)
			}
		}
	}
}

// A profile's values count where it alone holds a component, beneath what the chart says.
func TestValuesOfAProfile(t *testing.T) {
	s, err := readOwn(t, `profiles:
  - {name: web, components: [web], values: {web: {web: {small: true, replicas: 1}}}}
  - {name: all, components: [guard, web]}
components:
  - name: web
    charts: [{name: web, values: {replicas: 3}}]
`)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		profiles []string
		want     map[string]any
	}{
		"alone":                 {[]string{"web"}, map[string]any{"small": true, "replicas": int64(3)}},
		"beside one without it": {[]string{"core", "web"}, map[string]any{"small": true, "replicas": int64(3)}},
		"beside one with it":    {[]string{"web", "all"}, map[string]any{"replicas": int64(3)}},
	} {
		cut, err := s.Cut(tc.profiles)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.Index(cut.componentNames(), "web")
		if got := cut.Components[i].Charts[0].Values; !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for text, want := range map[string]string{
		"profiles:\n  - {name: web, components: [web], values: {wbe: {web: {}}}}\n":     `unknown component "wbe"`,
		"profiles:\n  - {name: web, components: [web], values: {web: {wbe: {a: 1}}}}\n": `component web has no chart "wbe"`,
		"profiles:\n  - {name: web, components: [web], values: {web: {web: text}}}\n":   "web.web is no mapping of values",
	} {
		if _, err := readOwn(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A component that takes the place of a removed one is needed as that was.
func TestAReplacedComponentIsNeeded(t *testing.T) {
	s, err := readOwn(t, `remove: [certs]
components:
  - name: certs
    charts:
      - {name: own-certs, source: "oci://ghcr.io/acme/charts/own", version: 2.0.0}
`)
	if err != nil {
		t.Fatal(err)
	}
	cut, err := s.Cut([]string{"web"})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.Index(cut.componentNames(), "certs")
	if i < 0 || len(cut.Components[i].Charts) != 1 || cut.Components[i].Charts[0].Name != "own-certs" {
		t.Errorf("%v: %+v", cut.componentNames(), cut.Components)
	}
}

// What a stack needs of its own and removes is a mistake of its own.
func TestNeedsOfWhatIsRemoved(t *testing.T) {
	_, err := readOwn(t, "remove: [certs]\ncomponents:\n  - {name: extra, needs: [certs], manifests: [a.yaml]}\n")
	if err == nil || !strings.Contains(err.Error(), "components[0].needs[0]") || !strings.Contains(err.Error(), `"certs" is removed`) {
		t.Error(err)
	}
}

// Profiles forget what is removed, and one with nothing left is gone.
func TestProfilesForgetWhatIsRemoved(t *testing.T) {
	path := written(t, map[string]string{
		"shared/base.yaml": baseText,
		"middle.yaml":      ownHead + "remove: [web]\n",
		"top.yaml":         strings.Replace(ownHead, "./shared/base.yaml", "./middle.yaml", 1),
	}, "top.yaml")
	s, err := ReadStack(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.profileNames(); !slices.Equal(got, []string{"core"}) {
		t.Errorf("profiles %v", got)
	}
	if _, err := s.Cut([]string{"web"}); !errors.Is(err, ErrNoProfile) {
		t.Error(err)
	}
}

// Files lie beside the stack that names them, however many stacks are between.
func TestFilesOfStacksThreeDeep(t *testing.T) {
	path := written(t, map[string]string{
		"shared/base.yaml":  baseText,
		"middle/stack.yaml": strings.Replace(ownHead, "./shared", "../shared", 1) + "components:\n  - {name: web, license: MIT, manifests: [middle.yaml]}\n",
		"top/stack.yaml":    strings.Replace(ownHead, "./shared/base.yaml", "../middle/stack.yaml", 1) + "components:\n  - {name: web, manifests: [top.yaml]}\n",
	}, "top/stack.yaml")
	s, err := ReadStack(path)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.Index(s.componentNames(), "web")
	for j, folder := range []string{"shared", "middle", "top"} {
		o := s.Origin("components[" + string(rune('0'+i)) + "].manifests[" + string(rune('0'+j)) + "]")
		if filepath.Base(o.File.Dir) != folder {
			t.Errorf("manifest %d is of %s, want %s", j, o.File.Dir, folder)
		}
	}
	layers := s.Components[i].Charts[0].ValuesLayers()
	if len(layers) != 1 || filepath.Base(layers[0].From.Dir) != "shared" {
		t.Errorf("values of %+v", layers)
	}
}

// Mistakes in what extends another stack stand where they were written.
func TestMistakesOverAnotherStack(t *testing.T) {
	for name, tc := range map[string]struct{ own, want string }{
		"a profile that is extended": {"profiles:\n  - {name: web, components: [wbe]}\n", `own.yaml:6:30: profiles[0].components[0]: unknown component "wbe"`},
		"a profile of one's own":     {"profiles:\n  - {name: web, components: [guard]}\n  - {name: mine, components: [web, certz]}\n", `own.yaml:7:36: profiles[1].components[1]: unknown component "certz"`},
		"values of a profile":        {"profiles:\n  - name: web\n    components: [guard]\n    values: {wbe: {web: {}}}\n", `own.yaml:8:13: profiles[0].values: unknown component "wbe"`},
		"a chart by another name":    {"components:\n  - name: web\n    charts:\n      - {name: wbe, values: {a: 1}}\n", `own.yaml:8:9: components[0].charts[0].source: is missing: component web of ./shared/base.yaml has no chart "wbe", did you mean "web"?`},
		"a model by another name":    {"components:\n  - name: web\n    models:\n      - {name: tiny, revision: main}\n", `own.yaml:8:9: components[0].models[0].source: is missing: component web of ./shared/base.yaml has no model "tiny"`},
	} {
		if _, err := readOwn(t, tc.own); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

// Stacks that extend one another in a circle are named once each.
func TestStacksInACircle(t *testing.T) {
	path := written(t, map[string]string{
		"a.yaml": strings.Replace(ownHead, "./shared/base.yaml", "./b.yaml", 1),
		"b.yaml": strings.Replace(ownHead, "./shared/base.yaml", "./a.yaml", 1),
	}, "a.yaml")
	_, err := ReadStack(path)
	if err == nil || !strings.Contains(err.Error(), "in a circle") || strings.Count(err.Error(), "extends: ") > 2 {
		t.Error(err)
	}
}

// What a profile of the extended stack sets was meant for the component that it knew.
func TestValuesOfAProfileDoNotReachAnother(t *testing.T) {
	base := head + `metadata: {name: base, version: 1.0.0}
platforms: [linux/amd64]
carry: [p]
profiles: [{name: p, components: [web], values: {web: {web: {theirs: true}}}}]
components:
  - name: web
    charts: [{name: web, source: "oci://ghcr.io/acme/charts/web", version: 1.0.0}]
`
	own := head + "metadata: {name: own, version: 1.0.0}\nextends: ./base.yaml\n"
	chart := `charts: [{name: web, source: "oci://ghcr.io/clinic/charts/web", version: 2.0.0}]`
	for name, text := range map[string]string{
		"removed and written anew": own + "remove: [web]\ncomponents:\n  - name: web\n    " + chart + "\n",
		"with other charts":        own + "components:\n  - name: web\n    replace: [charts]\n    " + chart + "\n",
	} {
		s, err := ReadStack(written(t, map[string]string{"base.yaml": base, "own.yaml": text}, "own.yaml"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cut, err := s.Carried(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cut.Components[0].Charts[0]; len(got.Values) > 0 || len(got.ValuesLayers()) != 1 {
			t.Errorf("%s: its values are %v", name, got.Values)
		}
	}
}

// A link beside a stack leads to nothing outside of its folder, and nobody waits for a pipe.
func TestFilesBesideAStackAreFiles(t *testing.T) {
	path := written(t, map[string]string{"in/own.yaml": head + "metadata: {name: own, version: 1.0.0}\nplatforms: [linux/amd64]\ncomponents: [{name: web}]\n",
		"in/inside.yaml": "a: 1\n", "secret.yaml": "token: 1\n"}, "in/own.yaml")
	dir := filepath.Dir(path)
	for link, to := range map[string]string{"out.yaml": "../secret.yaml", "far.yaml": filepath.Join(filepath.Dir(dir), "secret.yaml"), "near.yaml": "inside.yaml"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadStack(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"inside.yaml": true, "near.yaml": true, "out.yaml": false, "far.yaml": false, "pipe.yaml": false} {
		if data, err := s.File().Read(name, 100); (err == nil) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if err := os.WriteFile(path, []byte(head+"metadata: {name: own, version: 1.0.0}\nextends: ./pipe.yaml\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStack(path); err == nil || !strings.Contains(err.Error(), "it is not a plain file") {
		t.Errorf("a pipe is extended: %v", err)
	}
}
