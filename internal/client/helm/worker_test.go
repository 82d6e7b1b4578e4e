package helm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
)

// workerArgument makes the test program a worker.
const workerArgument = "render-worker"

func work() int {
	debug.SetMaxStack(16 << 20)
	if err := Work(context.Background(), os.Stdin, os.Stdout); err != nil {
		return 1
	}
	return 0
}

func worker(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, workerArgument}
}

func TestAWorkerRendersTheSame(t *testing.T) {
	c := load(t, family())
	opt := RenderOptions{Release: "r", Namespace: "n", KubeVersion: "1.33", APIVersions: []string{"a.example/v1"},
		Values: map[string]any{"whole": int64(12345678), "big": 1 << 52, "list": []any{1, "a", nil}}}
	want := render(t, c, opt)
	opt.Worker = worker(t)
	if got := render(t, c, opt); !reflect.DeepEqual(got, want) {
		t.Errorf("a worker renders\n%s\nnot\n%s", sources(got), sources(want))
	}
}

func TestAWorkerSaysTheSame(t *testing.T) {
	for name, text := range map[string]string{"fail": `{{ fail "set secret" }}`, "output": `a: {{ repeat 70000000 "x" }}`} {
		c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": text})
		_, here := Render(context.Background(), c, RenderOptions{})
		_, there := Render(context.Background(), c, RenderOptions{Worker: worker(t)})
		if here == nil || there == nil || here.Error() != there.Error() || errors.Is(here, ErrTooLarge) != errors.Is(there, ErrTooLarge) {
			t.Errorf("%s: %v from a worker, %v here", name, there, here)
		}
	}
}

// TestTemplatesBringDownOnlyTheirWorker: each of these ends the process that
// renders it, and nothing in Go could stop it from inside.
func TestTemplatesBringDownOnlyTheirWorker(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "values.yaml": "x: '{{ tpl .Values.x . }}'\n", "templates/a.yaml": "a: {{ tpl .Values.x . }}"})
	_, err := Render(context.Background(), c, RenderOptions{Worker: worker(t)})
	if !errors.Is(err, ErrWorker) || !strings.Contains(err.Error(), "rendering chart demo 1.0.0") || !strings.Contains(err.Error(), "stack") {
		t.Errorf("a template without end: %v", err)
	}
}

func TestWorkerRefusesWhatIsNoQuestion(t *testing.T) {
	for _, q := range []string{"", "{", `{"archive":7}`} {
		if err := Work(context.Background(), strings.NewReader(q), &bytes.Buffer{}); err == nil {
			t.Errorf("%q was answered", q)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo")})
	for _, answer := range []string{"", "nonsense", `{"documents":"x"}`, `{"question":{"kind":"Secret"}}`} {
		if _, err := converse(t.Context(), io.Discard, strings.NewReader(answer), c, RenderOptions{}); !errors.Is(err, ErrWorker) {
			t.Errorf("%q: %v", answer, err)
		}
	}
	b := reply{max: 4}
	if n, err := b.Write([]byte("123456")); n != 6 || err != nil || b.String() != "1234" {
		t.Errorf("kept %q, %d, %v", b.String(), n, err)
	}
}
