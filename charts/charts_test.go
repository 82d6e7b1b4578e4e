package charts_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kyaml "sigs.k8s.io/yaml"

	"github.com/caisson/caisson/charts"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/document"
)

var update = flag.Bool("update", false, "write the golden files")

// kubernetes are the versions that charts are rendered for.
var kubernetes = []string{"1.33.0", "1.36.0"}

func openChart(t *testing.T, name string) *chart.Chart {
	t.Helper()
	folder, ok := charts.FS(name)
	if !ok {
		t.Fatalf("there is no chart %s", name)
	}
	var files []*loader.BufferedFile
	err := fs.WalkDir(folder, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(folder, path)
		files = append(files, &loader.BufferedFile{Name: path, Data: data})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		t.Fatalf("chart %s: %v", name, err)
	}
	return c
}

// render renders a chart as stock Helm does, its schema checked, for a release of the
// given name in namespace "there".
func render(t *testing.T, name, release string, values map[string]any, version string) (map[string]string, error) {
	t.Helper()
	c := openChart(t, name)
	caps := chartutil.DefaultCapabilities.Copy()
	v, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	caps.KubeVersion = *v
	if !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, v.Version) {
		t.Fatalf("chart %s is not for Kubernetes %s", name, version)
	}
	options := chartutil.ReleaseOptions{Name: release, Namespace: "there", Revision: 1, IsInstall: true}
	top, err := chartutil.ToRenderValues(c, plain(t, values), options, caps)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, top)
}

// plain gives values the types that YAML would have given them.
func plain(t *testing.T, values map[string]any) map[string]any {
	t.Helper()
	data, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := kyaml.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// text is what was rendered, file by file.
func text(files map[string]string) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if body := strings.TrimSpace(files[name]); body != "" && !strings.Contains(path.Base(name), "_") {
			fmt.Fprintf(&out, "# %s\n%s\n", strings.TrimPrefix(name[strings.Index(name, "/"):], "/templates/"), body)
		}
	}
	return out.String()
}

func objectsOf(t *testing.T, files map[string]string) (out []*unstructured.Unstructured) {
	t.Helper()
	for name, body := range files {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		objects, err := kube.Parse([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, objects...)
	}
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int {
		return strings.Compare(a.GetKind()+"/"+a.GetName(), b.GetKind()+"/"+b.GetName())
	})
	return out
}

// mustRender is what a chart renders to.
func mustRender(t *testing.T, name string, values map[string]any) []*unstructured.Unstructured {
	t.Helper()
	files, err := render(t, name, "trial", values, kubernetes[0])
	if err != nil {
		t.Fatal(err)
	}
	return objectsOf(t, files)
}

// a use is a chart with values that somebody could have.
type use struct {
	chart, name string
	values      map[string]any
}

