package decide

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

var update = flag.Bool("update", false, "write goldens")

func dg(s string) digest.Digest { return digest.FromString(s) }

// image is an item with an index and one carried child.
func image(ref string, components ...string) lock.Item {
	return lock.Item{
		Ref: imageref.Ref(ref), Kind: lock.Image, Components: components, Source: "docker://" + ref, Digest: dg(ref), MediaType: "application/vnd.oci.image.index.v1+json", Size: 100,
		Content: lock.Verbatim{
			{Blob: lock.Blob{Digest: dg(ref), MediaType: "application/vnd.oci.image.index.v1+json", Size: 100}},
			{Blob: lock.Blob{Digest: dg(ref + "/amd64"), MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 200}, Platform: "linux/amd64",
				Config: &lock.Blob{Digest: dg(ref + "/config"), Size: 300}, Layers: []lock.Blob{{Digest: dg("base"), Size: 1000}, {Digest: dg(ref + "/layer"), Size: 5000}}},
		},
	}
}

const pinned = "quay.io/acme/pin:2@sha256:"

func sample() *lock.Lock {
	return &lock.Lock{
		Metadata: lock.Metadata{Name: "demo", Version: "1.2.3"}, Kubernetes: lock.Kubernetes{Versions: []string{"1.33", "1.36"}},
		Components: []lock.Component{
			{
				Name: "web", Needs: []string{"certs"}, Namespace: "front", Items: []imageref.Ref{"ghcr.io/acme/tool:1"},
				Releases:  []lock.Release{{Name: "web", Chart: "ghcr.io/acme/charts/web:1", Values: map[string]any{"replicas": 2, "a": map[string]any{"b": 1, "c": 2}}}},
				Manifests: []imageref.Ref{"files.caisson.dev/web/extra.yaml:0123"},
				Ready:     []lock.Condition{{Kind: "Deployment", Name: "web", Condition: "Available"}},
			},
			{Name: "certs", Releases: []lock.Release{{Name: "certs", Chart: "ghcr.io/acme/charts/certs:1"}}},
			{Name: "extra", Optional: true, Needs: []string{"certs"}},
		},
		Items: []lock.Item{image("docker.io/library/nginx:1", "certs"), image("ghcr.io/acme/tool:1", "web"), image("ghcr.io/acme/web:1", "web"), image(pinned+strings.Repeat("a", 64), "web")},
	}
}

func lab() plan.Site {
	return plan.Site{Name: "lab", Digest: dg("site"), References: []string{"rewrite"}, Registry: site.Registry{Mode: "external", Address: "reg.site:5000", Prefix: "mirror"}}
}

func renders() map[Key]Rendered {
	return map[Key]Rendered{
		{"web", "web"}: {ChartDigest: dg("web chart"), ChartVersion: "1.0.0", Objects: 4, CRDs: []plan.CRD{{Name: "a.acme.dev", Size: 300000}}, Images: []document.Site{
			{Ref: "ghcr.io/acme/web:1", Template: "web/templates/d.yaml", Line: 9, Certainty: document.Certain},
			{Ref: "quay.io/acme/pin:2", Template: "web/templates/d.yaml", Line: 12, Certainty: document.Certain},
		}},
		{"web", "files.caisson.dev/web/extra.yaml:0123"}: {ChartDigest: dg("extra"), Objects: 1},
		{"certs", "certs"}: {ChartDigest: dg("certs chart"), ChartVersion: "2.0.0", Objects: 2, Images: []document.Site{{Ref: "nginx:1", Template: "certs/templates/d.yaml", Line: 3, Certainty: document.Certain}}},
	}
}

func facts(l *lock.Lock) Facts {
	f := Facts{UID: "4c1b", Version: "v1.34.2", Server: "https://10.0.0.1:6443", Platforms: []string{"linux/amd64"}, StorageClasses: []string{"fast"}, Registry: RegistryFacts{Has: map[string]bool{}}}
	for _, it := range l.Items {
		f.Registry.Has[it.Ref.SitePath()+"@"+it.Digest.String()] = true
	}
	return f
}

func ofBundle() Bundle {
	return Bundle{Index: dg("index"), Lock: dg("lock"), Sequence: 7, KeyIDs: []string{"0123456789abcdef"}, Trust: []digest.Digest{dg("key")}, Paths: []string{"/media/usb"}, Keys: []string{"/etc/caisson.pub"}}
}

// decide selects and makes; change may spoil the inputs.
func decide(t *testing.T, change func(l *lock.Lock, s *plan.Site, r map[Key]Rendered, f *Facts)) (*plan.Plan, []event.Finding) {
	t.Helper()
	l, s, r := sample(), lab(), renders()
	f := facts(l)
	if change != nil {
		change(l, &s, r, &f)
	}
	selection, found := Select(l, s)
	if HasErrors(found) {
		return nil, found
	}
	p, more := Make(ofBundle(), selection, r, f)
	return p, append(found, more...)
}

