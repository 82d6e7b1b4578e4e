package helm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chart"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
)

// TestHelmEvaluatesNothing: what was rendered may look like a template; Helm,
// which runs in the installing process, must not take it for one.
func TestHelmEvaluatesNothing(t *testing.T) {
	c, ns := cluster(t)
	e := NewEngine(c, ns, Pulls{Rewrite: known}, nil)
	chart := packChart(t, "web", "1.0.0", map[string]string{
		"templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n" +
			"  bomb: {{ .Values.bomb | quote }}\n  lookup: {{ .Values.lookup | quote }}\n",
		"templates/NOTES.txt": "hello {{ .Release.Name }} {{ `{{ .Values }}` }}",
	})
	bomb, asks := "\"{{ range until 1000000000 }}{{ end }} {{ .Release.Name }} }} \\\" ` ---", `{{ lookup "v1" "Namespace" "" "kube-system" }}`
	spec := rendered(t, ns, Spec{Name: "web", Chart: chart, Values: map[string]any{"bomb": bomb, "lookup": asks}, Timeout: time.Minute})
	if _, err := e.Install(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	u, err := c.Get(t.Context(), object.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	data := u.Object["data"].(map[string]any)
	if data["bomb"] != bomb || data["lookup"] != asks {
		t.Errorf("applied %q", data)
	}
	rls, err := e.storage().Last("web")
	if err != nil {
		t.Fatal(err)
	}
	if rls.Info.Notes != "hello web {{ .Values }}" || rls.Chart.Metadata.Version != "1.0.0" {
		t.Errorf("stored %q of %s", rls.Info.Notes, rls.Chart.Metadata.Version)
	}
}

// chartOf is the chart that Helm is given for a rendering.
func chartOf(c *Chart, r Rendering) (*chart.Chart, error) {
	objects, err := r.Objects()
	if err != nil {
		return nil, err
	}
	return renderedChart(c, objects, r.Notes)
}

// TestWhatIsCheckedIsWhatIsInstalled: objects that Helm finds in a text and a
// reader of YAML does not, and text that Helm changes after it was looked at.
func TestWhatIsCheckedIsWhatIsInstalled(t *testing.T) {
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for name, text := range map[string]string{
		"a second document on its separator's line": configMap + "--- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n",
		"text that Helm removes":                    configMap + "data:\n  x: a<no\n    value>b\n",
	} {
		chart := packChart(t, "web", "1.0.0", map[string]string{"templates/a.yaml": text})
		_, err := chartOf(chart, rendered(t, "n", Spec{Name: "web", Chart: chart}).Rendering)
		if !errors.Is(err, ErrAmbiguousText) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestARenderedChartKeepsItsOrder: hooks, weights and sub-charts come to Helm as
// they were.
func TestARenderedChartKeepsItsOrder(t *testing.T) {
	chart := load(t, family())
	r, err := Render(t.Context(), chart, RenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range r.Documents {
		r.Documents[i].Source = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '" + strings.ReplaceAll(d.Template, "'", "") + "'}\n"
	}
	made, err := chartOf(chart, r)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range made.Templates {
		names = append(names, f.Name)
	}
	want := "charts/present/templates/a.yaml charts/twin/templates/a.yaml templates/all.yaml templates/NOTES.txt"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("templates are %s", got)
	}
	if len(made.Dependencies()) != 0 || made.Metadata.Dependencies != nil || made.Values["drop"] == nil {
		t.Errorf("chart is %+v", made.Metadata)
	}
}

// TestNullsAreDropped: a field without a value is no map. helm install and kubectl
// create leave it out; server-side apply would keep the null, and be refused.
func TestNullsAreDropped(t *testing.T) {
	c, ns := cluster(t)
	e := NewEngine(c, ns, Pulls{Rewrite: known}, nil)
	strict := strings.Replace(crd, "x-kubernetes-preserve-unknown-fields: true", "properties: {spec: {type: object, properties: {inner: {type: object, properties: {x: {type: string}}}}}}", 1)
	chart := packChart(t, "web", "1.0.0", map[string]string{
		"crds/a.yaml":      strings.ReplaceAll(strict, "%[1]s", "nulls"),
		"templates/w.yaml": "apiVersion: nulls.caisson.dev/v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  inner:\n",
	})
	spec := rendered(t, ns, Spec{Name: "web", Chart: chart, Timeout: time.Minute})
	crds, err := spec.Rendering.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ApplyCRDs(t.Context(), crds, kube.ApplyOptions{Owner: "demo/web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Install(t.Context(), spec); err != nil {
		t.Error(err)
	}
}
