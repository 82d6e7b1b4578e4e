package resolve

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

func packChart(tb testing.TB, name, version string, files map[string]string) []byte {
	tb.Helper()
	all := map[string]string{"Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)}
	for k, v := range files {
		all[k] = v
	}
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	sort.Strings(names)
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for _, n := range names {
		if err := tw.WriteHeader(&tar.Header{Name: name + "/" + n, Mode: 0o644, Size: int64(len(all[n])), Typeflag: tar.TypeReg}); err != nil {
			tb.Fatal(err)
		}
		io.WriteString(tw, all[n])
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func (h *shelf) chart(tag string, archive []byte) ocispec.Descriptor {
	h.Helper()
	return h.put(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: h.blob(lock.MediaTypeHelmConfig, `{"name":"web"}`), Layers: []ocispec.Descriptor{h.blob(lock.MediaTypeHelmChart, string(archive))},
	}, tag)
}

func chartStack(charts ...string) string {
	return "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: t, version: 1.0.0}\nplatforms: [linux/amd64]\nkubernetes: {versions: [\"1.33\", \"1.36\"], apiVersions: [x.example/v1]}\ncomponents:\n" +
		"  - name: c\n    charts:\n      - " + strings.Join(charts, "\n      - ") + "\n"
}

func imagesOf(l *lock.Lock) string {
	var out []string
	for _, it := range l.Items {
		if it.Kind == lock.Image {
			out = append(out, it.Ref.String()+" by "+strings.Join(it.FoundBy, ","))
		}
	}
	return strings.Join(out, "; ")
}

func TestChartImages(t *testing.T) {
	s, h := shelfSite(t)
	for _, name := range []string{"base", "file", "new", "old", "extra", "hook"} {
		d := h.image("linux/amd64", h.blob(ocispec.MediaTypeImageLayer, name))
		h.tag(name, d)
	}
	h.chart("1.0.0_build.7", packChart(t, "web", "1.0.0+build.7", map[string]string{
		"values.yaml": "image: base\nextra: {tag: none}\ndrop: {me: 1}\n",
		"templates/a.yaml": `kind: Pod
metadata: {name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}
spec:
  containers:
  - image: reg.example/a/b:{{ .Values.image }}
  - image: reg.example/a/b:{{ if semverCompare ">=1.35-0" .Capabilities.KubeVersion.Version }}new{{ else }}old{{ end }}
  - image: reg.example/a/b:{{ .Values.extra.tag }}
    args: [--helper=reg.example/a/helper:1, --known=reg.example/a/b:base]
{{ if hasKey .Values.drop "me" }}{{ fail "null did not delete" }}{{ end }}
{{ if not (.Capabilities.APIVersions.Has "x.example/v1") }}{{ fail "no apiVersions" }}{{ end }}
`,
		"templates/hook.yaml": "kind: Job\nmetadata: {annotations: {helm.sh/hook: pre-install}}\nspec: {template: {spec: {containers: [{image: \"reg.example/a/b:hook\"}]}}}\n",
		"crds/c.yaml":         "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec: {x: {image: \"reg.example/a/b:never\", description: \"as in docker.io/library/x:1\"}}\n",
		"templates/cm.yaml":   "kind: ConfigMap\ndata:\n  _example: \"image: kserve/x:latest\"\n",
	}))
	s.write("v1.yaml", "image: file\nextra: {tag: gone}\n")
	s.write("v2.yaml", "extra: {tag: extra}\n")
	chart := `{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0+build.7, valuesFiles: [v1.yaml, v2.yaml], values: {drop: {me: null}, big: 10000000}}`
	s.write("stack.yaml", chartStack(chart, strings.Replace(chart, "name: rel", "name: again", 1))+"    allow: [{code: egress/image, match: web/templates/a.yaml, reason: never pulled}]\n")
	r, data := s.mustResolve(s.options("l.yaml"))
	want := "reg.example/a/b:extra by chart again,chart rel; reg.example/a/b:file by chart again,chart rel; reg.example/a/b:hook by chart again,chart rel; " +
		"reg.example/a/b:new by chart again,chart rel; reg.example/a/b:old by chart again,chart rel"
	if got := imagesOf(r.Lock); got != want {
		t.Errorf("images %s", got)
	}
	if !told(s, "spec.containers[2].args[0] names image reg.example/a/helper:1, which is not in the bundle; allowed: never pulled") {
		t.Error("nobody spoke of the image in an argument")
	}
	if got := r.Lock.Components[0].Allow; len(got) != 1 || got[0] != (lock.Allow{Code: event.CodeEgressImage, Match: "web/templates/a.yaml", Reason: "never pulled"}) {
		t.Errorf("the lock allows %+v", got)
	}
	release := r.Lock.Components[0].Releases[0]
	if release.Chart != "reg.example/charts/web:1.0.0_build.7" || len(r.Lock.Components[0].Releases) != 2 {
		t.Errorf("releases %+v", r.Lock.Components[0].Releases)
	}
	if !bytes.Contains(data, []byte("        values:\n          big: 10000000\n          drop:\n            me: null\n          extra:\n            tag: extra\n          image: file\n")) {
		t.Errorf("values are not those of the files and the stack:\n%s", data)
	}
	if n := h.asked["/v2/charts/web/manifests/1.0.0_build.7"]; n != 1 {
		t.Errorf("the chart was asked for %d times", n)
	}
}

func told(s *site, text string) bool {
	for _, e := range s.events.Events() {
		if e.Kind == event.Info && strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

func found(s *site, item string) bool {
	for _, e := range s.events.Events() {
		if e.Finding != nil && e.Finding.Item == item && e.Finding.Hint != "" {
			return true
		}
	}
	return false
}

func TestJoinedReferencesMayBeMissing(t *testing.T) {
	s, h := shelfSite(t)
	h.tag("1", h.image("linux/amd64"))
	policy := "kind: ClusterPolicy\nspec:\n  a: {repository: reg.example/x, image: operand, version: \"1\"}\n  b: {repository: reg.example/x, image: driver, version: \"580.1\"}\n"
	h.chart("1.0.0", packChart(t, "web", "1.0.0", map[string]string{"templates/a.yaml": policy}))
	stack := chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`)
	s.write("stack.yaml", stack)
	if _, err := s.resolve(s.options("l.yaml")); !errors.Is(err, ErrEgress) || !found(s, "reg.example/x/driver:580.1") {
		t.Errorf("the driver's image is missing: %v", err)
	}
	s.write("stack.yaml", stack+"    allow: [{code: egress/image, match: \"*/driver:580.1\", reason: the operator adds to the tag}]\n")
	r, _ := s.mustResolve(s.options("l.yaml"))
	if got := imagesOf(r.Lock); got != "reg.example/x/operand:1 by chart rel" {
		t.Errorf("images %s", got)
	}
	h.tag("580.1-ubuntu24.04", h.image("linux/amd64"))
	s.write("stack.yaml", stack+"    images: [\"reg.example/x/driver:580.1-ubuntu24.04\"]\n")
	s.mustResolve(s.options("l.yaml"))
	s.write("stack.yaml", chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`)+"    images: [reg.example/x/driver:580.1]\n")
	if _, err := s.resolve(s.options("l.yaml")); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("named by the stack: %v", err)
	}
}

func TestChartRefusals(t *testing.T) {
	s, h := shelfSite(t)
	image := h.image("linux/amd64")
	h.tag("image", image)
	h.index("index", image)
	h.chart("2.0.0", packChart(t, "other", "2.0.0", nil))
	h.chart("3.0.0", packChart(t, "web", "3.0.1", nil))
	h.chart("4.0.0", packChart(t, "web", "4.0.0", map[string]string{"templates/a.yaml": "a: 1\n---\nb: {{ .Values.x.y }}\n"}))
	h.chart("5.0.0", packChart(t, "web", "5.0.0", map[string]string{"templates/a.yaml": "kind: Pod\nspec:\n  containers:\n  - image: UPPER/case\n"}))
	h.chart("6.0.0", packChart(t, "web", "6.0.0", map[string]string{"templates/a.yaml": "kind: Pod\nspec:\n  containers:\n  - image: reg.example/a/b:gone\n"}))
	h.chart("7.0.0", []byte("not a chart"))
	h.tag("8.0.0", image)
	h.index("9.0.0", image)
	h.chart("10.0.0", packChart(t, "web", "10.0.0", map[string]string{"templates/a.yaml": "a: b: c\n"}))
	for version, want := range map[string]string{
		"1.0.0":  "the registry does not have it",
		"2.0.0":  `the archive holds chart "other", not "web"`,
		"3.0.0":  `the archive holds version "3.0.1", not "3.0.0"`,
		"4.0.0":  "for Kubernetes 1.33: rendering chart web 4.0.0: ",
		"5.0.0":  "web/templates/a.yaml line 4: image UPPER/case: ",
		"6.0.0":  "chart rel: web/templates/a.yaml line 4: image reg.example/a/b:gone: ",
		"7.0.0":  "opening archive",
		"8.0.0":  "not that of a chart",
		"9.0.0":  "is an index, not a chart",
		"10.0.0": "searching web/templates/a.yaml line 1 for images",
	} {
		s.write("stack.yaml", chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: `+version+"}"))
		_, err := s.resolve(s.options("l.yaml"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "stack.yaml:9: component c: chart rel: ") {
			t.Errorf("%s: %v, want %q", version, err, want)
		}
	}
	s.write("stack.yaml", chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 2.0.0, valuesFiles: [gone.yaml]}`, `{name: two, source: "oci://reg.example/charts/web", version: 7.0.0}`))
	var problems Problems
	if _, err := s.resolve(s.options("l.yaml")); !errors.As(err, &problems) || len(problems) != 2 {
		t.Errorf("two bad charts: %v", err)
	}
}

// chartServer is an HTTP chart repository with fixed documents.
func chartServer(s *site, documents map[string]string) {
	s.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		doc, ok := documents[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusForbidden) // as object stores do
			return
		}
		io.WriteString(w, strings.ReplaceAll(doc, "SELF", "http://"+r.Host))
	}))
	s.Cleanup(srv.Close)
	s.write("upstreams.yaml", strings.TrimSuffix(string(s.UpstreamsYAML()), "\n")+fmt.Sprintf("\n  - {from: \"https://repo.example/Charts\", to: \"%s/m\"}\n", srv.URL))
}

