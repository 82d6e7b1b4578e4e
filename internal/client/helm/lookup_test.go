package helm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
)

const asking = `secret: {{ (lookup "v1" "Secret" "n" "s").data.key }}
again: {{ (lookup "v1" "Secret" "n" "s").metadata.generation }}
names: {{ range (lookup "v1" "ConfigMap" "n" "").items }}{{ .metadata.name }} {{ end }}
nothing: {{ lookup "v1" "Namespace" "" "gone" | toJson }}
`

// TestTheParentAnswersLookups: a worker passes each question on, and templates
// see the answer as Helm shows it: whole numbers as such, nothing as an empty map.
func TestTheParentAnswersLookups(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": asking})
	for name, command := range map[string][]string{"a worker": workerCommand(t), "this process": nil} {
		var asked []string
		r := NewWorkers(command, 1).Open(c)
		made, err := r.Render(t.Context(), RenderOptions{Lookup: func(_ context.Context, q plan.Question) (map[string]any, error) {
			asked = append(asked, q.String())
			switch {
			case q.Name == "s":
				return map[string]any{"data": map[string]any{"key": "dmFsdWU="}, "metadata": map[string]any{"generation": int64(1 << 40)}}, nil
			case q.Name == "":
				item := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "one"}}
				return map[string]any{"apiVersion": "v1", "kind": "ConfigMapList", "items": []any{item}}, nil
			}
			return nil, nil
		}})
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		docs := made.Documents
		want := "secret: dmFsdWU=\nagain: 1099511627776\nnames: one \nnothing: {}\n"
		if docs[0].Source != want {
			t.Errorf("%s renders %s", name, docs[0].Source)
		}
		if want := []string{"v1/Secret n/s", "v1/Secret n/s", "v1/ConfigMap n/*", "v1/Namespace gone"}; !slices.Equal(asked, want) {
			t.Errorf("%s asked %q", name, asked)
		}
	}
}

func TestLookupsAreBounded(t *testing.T) {
	big := map[string]any{"data": strings.Repeat("x", 1<<20)}
	for name, test := range map[string]struct {
		template string
		answer   map[string]any
		want     string
	}{
		"questions": {`{{ range until 1100 }}{{ $x := lookup "v1" "Secret" "n" (toString .) }}{{ end }}a: 1`, nil, "more than 1000 questions"},
		"question":  {`a: {{ lookup "v1" "Secret" "n" (repeat 2000 "x") }}`, nil, "a question has"},
		"bytes":     {`{{ range until 100 }}{{ $x := lookup "v1" "Secret" "n" (toString .) }}{{ end }}a: 1`, big, "the answer about v1/Secret n/6"},
		"an answer": {`a: {{ lookup "v1" "Secret" "n" "s" }}`, map[string]any{"data": strings.Repeat("x", maxAnswer)}, "the answer about v1/Secret n/s"},
	} {
		c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": test.template})
		_, err := renderApart(t, c, RenderOptions{Lookup: func(context.Context, plan.Question) (map[string]any, error) { return test.answer, nil }})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "rendering chart demo 1.0.0: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAFailedAnswerFailsTheRendering: what could not be read is not nothing.
func TestAFailedAnswerFailsTheRendering(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": asking})
	refused := errors.New("the operator may not read it")
	_, err := renderApart(t, c, RenderOptions{Lookup: func(context.Context, plan.Question) (map[string]any, error) { return nil, refused }})
	if err == nil || !strings.Contains(err.Error(), refused.Error()) || !strings.Contains(err.Error(), "v1/Secret n/s") {
		t.Errorf("error is %v", err)
	}
}

// TestALaterRenderingShowsWhatTheTimeDecides holds that each part of `now` is
// another in a later rendering, and random values are others in each.
func TestALaterRenderingShowsWhatTheTimeDecides(t *testing.T) {
	var text strings.Builder
	for _, part := range []string{"2006", "01", "02", "15", "04", "05"} {
		fmt.Fprintf(&text, "t%s: {{ now | date %q }}\n", part, part)
	}
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": text.String()})
	r := workers(t).Open(c)
	defer r.Close()
	one, two := linesAt(t, r, false), linesAt(t, r, true)
	for i := range one {
		if one[i] != "" && one[i] == two[i] {
			t.Errorf("%s in both renderings", one[i])
		}
	}
	if again := linesAt(t, r, false); again[0] != one[0] {
		t.Errorf("the year is %s now, and was %s before the later rendering", again[0], one[0])
	}
}

// linesAt are the lines of the first document, now or later.
func linesAt(t *testing.T, r *Renderer, later bool) []string {
	t.Helper()
	made, err := r.Render(t.Context(), RenderOptions{Later: later})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(made.Documents[0].Source, "\n")
}
