package helm

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync/atomic"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/caisson/caisson/internal/rules/document"
)

func render(tb testing.TB, c *Chart, opt RenderOptions) []document.Document {
	tb.Helper()
	r, err := Render(context.Background(), c, opt)
	if err != nil {
		tb.Fatal(err)
	}
	return r.Documents
}

func sources(docs []document.Document) string {
	var b strings.Builder
	for _, d := range docs {
		b.WriteString("# " + d.Template + "\n" + strings.TrimSpace(d.Source) + "\n")
	}
	return b.String()
}

// family is a chart with sub-charts that each use another rule of Helm's for
// dependencies.
func family() files {
	return files{
		"Chart.yaml": metadata("demo", `dependencies:
- {name: absent, version: 1.0.0, condition: absent.enabled}
- {name: present, version: 1.0.0, condition: present.enabled}
- {name: present, version: 1.0.0, alias: twin}
- {name: tagged, version: 1.0.0, tags: [extra]}
- name: giver
  version: 1.0.0
  import-values:
  - {child: gift, parent: got}`),
		"values.yaml": `absent: {enabled: false}
present: {enabled: true, word: from-parent}
tags: {extra: false}
global: {registry: g.example}
drop: {me: please, keep: this}
`,
		"templates/all.yaml": `got: {{ .Values.got.thing }}
drop: {{ .Values.drop | toJson }}
---
hook: yes
metadata: {annotations: {"helm.sh/hook": pre-install}}
`,
		"templates/NOTES.txt":             "not: rendered\n",
		"templates/_helpers.tpl":          `{{ define "x" }}x{{ end }}`,
		"crds/one.yaml":                   "kind: CustomResourceDefinition\n---\nkind: CustomResourceDefinition\nsecond: true\n",
		"charts/absent/Chart.yaml":        metadata("absent"),
		"charts/absent/templates/a.yaml":  "off: true\n",
		"charts/absent/crds/absent.yaml":  "off: true\n",
		"charts/present/Chart.yaml":       metadata("present"),
		"charts/present/values.yaml":      "word: default\n",
		"charts/present/templates/a.yaml": "name: {{ .Chart.Name }}\nword: {{ .Values.word }}\nregistry: {{ .Values.global.registry }}\n",
		"charts/tagged/Chart.yaml":        metadata("tagged"),
		"charts/tagged/templates/a.yaml":  "tagged: true\n",
		"charts/giver/Chart.yaml":         metadata("giver"),
		"charts/giver/values.yaml":        "gift: {thing: imported}\n",
	}
}

func TestRenderFamily(t *testing.T) {
	c := load(t, family())
	got := sources(render(t, c, RenderOptions{Values: map[string]any{"drop": map[string]any{"me": nil}}}))
	want := `# demo/crds/one.yaml
kind: CustomResourceDefinition
# demo/crds/one.yaml
kind: CustomResourceDefinition
second: true
# demo/charts/present/templates/a.yaml
name: present
word: from-parent
registry: g.example
# demo/charts/twin/templates/a.yaml
name: twin
word: default
registry: g.example
# demo/templates/all.yaml
got: imported
drop: {"keep":"this"}
# demo/templates/all.yaml
hook: yes
metadata: {annotations: {"helm.sh/hook": pre-install}}
`
	if got != want {
		t.Errorf("rendered\n%s\nwant\n%s", got, want)
	}
}

// TestRenderLikeHelm holds Render against helm's own client-only install.
func TestRenderLikeHelm(t *testing.T) {
	values := map[string]any{
		"absent": map[string]any{"enabled": true}, "tags": map[string]any{"extra": true},
		"drop": map[string]any{"me": nil, "more": []any{1, 2.5, "x"}}, "big": 123456789, "twin": map[string]any{"word": "yes"},
	}
	f := family()
	f["templates/more.yaml"] = `version: {{ .Capabilities.KubeVersion.Version }}
apps: {{ .Capabilities.APIVersions.Has "apps/v1" }}
extra: {{ .Capabilities.APIVersions.Has "x.example/v1" }}
release: {{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.IsInstall }} {{ .Release.Revision }}
values: {{ .Values | toJson }}
big: {{ .Values.big }}
looked: {{ lookup "v1" "Secret" "a" "b" | toJson }}
host: {{ getHostByName "localhost" | quote }}
`
	c := load(t, f)
	var got []string
	for _, d := range render(t, c, RenderOptions{Release: "rel", Namespace: "ns", Values: values, KubeVersion: "1.36.2", APIVersions: []string{"x.example/v1"}}) {
		if !d.CRD {
			got = append(got, strings.TrimSpace(d.Source))
		}
	}
	want := helmTemplate(t, c, values)
	sort.Strings(got)
	sort.Strings(want)
	if g, w := strings.Join(got, "\n--\n"), strings.Join(want, "\n--\n"); g != w {
		t.Errorf("rendered\n%s\nhelm renders\n%s", g, w)
	}
}

