package upstreamtest_test

import (
	"bytes"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/getter"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

func pullChart(t *testing.T, up *upstreamtest.Upstream, ref string) *chart.Chart {
	t.Helper()
	c, err := registry.NewClient(registry.ClientOptPlainHTTP())
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := c.Pull(up.Addresses().Registry + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := loader.LoadArchive(bytes.NewReader(pulled.Chart.Data))
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// render returns all rendered templates of a chart in one text.
func render(t *testing.T, c *chart.Chart, kubernetes string) string {
	t.Helper()
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: "v" + kubernetes + ".0", Major: "1", Minor: kubernetes[2:]}
	values, err := chartutil.ToRenderValues(c, nil, chartutil.ReleaseOptions{Name: "r", Namespace: "n"}, capabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, values)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, text := range files {
		all.WriteString(text)
	}
	return all.String()
}

func TestWebRendersByKubernetesVersion(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	web := pullChart(t, up, "ghcr.io/acme/charts/web:1.2.3")
	for version, want := range map[string]string{"1.33": "quay.io/acme/proxy:2.0.0", "1.36": "quay.io/acme/proxy:2.1.0"} {
		text := render(t, web, version)
		if !strings.Contains(text, want) || strings.Count(text, "quay.io/acme/proxy:") != 1 || !strings.Contains(text, "ghcr.io/acme/web:1.2.3") {
			t.Errorf("at %s:\n%s", version, text)
		}
	}
}

func TestRegistryCharts(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	certs := pullChart(t, up, "ghcr.io/acme/charts/certs:0.4.0")
	if len(certs.CRDObjects()) != 1 || !strings.Contains(render(t, certs, "1.33"), "kind: Certificate") {
		t.Errorf("certs has %d CRDs", len(certs.CRDObjects()))
	}
	tool := pullChart(t, up, "ghcr.io/acme/charts/tool:1.0.0+acme.1")
	if tool.Metadata.Version != "1.0.0+acme.1" || !strings.Contains(render(t, tool, "1.33"), "ghcr.io/acme/tool:1") {
		t.Errorf("tool %s", tool.Metadata.Version)
	}
}

func TestChartRepository(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	url := "http://" + up.Addresses().Charts + "/stable"
	getters := getter.Providers{{Schemes: []string{"http"}, New: getter.NewHTTPGetter}}
	r, err := repo.NewChartRepository(&repo.Entry{Name: "stable", URL: url}, getters)
	if err != nil {
		t.Fatal(err)
	}
	r.CachePath = t.TempDir()
	file, err := r.DownloadIndexFile()
	if err != nil {
		t.Fatal(err)
	}
	index, err := repo.LoadIndexFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{"0.9.0": "old-0.9.0.tgz", "0.8.0": "https://charts.acme.example/stable/old-0.8.0.tgz"} {
		entry, err := index.Get("old", version)
		if err != nil || entry.URLs[0] != want {
			t.Fatalf("%s: %v, %v", version, entry, err)
		}
		checkArchive(t, get(t, url+"/old-"+version+".tgz").body, entry)
	}
}

func checkArchive(t *testing.T, archive []byte, entry *repo.ChartVersion) {
	t.Helper()
	old, err := loader.LoadArchive(bytes.NewReader(archive))
	if err != nil || old.Metadata.Version != entry.Version || sha(archive) != entry.Digest {
		t.Fatalf("%s: %v", entry.Version, err)
	}
	if !strings.Contains(render(t, old, "1.33"), `"acme/old:0.9.0"`) {
		t.Error("another image")
	}
}