// uses are the charts without values, and with those of each file of testdata/values.
func uses(t *testing.T) (out []use) {
	t.Helper()
	for _, name := range charts.Names() {
		out = append(out, use{chart: name, name: "default"})
		paths, err := filepath.Glob(filepath.Join("testdata", "values", name, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			values := map[string]any{}
			if err := kyaml.UnmarshalStrict(data, &values); err != nil {
				t.Fatalf("%s: %v", p, err)
			}
			out = append(out, use{chart: name, name: strings.TrimSuffix(filepath.Base(p), ".yaml"), values: values})
		}
	}
	return out
}

func TestNames(t *testing.T) {
	want := []string{
		"feature-store", "gpu-probe", "gpu-queues", "model-serving", "node-agent", "site-hub", "training-runtimes",
	}
	if got := charts.Names(); !slices.Equal(got, want) {
		t.Errorf("the charts are %q", got)
	}
	for _, name := range []string{"", ".", "..", "nobody", "site-hub/templates", "/site-hub", "site-hub/"} {
		if _, ok := charts.FS(name); ok {
			t.Errorf("%q is said to be a chart", name)
		}
	}
}

// TestGolden: what each use renders to, for both versions of Kubernetes. They have to
// render alike; nothing here depends on the version.
func TestGolden(t *testing.T) {
	for _, u := range uses(t) {
		t.Run(u.chart+"/"+u.name, func(t *testing.T) {
			golden := filepath.Join("testdata", "golden", u.chart, u.name+".yaml")
			for _, version := range kubernetes {
				files, err := render(t, u.chart, "trial", u.values, version)
				if err != nil {
					t.Fatal(err)
				}
				got := text(files)
				objectsOf(t, files)
				if *update {
					writeGolden(t, golden, got)
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("for Kubernetes %s it is not %s; see what changed with -update and git diff:\n%s", version, golden, got)
				}
			}
		})
	}
}

func writeGolden(t *testing.T, golden, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestChartsSayWhatTheyAre(t *testing.T) {
	for _, name := range charts.Names() {
		m := openChart(t, name).Metadata
		if m.Name != name || m.Version != "0.1.0" || m.Type != "application" || m.Description == "" || m.KubeVersion == "" {
			t.Errorf("%s: %+v", name, m)
		}
		if facts, ok := m.Annotations["caisson.dev/site-facts"]; ok {
			for _, f := range strings.Fields(facts) {
				if !slices.Contains(lock.SiteFacts(), f) {
					t.Errorf("%s wants %s, which caisson plan does not give", name, f)
				}
			}
		}
	}
}

// TestValuesAreExplained: something is said of each key at the top of values.yaml.
func TestValuesAreExplained(t *testing.T) {
	for _, name := range charts.Names() {
		folder, _ := charts.FS(name)
		data, err := fs.ReadFile(folder, "values.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		top := doc.Content[0]
		for i := 0; i < len(top.Content); i += 2 {
			if key := top.Content[i]; key.HeadComment == "" && (i > 0 || doc.HeadComment == "") {
				t.Errorf("%s: nothing is said of %s", name, key.Value)
			}
		}
	}
}

// TestSchemasAreStrict: wherever a schema knows an object's keys, it takes no other.
func TestSchemasAreStrict(t *testing.T) {
	for _, name := range charts.Names() {
		c := openChart(t, name)
		var schema any
		if err := json.Unmarshal(c.Schema, &schema); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		findOpenObjects(schema, "", func(at string) { t.Errorf("%s: the schema takes any key at %s", name, at) })
		if _, err := render(t, name, "trial", map[string]any{"unknown": 1}, kubernetes[0]); err == nil {
			t.Errorf("%s takes a value that it does not know", name)
		}
		for key := range c.Values {
			if !strings.Contains(string(c.Schema), `"`+key+`":`) {
				t.Errorf("%s: the schema does not know %s", name, key)
			}
		}
	}
}

func findOpenObjects(schema any, at string, report func(at string)) {
	switch s := schema.(type) {
	case map[string]any:
		_, closed := s["additionalProperties"]
		if _, known := s["properties"].(map[string]any); known && s["type"] == "object" && !closed {
			report(at)
		}
		for key, below := range s {
			findOpenObjects(below, at+"/"+key, report)
		}
	case []any:
		for _, below := range s {
			findOpenObjects(below, at, report)
		}
	}
}

// everyFact is what caisson plan may give below site.
func everyFact() map[string]any {
	return map[string]any{"site": map[string]any{
		"gpus": manyKinds, "models": []any{tiny, seven},
		"kubernetes": map[string]any{"imageVolumes": true},
		"hub":        "http://hub.example:8080", "storageClass": "fast",
		"reserved": map[string]any{"nvidia-l4-shared": 1}, "queueNamespaces": []any{"radiology"},
	}}
}

func TestChartsTakeEveryFact(t *testing.T) {
	for _, name := range charts.Names() {
		if openChart(t, name).Metadata.Annotations["caisson.dev/site-facts"] == "" {
			continue
		}
		if _, err := render(t, name, "trial", everyFact(), kubernetes[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTemplatesDecideAlone: a template asks no cluster, rolls no dice and reads no
// clock, so that what was checked is what is applied.
func TestTemplatesDecideAlone(t *testing.T) {
	chance := regexp.MustCompile(`(^|[^$.\w])(lookup|rand[A-Z]\w*|gen[A-Z]\w*|uuidv4|now|htpasswd|bcrypt|getHostByName|env|expandenv)\b`)
	for _, name := range charts.Names() {
		for _, f := range openChart(t, name).Templates {
			for _, action := range regexp.MustCompile(`(?s)\{\{.*?\}\}`).FindAllString(string(f.Data), -1) {
				if found := chance.FindString(action); found != "" {
					t.Errorf("%s/%s: %s in %s", name, f.Name, found, action)
				}
			}
		}
	}
}

// TestImagesArePinned: no image is without a tag or digest, none has a moving one, and
// each can be set.
func TestImagesArePinned(t *testing.T) {
	written := regexp.MustCompile(`(?m)^\s*(?:- )?(?:image|imageName|initImage): "?([^\s"{]+)"?`)
	pinned := regexp.MustCompile(`(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})$`)
	for _, name := range charts.Names() {
		files, err := render(t, name, "trial", nil, kubernetes[0])
		if err != nil {
			t.Fatal(err)
		}
		folder, _ := charts.FS(name)
		values, err := fs.ReadFile(folder, "values.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range written.FindAllStringSubmatch(text(files), -1) {
			if image := m[1]; !pinned.MatchString(image) || strings.HasSuffix(image, ":latest") {
				t.Errorf("%s names the image %s", name, image)
			} else if !strings.Contains(string(values), image) {
				t.Errorf("%s: no value sets the image %s", name, image)
			}
		}
	}
}

// TestImagesAreSeen: the walk by which caisson resolve finds images sees those that a
// chart's own values name. What a site says comes later, and must need no other image.
func TestImagesAreSeen(t *testing.T) {
	for _, u := range uses(t) {
		seen := imagesSeen(t, u)
		for _, image := range imagesSet(t, u) {
			if !slices.Contains(seen, image) {
				t.Errorf("%s/%s: %s is not seen", u.chart, u.name, image)
			}
		}
	}
}

func imagesSeen(t *testing.T, u use) (refs []string) {
	t.Helper()
	files, err := render(t, u.chart, "trial", u.values, kubernetes[0])
	if err != nil {
		t.Fatal(err)
	}
	var docs []document.Document
	for name, body := range files {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		found, err := document.Split(name, body)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, found...)
	}
	sites, err := document.Read(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range document.Images(sites) {
		refs = append(refs, s.Ref)
	}
	return refs
}

// imagesSet are the images that values name, but for those below a key that is not
// enabled, or whose part another image plays.
func imagesSet(t *testing.T, u use) []string {
	t.Helper()
	all, err := chartutil.CoalesceValues(openChart(t, u.chart), u.values)
	if err != nil {
		t.Fatal(err)
	}
	if repository, ok := all["repository"].(map[string]any); ok && repository["image"] != "" {
		delete(all, "image") // the definitions' image runs instead
	}
	return imagesBelow(all.AsMap())
}

func imagesBelow(values map[string]any) (out []string) {
	if values["enabled"] == false {
		return nil
	}
	for key, v := range values {
		switch v := v.(type) {
		case map[string]any:
			if key != "site" {
				out = append(out, imagesBelow(v)...)
			}
		case string:
			if v != "" && (key == "image" || strings.HasSuffix(key, "Initializer")) {
				out = append(out, v)
			}
		}
	}
	return out
}