func helmTemplate(t *testing.T, c *Chart, values map[string]any) []string {
	t.Helper()
	client, err := registry.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{
		Releases: storage.Init(driver.NewMemory()), KubeClient: &kubefake.PrintingKubeClient{Out: io.Discard},
		RegistryClient: client, Capabilities: chartutil.DefaultCapabilities, Log: func(string, ...any) {},
	})
	install.ReleaseName, install.Namespace = "rel", "ns"
	install.DryRun, install.ClientOnly = true, true
	install.APIVersions = chartutil.VersionSet{"x.example/v1"}
	if install.KubeVersion, err = chartutil.ParseKubeVersion("1.36.2"); err != nil {
		t.Fatal(err)
	}
	loaded, err := c.Load()
	if err != nil {
		t.Fatal(err)
	}
	native, err := NativeValues(values)
	if err != nil {
		t.Fatal(err)
	}
	rel, err := install.Run(loaded, native)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := document.Split("helm", rel.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range docs {
		_, body, _ := strings.Cut(strings.TrimSpace(d.Source), "\n") // # Source: …
		out = append(out, body)
	}
	for _, h := range rel.Hooks {
		out = append(out, strings.TrimSpace(h.Manifest))
	}
	return out
}

func TestRenderRefuses(t *testing.T) {
	tests := map[string]struct {
		f    files
		opt  RenderOptions
		want string
	}{
		"template":     {files{"Chart.yaml": metadata("demo"), "templates/a.yaml": "a: 1\nb: {{ .Values.x.y }}\n"}, RenderOptions{}, "demo/templates/a.yaml:2"},
		"fail":         {files{"Chart.yaml": metadata("demo"), "templates/a.yaml": `{{ fail "set secret" }}`}, RenderOptions{}, "set secret"},
		"required":     {files{"Chart.yaml": metadata("demo"), "templates/a.yaml": `{{ required "need it" .Values.x }}`}, RenderOptions{}, "need it"},
		"kube version": {files{"Chart.yaml": metadata("demo", `kubeVersion: ">=1.40.0-0"`)}, RenderOptions{KubeVersion: "1.36"}, "requires Kubernetes >=1.40.0-0, not v1.36.0"},
		"bad version":  {files{"Chart.yaml": metadata("demo")}, RenderOptions{KubeVersion: "one"}, `"one"`},
		"library":      {files{"Chart.yaml": metadata("demo", "type: library")}, RenderOptions{}, "library chart"},
		"schema":       {files{"Chart.yaml": metadata("demo"), "values.yaml": "a: 1\n", "values.schema.json": `{"properties":{"a":{"type":"string"}}}`}, RenderOptions{}, "/a"},
		"sub-schema":   {files{"Chart.yaml": metadata("demo"), "charts/sub/Chart.yaml": metadata("sub"), "charts/sub/values.yaml": "a: 1\n", "charts/sub/values.schema.json": `{"properties":{"a":{"type":"string"}}}`}, RenderOptions{}, "chart sub"},
		"recursion":    {files{"Chart.yaml": metadata("demo"), "templates/_h.tpl": `{{ define "a" }}{{ include "a" . }}{{ end }}`, "templates/a.yaml": `{{ include "a" . }}`}, RenderOptions{}, "nested reference"},
		"output":       {files{"Chart.yaml": metadata("demo"), "templates/a.yaml": `a: {{ repeat 70000000 "x" }}`}, RenderOptions{}, "rendered"},
		"documents":    {files{"Chart.yaml": metadata("demo"), "templates/a.yaml": "{{ repeat 50001 \"a: 1\\n---\\n\" }}"}, RenderOptions{}, "documents"},
	}
	for name, test := range tests {
		_, err := Render(context.Background(), load(t, test.f), test.opt)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "rendering chart demo 1.0.0: ") {
			t.Errorf("%s: %v does not name the chart", name, err)
		}
	}
}

