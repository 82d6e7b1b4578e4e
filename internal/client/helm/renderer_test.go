package helm

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
)

func mustRender(t *testing.T, r *Renderer, opt RenderOptions) Rendering {
	t.Helper()
	made, err := r.Render(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestRenderingsShareDocuments: what several renderings of a chart have is handed
// over, and is new, once. Where it stands is told of each.
func TestRenderingsShareDocuments(t *testing.T) {
	c := load(t, files{
		"Chart.yaml":       metadata("demo"),
		"templates/a.yaml": "{{ if .Release.IsUpgrade }}\n\n{{ end }}---\nsame: 1\n---\nupgrade: {{ .Release.IsUpgrade }}\n---\nsame: 1\n",
	})
	for name, command := range map[string][]string{"a worker": workerCommand(t), "this process": nil} {
		w := NewWorkers(command, 1)
		r := w.Open(c)
		first, second := mustRender(t, r, RenderOptions{}), mustRender(t, r, RenderOptions{Upgrade: true})
		if n, m := len(first.Documents), len(first.Fresh); n != 3 || m != 3 {
			t.Errorf("%s: %d documents at first, %d of them new", name, n, m)
		}
		if want := render(t, c, RenderOptions{Upgrade: true}); !reflect.DeepEqual(second.Documents, want) {
			t.Errorf("%s: the second time\n%+v\nnot\n%+v", name, second.Documents, want)
		}
		if n := len(second.Fresh); n != 1 || second.Fresh[0].Source != "upgrade: true\n" {
			t.Errorf("%s: the second time %d are new: %+v", name, n, second.Fresh)
		}
		r.Close()
		w.Close()
	}
}

// TestARenderingLeavesNothing: what templates change of their values and their chart
// is as it was in the next rendering, and so is it for another chart.
func TestARenderingLeavesNothing(t *testing.T) {
	text := `{{ $_ := set .Values "count" (add1 (.Values.count | int)) }}{{ $_ := set .Values.deep "x" "changed" }}
count: {{ .Values.count }}
sub: {{ include "sub.count" .Subcharts.sub }}
`
	of := func(name string) files {
		return files{
			"Chart.yaml": metadata(name, "annotations: {a: b}\ndependencies: [{name: sub, version: 1.0.0, alias: sub}]"), "values.yaml": "count: 0\ndeep: {x: y}\nlist: [{a: 1}]\n",
			"templates/a.yaml": text, "charts/sub/Chart.yaml": metadata("sub"), "charts/sub/values.yaml": "n: 0\n",
			"charts/sub/templates/_h.tpl": `{{ define "sub.count" }}{{ $_ := set .Values "n" (add1 (.Values.n | int)) }}{{ .Values.n }}{{ end }}`,
		}
	}
	one, two := load(t, of("one")), load(t, of("two"))
	w := workers(t)
	for _, c := range []*Chart{one, two, one} {
		r := w.Open(c)
		for range 2 {
			if got := mustRender(t, r, RenderOptions{}).Documents; got[0].Source != render(t, c, RenderOptions{})[0].Source {
				t.Errorf("%s renders to %s", c.Name(), got[0].Source)
			}
		}
		r.Close()
	}
	if len(w.idle) != 1 {
		t.Errorf("%d processes are left of one", len(w.idle))
	}
}

// TestWhatOneChartUsesUpHarmsNoOther: a process that ends at its second chart is
// replaced, and one that ends at its first has said why.
func TestWhatOneChartUsesUpHarmsNoOther(t *testing.T) {
	good := load(t, files{"Chart.yaml": metadata("good"), "templates/a.yaml": "a: 1\n"})
	bad := load(t, files{"Chart.yaml": metadata("bad"), "values.yaml": "x: '{{ tpl .Values.x . }}'\n", "templates/a.yaml": "a: {{ tpl .Values.x . }}"})
	w := workers(t)
	r := w.Open(good)
	mustRender(t, r, RenderOptions{})
	r.process.started.Kill() // as if the chart before had used up its time
	if docs := mustRender(t, r, RenderOptions{}).Documents; len(docs) != 1 {
		t.Errorf("a fresh process renders %d documents", len(docs))
	}
	r.Close()
	r = w.Open(bad)
	_, err := r.Render(t.Context(), RenderOptions{})
	if !errors.Is(err, ErrWorker) || !strings.Contains(err.Error(), "rendering chart bad 1.0.0") || !strings.Contains(err.Error(), "stack") {
		t.Errorf("the chart that brings processes down: %v", err)
	}
	r.Close()
	r = w.Open(good)
	defer r.Close()
	mustRender(t, r, RenderOptions{})
}

// TestAProcessThatWasToldSomethingRendersNoOtherChart: what is in the cluster is one
// chart's matter.
func TestAProcessThatWasToldSomethingRendersNoOtherChart(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": asking})
	w := workers(t)
	for _, test := range []struct {
		found map[string]any
		left  int
	}{{nil, 1}, {map[string]any{"data": map[string]any{"key": "dmFsdWU="}, "items": []any{}}, 0}} {
		r := w.Open(c)
		_, _ = r.Render(t.Context(), RenderOptions{Lookup: func(context.Context, plan.Question) (map[string]any, error) { return test.found, nil }})
		r.Close()
		if len(w.idle) != test.left {
			t.Errorf("told %v, %d processes are left", test.found, len(w.idle))
		}
	}
}

func TestARenderingWaitsForAWorker(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": "a: 1\n"})
	w := workers(t)
	r, other := w.Open(c), w.Open(c)
	mustRender(t, r, RenderOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := other.Render(ctx, RenderOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the one worker was had twice: %v", err)
	}
	r.Close()
	mustRender(t, other, RenderOptions{})
	other.Close()
	if again := mustRender(t, r, RenderOptions{}); len(again.Documents) != 1 || len(again.Fresh) != 0 {
		t.Errorf("after another chart %d documents are rendered, %d of them new", len(again.Documents), len(again.Fresh))
	}
	r.Close()
}