func TestMakeGolden(t *testing.T) {
	p, found := decide(t, func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, f *Facts) {
		s.Components = map[string]plan.Choice{"web": {Values: map[string]map[string]any{"web": {"a": map[string]any{"b": 9}, "x": "y"}}}}
		f.Releases = []ReleaseFact{{Namespace: "front", Name: "web", Revision: 3, Status: "deployed"}}
		f.CRDs = []string{"a.acme.dev"}
	})
	if p == nil || len(found) != 0 {
		t.Fatalf("%+v", found)
	}
	got, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "plan.golden.json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the plan is another; go test -update writes it:\n%s", got)
	}
	back, err := plan.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := back.Marshal(); string(again) != string(got) {
		t.Error("reading and writing a plan changes it")
	}
}

func TestMakeIsStable(t *testing.T) {
	first, _ := decide(t, nil)
	want, _ := first.Digest()
	for range 20 {
		p, _ := decide(t, nil)
		if got, _ := p.Digest(); got != want {
			t.Fatalf("equal inputs give %s and %s", want, got)
		}
	}
}

func TestFindings(t *testing.T) {
	off, on := false, true
	for code, change := range map[string]func(l *lock.Lock, s *plan.Site, r map[Key]Rendered, f *Facts){
		"unknown-component": func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, _ *Facts) {
			s.Components = map[string]plan.Choice{"wbe": {Enabled: &on}}
		},
		"component-not-optional": func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, _ *Facts) {
			s.Components = map[string]plan.Choice{"web": {Enabled: &off}}
		},
		"needed-component-disabled": func(l *lock.Lock, s *plan.Site, _ map[Key]Rendered, _ *Facts) {
			l.Components[1].Optional = true
			s.Components = map[string]plan.Choice{"certs": {Enabled: &off}}
		},
		"values-without-release": func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, _ *Facts) {
			s.Components = map[string]plan.Choice{"web": {Values: map[string]map[string]any{"wbe": {"a": 1}}}}
		},
		"circular-needs": func(l *lock.Lock, _ *plan.Site, _ map[Key]Rendered, _ *Facts) {
			l.Components[1].Needs = []string{"web"}
		},
		"reference-strategy": func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, _ *Facts) { s.References = []string{"ansible"} },
		"registry-unreachable": func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Registry = RegistryFacts{Problem: "connection refused"}
		},
		"image-not-in-registry": func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) { f.Registry.Has = map[string]bool{} },
		"image-outside-bundle": func(_ *lock.Lock, _ *plan.Site, r map[Key]Rendered, _ *Facts) {
			r[Key{"certs", "certs"}] = Rendered{ChartDigest: dg("c"), Images: []document.Site{{Ref: "docker.io/evil/x:1", Template: "certs/templates/d.yaml", Line: 7, Certainty: document.Certain}}}
		},
		"render": func(_ *lock.Lock, _ *plan.Site, r map[Key]Rendered, _ *Facts) {
			r[Key{"web", "web"}] = Rendered{Problem: "values don't meet the schema"}
		},
		"not-allowed":      func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) { f.Denied = []string{"create secrets"} },
		"no-storage-class": func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, _ *Facts) { s.StorageClass = "slow" },
		"cluster-version":  func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) { f.Version = "v1.37.0" },
		"pull-secret": func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Logins = []plan.LoginTrouble{{Secret: "s", Namespaces: []string{"n"}, Why: "not found"}}
		},
		"foreign-release": func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Releases = []ReleaseFact{{Namespace: "front", Name: "web", Foreign: true}}
		},
		"mixed-platforms": func(l *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Platforms = []string{"linux/amd64", "linux/arm64"}
			f.Registry.Has = map[string]bool{}
			for _, it := range l.Items {
				f.Registry.Has[it.Ref.SitePath()+"@"+it.Manifests()[1].Digest.String()] = true
			}
		},
	} {
		t.Run(code, func(t *testing.T) {
			p, found := decide(t, change)
			i := slices.IndexFunc(found, func(f event.Finding) bool { return f.Code == code })
			if i < 0 {
				t.Fatalf("found %+v", found)
			}
			if f := found[i]; f.What == "" || f.Hint == "" {
				t.Errorf("it does not say what and what to do: %+v", f)
			}
			if forbidden := found[i].Severity == event.Error; forbidden != (p == nil) {
				t.Errorf("severity %s, plan made: %v", found[i].Severity, p != nil)
			}
		})
	}
}