func TestRepositoryChart(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	archive := packChart(t, "old", "1.0.0+x", map[string]string{"templates/a.yaml": "a: 1\n"})
	dg := digest.FromBytes(archive)
	chartServer(s, map[string]string{
		"/m/index.yaml": "apiVersion: v1\nentries:\n  old:\n  - {version: 1.0.0+x, urls: [\"SELF/m/files/old.tgz\"], digest: " + dg.Encoded() + "}\n" +
			"  - {version: 2.0.0, urls: [files/old.tgz], digest: " + strings.Repeat("0", 64) + "}\n  - {version: 3.0.0, urls: [gone.tgz]}\n  - {version: 4.0.0, urls: [files/old.tgz]}\n",
		"/m/files/old.tgz":      string(archive),
		"/m/files/old.tgz.prov": "signed",
	})
	s.write("stack.yaml", chartStack(`{name: rel, source: "https://repo.example/Charts/", chart: old, version: 1.0.0+x}`))
	r, _ := s.mustResolve(s.options("l.yaml"))
	it := r.Lock.Items[0]
	chart, _ := lock.As[*lock.HelmChart](&it)
	if it.Ref != "repo.example/charts/old:1.0.0_x" || it.Source != "https://repo.example/Charts" || chart.URL != "https://repo.example/Charts/files/old.tgz" ||
		chart.Digest != dg || chart.Provenance == nil || chart.Provenance.Digest != digest.FromString("signed") || it.Digest == "" {
		t.Errorf("item %+v %+v", it, chart)
	}
	for version, want := range map[string]string{
		"2.0.0": "the repository's index says", "3.0.0": "403", "4.0.0": `the archive holds version "1.0.0+x"`, "5.0.0": "there: 1.0.0+x, 2.0.0",
	} {
		s.write("stack.yaml", chartStack(`{name: old, source: "https://repo.example/Charts", version: `+version+"}"))
		if _, err := s.resolve(s.options("l.yaml")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", version, err, want)
		}
	}
}