func TestRenderStopsWithItsContext(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": "{{ range until 1500 }}{{ range until 1500 }}{{ end }}{{ end }}"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Render(ctx, c, RenderOptions{}); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("rendering went on: %v", err)
	}
}

func TestRenderOpensNothing(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer srv.Close()
	for _, ref := range []string{srv.URL + "/s.json", "file:///etc/passwd", "other.json", "urn:x:y"} {
		c := load(t, files{
			"Chart.yaml": metadata("demo"), "values.yaml": "a: 1\n",
			"values.schema.json": `{"properties":{"a":{"$ref":"` + ref + `"}}}`,
			"templates/a.yaml":   "a: {{ .Values.a }}\n",
		})
		render(t, c, RenderOptions{})
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests while rendering", n)
	}
}

func TestRenderByVersion(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": `{{ if semverCompare ">=1.35-0" .Capabilities.KubeVersion.Version }}new: 1{{ else }}old: 1{{ end }}`})
	for version, want := range map[string]string{"1.33": "old", "v1.36": "new", "1.35.0": "new", "": "new"} {
		if got := sources(render(t, c, RenderOptions{KubeVersion: version})); !strings.Contains(got, want) {
			t.Errorf("at %q: %s", version, got)
		}
	}
}

// TestTheDefaultVersionIsThatOfTheLinkedLibraries: k8s.io/client-go v0.N is of
// Kubernetes 1.N.
func TestTheDefaultVersionIsThatOfTheLinkedLibraries(t *testing.T) {
	text, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	linked := regexp.MustCompile(`k8s\.io/client-go v0\.([0-9]+)\.`).FindSubmatch(text)
	if linked == nil || "1."+string(linked[1]) != DefaultKubeVersion {
		t.Errorf("charts are rendered for %s, linked is %s", DefaultKubeVersion, linked)
	}
}

func TestCapabilitiesKnowKinds(t *testing.T) {
	caps, err := Capabilities("1.36", []string{"x.example/v1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"v1", "apps/v1", "apps/v1/Deployment", "v1/Pod", "x.example/v1"} {
		if !caps.APIVersions.Has(v) {
			t.Errorf("%s is not known", v)
		}
	}
	if caps.APIVersions.Has("monitoring.coreos.com/v1") || caps.KubeVersion.Minor != "36" {
		t.Errorf("capabilities %+v", caps.KubeVersion)
	}
}

func TestValues(t *testing.T) {
	parsed, err := ParseValues([]byte("a: 1\nb: 2.5\nc: yes\nd: {e: 10000000, f: null}\n80: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	if parsed["a"] != int64(1) || parsed["b"] != 2.5 || parsed["c"] != true || parsed["80"] != "x" {
		t.Errorf("parsed %#v", parsed)
	}
	native, err := NativeValues(map[string]any{"a": int64(3), "b": []any{1}})
	if err != nil || native["a"] != float64(3) {
		t.Errorf("native %#v, %v", native, err)
	}
	for _, bad := range []string{"a: [", "- list\n", "\x00"} {
		if _, err := ParseValues([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestCommentBehindASeparator: Helm and the API server's reader end a document at
// "---# comment", without a space between.
func TestCommentBehindASeparator(t *testing.T) {
	docs := render(t, load(t, files{
		"Chart.yaml":       metadata("demo"),
		"templates/a.yaml": "---# the account\nkind: ServiceAccount\n---# the rights\nkind: Role\n",
	}), RenderOptions{})
	if len(docs) != 2 || docs[0].Line != 2 || docs[1].Line != 4 || strings.Contains(docs[0].Source, "Role") {
		t.Errorf("split into %+v", docs)
	}
}