// All that is wrong is said at once.
func TestFindingsAddUp(t *testing.T) {
	_, found := decide(t, func(_ *lock.Lock, s *plan.Site, r map[Key]Rendered, f *Facts) {
		s.StorageClass, f.Version = "slow", "v1.99.0"
		f.Denied = []string{"create secrets", "delete secrets"}
		r[Key{"web", "web"}] = Rendered{Problem: "x"}
	})
	codes := map[string]int{}
	for _, f := range found {
		codes[f.Code]++
	}
	if codes["no-storage-class"] != 1 || codes["not-allowed"] != 2 || codes["render"] != 1 || codes["cluster-version"] != 1 {
		t.Errorf("%v", codes)
	}
	if !slices.IsSortedFunc(found, func(a, b event.Finding) int { return strings.Compare(string(a.Severity), string(b.Severity)) }) {
		t.Errorf("errors do not come first: %+v", found)
	}
}

func TestChildStandsForARefusedIndex(t *testing.T) {
	p, found := decide(t, func(l *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) {
		f.Registry.Has = map[string]bool{}
		for _, it := range l.Items {
			f.Registry.Has[it.Ref.SitePath()+"@"+it.Manifests()[1].Digest.String()] = true
		}
	})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	for _, i := range p.Images {
		if i.Platform != "linux/amd64" || !strings.HasSuffix(string(i.Site), "@"+i.Digest.String()) || i.Digest == dg(string(i.Ref)) {
			t.Errorf("%+v", i)
		}
	}
}

func TestRewriter(t *testing.T) {
	p, _ := decide(t, nil)
	rewrite := p.Rewriter()
	nginx := "reg.site:5000/mirror/docker.io/library/nginx@" + dg("docker.io/library/nginx:1").String()
	pin := "reg.site:5000/mirror/quay.io/acme/pin@" + dg(pinned+strings.Repeat("a", 64)).String()
	for ref, want := range map[string]string{
		"nginx:1": nginx, "docker.io/nginx:1": nginx, "docker.io/library/nginx:1": nginx, nginx: nginx,
		"quay.io/acme/pin:2": pin,
		"nginx":              "", "nginx:2": "", "ghcr.io/acme/other:1": "", "reg.site:5000/mirror/ghcr.io/acme/other@" + dg("x").String(): "", "not an image!": "",
	} {
		if got, ok := rewrite(ref); got != want || ok != (want != "") {
			t.Errorf("%s becomes %q, %v; want %q", ref, got, ok, want)
		}
	}
	check := p.Images[0].Check(p.Site.Registry)
	if check.Repository != "docker.io/library/nginx" {
		t.Errorf("%+v", check)
	}
}

func TestParseRefuses(t *testing.T) {
	p, _ := decide(t, nil)
	good, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(string) string{
		"another kind":       func(s string) string { return strings.Replace(s, `"kind": "Plan"`, `"kind": "Plane"`, 1) },
		"an unknown field":   func(s string) string { return strings.Replace(s, `"kind": "Plan"`, `"kind": "Plan", "x": 1`, 1) },
		"trailing text":      func(s string) string { return s + "{}" },
		"changed values":     func(s string) string { return strings.Replace(s, `"replicas": 2`, `"replicas": 3`, 1) },
		"changed facts":      func(s string) string { return strings.Replace(s, `"version": "v1.34.2"`, `"version": "v1.34.3"`, 1) },
		"a bad digest":       func(s string) string { return strings.Replace(s, p.Index.String(), "sha256:12", 1) },
		"needs out of order": func(s string) string { return strings.Replace(s, `"level": 1`, `"level": 0`, 1) },
		"an unknown image": func(s string) string {
			return strings.Replace(s, `"ref": "ghcr.io/acme/web:1"`, `"ref": "ghcr.io/acme/wbe:1"`, 1)
		},
		"nothing": func(string) string { return "" },
		"a list":  func(string) string { return "[]" },
	} {
		bad := edit(string(good))
		if bad == string(good) {
			t.Fatalf("%s: the edit did nothing", name)
		}
		if _, err := plan.Parse([]byte(bad)); !errors.Is(err, plan.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"caisson.dev/v1alpha1","kind":"Plan"}`))
	if golden, err := os.ReadFile(filepath.Join("testdata", "plan.golden.json")); err == nil {
		f.Add(golden)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := plan.Parse(data)
		if err != nil {
			return
		}
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := plan.Parse(text)
		if err != nil {
			t.Fatalf("a plan that was written cannot be read: %v", err)
		}
		if twice, _ := again.Marshal(); string(twice) != string(text) {
			t.Error("writing and reading changes a plan")
		}
		p.Rewriter()("nginx:1")
	})
}

func TestWriteAndRead(t *testing.T) {
	p, _ := decide(t, nil)
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := plan.Write(path, p); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: values can be private", info.Mode(), err)
	}
	if _, err := plan.Read(path); err != nil {
		t.Error(err)
	}
	if _, err := plan.Read(path + ".absent"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