func TestRepositoryRef(t *testing.T) {
	for source, want := range map[string]imageref.Ref{
		"https://charts.example/stable":    "charts.example/stable/web:1.0_x",
		"https://Charts.Example:8443/A~b/": "charts.example:8443/a-b/web:1.0_x",
		"http://x.example":                 "x.example/web:1.0_x",
		"https://x.example//a/../_b_?t=1":  "x.example/a/b/web:1.0_x",
	} {
		if got := repositoryRef(source, "web", "1.0+x"); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}

func TestManifests(t *testing.T) {
	s, h := shelfSite(t)
	h.tag("v1", h.image("linux/amd64"))
	for _, dir := range []string{"sub", "out"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := "kind: Pod\nspec: {containers: [{image: \"reg.example/a/b:v1\"}]}\n"
	s.write("sub/My_App..Extra.yaml", text)
	s.write("stack.yaml", "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: t, version: 1.0.0}\nplatforms: [linux/amd64]\ncomponents:\n  - name: c\n    manifests: [./sub/My_App..Extra.yaml, extra.yaml]\n")
	r, _ := s.mustResolve(s.options("l.yaml"))
	if got := imagesOf(r.Lock); got != "reg.example/a/b:v1 by manifest sub/My_App..Extra.yaml" {
		t.Errorf("images %s", got)
	}
	dg := digest.FromString(text)
	first := imageref.Ref("files.caisson.dev/c/my_app-extra.yaml:" + dg.Encoded()[:12])
	if got := r.Lock.Components[0].Manifests; len(got) != 2 || got[0] != first || len(r.Lock.Components[0].Items) != 1 {
		t.Errorf("component %+v", r.Lock.Components[0])
	}
	for _, it := range r.Lock.Items {
		raw, _ := lock.As[*lock.RawFile](&it)
		if it.Ref == first && (raw.Path != "sub/My_App..Extra.yaml" || raw.Digest != dg || raw.Name != "My_App..Extra.yaml") {
			t.Errorf("item %+v", raw)
		}
	}
	s.write("sub/My_App..Extra.yaml", "a: b: c\n")
	if err := os.Remove(filepath.Join(s.dir, "extra.yaml")); err != nil {
		t.Fatal(err)
	}
	var problems Problems
	if _, err := s.resolve(s.options("l.yaml")); !errors.As(err, &problems) || len(problems) != 2 || problems[0].Line != 7 {
		t.Errorf("two bad manifests: %v", err)
	}
}

func TestManifestBesideAnotherFolder(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	if err := os.Mkdir(filepath.Join(s.dir, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, _ := s.mustResolve(s.options("out/l.yaml"))
	for _, it := range r.Lock.Items {
		if raw, ok := lock.As[*lock.RawFile](&it); ok && it.Kind == lock.Manifest && raw.Path != "../extra.yaml" {
			t.Errorf("the lock leads to %s", raw.Path)
		}
	}
}

func TestFiles(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	content := strings.Repeat("x", 100_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/chunked":
			w.(http.Flusher).Flush() // no length, and no ranges
			io.WriteString(w, content)
		case "/whole":
			http.ServeContent(w, r, "whole", time.Time{}, strings.NewReader(content))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	s.write("upstreams.yaml", fmt.Sprintf("apiVersion: caisson.dev/v1alpha1\nkind: Upstreams\nrewrites: [{from: \"https://x.example\", to: %q}]\n", srv.URL))
	file := func(name, path, sum string) string {
		return fmt.Sprintf("{name: %s, url: \"https://x.example/%s\", sha256: %q}", name, path, sum)
	}
	write := func(files ...string) {
		s.write("stack.yaml", "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: t, version: 1.0.0}\nplatforms: [linux/amd64]\ncomponents:\n  - name: c\n    files:\n      - "+strings.Join(files, "\n      - ")+"\n")
	}
	good := digest.FromString(content).Encoded()
	write(file("blob", "chunked", good), file("same", "chunked", "sha256:"+good))
	r, _ := s.mustResolve(s.options("l.yaml"))
	if len(r.Lock.Items) != 2 || r.Lock.Items[0].Content.(*lock.RawFile).Size != int64(len(content)) || r.Payload != int64(len(content)) {
		t.Errorf("items %+v, payload %d", r.Lock.Items, r.Payload)
	}
	write(file("blob", "chunked", strings.Repeat("0", 64)), file("gone", "gone", good))
	_, err := s.resolve(s.options("l.yaml"))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 2 || !errors.Is(err, stack.ErrDiffers) || !strings.Contains(err.Error(), "404") {
		t.Errorf("two bad files: %v", err)
	}
	write(file("blob", "whole", good))
	s.mustResolve(s.options("l.yaml"))
	wrong := strings.Repeat("0", 64)
	write(file("blob", "whole", wrong))
	want := "the stack says sha256:" + wrong + ", the upstream gives sha256:" + good + ": do not use it before asking"
	if _, err = s.resolve(s.options("l.yaml")); !errors.Is(err, stack.ErrDiffers) || !strings.Contains(err.Error(), want) {
		t.Errorf("a file whose length is known, and whose digest is another: %v", err)
	}
}

func TestDemoSurvivesFaults(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	_, want := s.mustResolve(s.options("l.yaml"))
	for _, f := range []upstreamtest.Fault{
		{Kind: upstreamtest.Status, Status: 503, Times: 4},
		{Kind: upstreamtest.Status, Status: 429, RetryAfter: "0", Times: 4},
		{Kind: upstreamtest.Drop, After: 10, Times: 4},
		{Kind: upstreamtest.Corrupt, After: 10, Times: 1, Match: regexp.MustCompile(`/blobs/sha256:`)},
		{Kind: upstreamtest.Corrupt, After: 10, Times: 1, Match: regexp.MustCompile(`/manifests/sha256:`)},
	} {
		armed := s.Fault(f)
		if _, got := s.mustResolve(s.options("l.yaml")); !bytes.Equal(got, want) {
			t.Errorf("%s changed the lock", f.Kind)
		}
		if armed.Hits() == 0 {
			t.Errorf("%s never happened", f.Kind)
		}
		s.ClearFaults()
	}
	retries := 0
	for _, e := range s.events.Events() {
		if e.Kind == event.Retry && e.Verb == "resolve" {
			retries++
		}
	}
	if retries == 0 {
		t.Error("no retry was told")
	}
}

func TestFailureLeavesTheOldLock(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	_, want := s.mustResolve(s.options("l.yaml"))
	s.Fault(upstreamtest.Fault{Kind: upstreamtest.Status, Status: 404, Match: regexp.MustCompile("/manifests/1.2.3$")})
	if _, err := s.resolve(s.options("l.yaml")); err == nil {
		t.Fatal("resolved")
	}
	got, err := os.ReadFile(filepath.Join(s.dir, "l.yaml"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the lock changed: %v", err)
	}
	starts, ends := 0, 0
	for _, e := range s.events.Events() {
		switch e.Kind {
		case event.Start:
			starts++
		case event.End:
			ends++
		}
	}
	if starts != ends {
		t.Errorf("%d starts, %d ends", starts, ends)
	}
}

func TestCancel(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	armed := s.Fault(upstreamtest.Fault{Kind: upstreamtest.Stall, Match: regexp.MustCompile("^/v2/.*/manifests/")})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-armed.Fired()
		cancel()
	}()
	if _, err := Run(ctx, s.options("l.yaml"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAdvanceChangesTheLock(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	_, before := s.mustResolve(s.options("l.yaml"))
	if err := s.Advance(); err != nil {
		t.Fatal(err)
	}
	r, after := s.mustResolve(s.options("l.yaml"))
	if bytes.Equal(before, after) {
		t.Error("the tag moved and the lock did not")
	}
	for _, it := range r.Lock.Items {
		if it.Ref == "ghcr.io/acme/web:1.2.3" && it.Digest != s.Digest(string(it.Ref)) {
			t.Errorf("%s is %s", it.Ref, it.Digest)
		}
	}
}

func TestPlatformOption(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	s.write("stack.yaml", strings.Replace(string(s.StackYAML()), "      - quay.io/acme/tool:1\n", "      - ghcr.io/acme/web:1.2.3\n    allow: [{code: egress/image, match: \"quay.io/acme/tool:1\", reason: not used in this test}]\n", 1))
	opt := s.options("l.yaml")
	opt.Platforms = []string{"linux/arm64", "linux/amd64", "linux/arm64/v8"}
	r, _ := s.mustResolve(opt)
	if strings.Join(r.Lock.Platforms, " ") != "linux/amd64 linux/arm64" {
		t.Errorf("platforms %v", r.Lock.Platforms)
	}
	if got := carried(r.Lock, "ghcr.io/acme/web:1.2.3"); got != ",linux/amd64,linux/arm64,attestation,attestation" {
		t.Errorf("carried %q", got)
	}
	opt.Platforms = []string{"nonsense"}
	if _, err := s.resolve(opt); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%v", err)
	}
}
