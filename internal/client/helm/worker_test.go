package helm

import (
	"bytes"
	"context"
	"encoding/base64"
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

func workerCommand(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, workerArgument}
}

// renderApart renders once, in a process of its own.
func renderApart(t *testing.T, c *Chart, opt RenderOptions) (Rendering, error) {
	t.Helper()
	r := workers(t).Open(c)
	defer r.Close()
	return r.Render(t.Context(), opt)
}

// workers is one worker.
func workers(t *testing.T) *Workers {
	t.Helper()
	w := NewWorkers(workerCommand(t), 1)
	t.Cleanup(w.Close)
	return w
}

func TestAWorkerRendersTheSame(t *testing.T) {
	c := load(t, family())
	opt := RenderOptions{Release: "r", Namespace: "n", KubeVersion: "1.33", APIVersions: []string{"a.example/v1"},
		Values: map[string]any{"whole": int64(12345678), "big": 1 << 52, "list": []any{1, "a", nil}}}
	want := render(t, c, opt)
	got, err := renderApart(t, c, opt)
	if err != nil || !reflect.DeepEqual(got.Documents, want) {
		t.Errorf("a worker renders\n%s\nnot\n%s, %v", sources(got.Documents), sources(want), err)
	}
}

func TestAWorkerSaysTheSame(t *testing.T) {
	for name, text := range map[string]string{"fail": `{{ fail "set secret" }}`, "output": `a: {{ repeat 70000000 "x" }}`} {
		c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": text})
		_, here := Render(context.Background(), c, RenderOptions{})
		_, there := renderApart(t, c, RenderOptions{})
		if here == nil || there == nil || here.Error() != there.Error() || errors.Is(here, ErrTooLarge) != errors.Is(there, ErrTooLarge) {
			t.Errorf("%s: %v from a worker, %v here", name, there, here)
		}
	}
}

// TestTemplatesBringDownOnlyTheirWorker: each of these ends the process that
// renders it, and nothing in Go could stop it from inside.
func TestTemplatesBringDownOnlyTheirWorker(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo"), "values.yaml": "x: '{{ tpl .Values.x . }}'\n", "templates/a.yaml": "a: {{ tpl .Values.x . }}"})
	_, err := renderApart(t, c, RenderOptions{})
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
	for _, answer := range []string{"", "nonsense", `{"documents":"x"}`, `{"question":{"kind":"Secret"}}`, `{"again":{"number":0}}`, `{"again":{"number":-1}}`} {
		if err := converse(t, c, strings.NewReader(answer)); !errors.Is(err, ErrWorker) {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

// converse is what comes of a rendering that is answered so.
func converse(t *testing.T, c *Chart, answer io.Reader) error {
	t.Helper()
	p := &process{to: newEncoder(io.Discard), from: newMessages(answer)}
	r := NewWorkers(nil, 1).Open(c)
	defer r.Close()
	_, err := p.converse(t.Context(), r, RenderOptions{})
	return err
}

// TestADocumentIsOneMessage: what a worker hands over is read a document at a
// time, and takes no more room than it has.
func TestADocumentIsOneMessage(t *testing.T) {
	var text bytes.Buffer
	request := `{"archive":"` + base64.StdEncoding.EncodeToString(pack(t, "demo", files{
		"Chart.yaml":       metadata("demo"),
		"templates/a.yaml": "{{ range until 3 }}\n---\na: '{{ repeat 100000 \"<\" }}'\n{{ end }}",
	})) + `"}`
	if err := Work(t.Context(), strings.NewReader(request), &text); err != nil {
		t.Fatal(err)
	}
	if messages := strings.Count(text.String(), "\n"); messages != 4 || text.Len() > 301000 {
		t.Errorf("300000 bytes became %d in %d messages", text.Len(), messages)
	}
	long := `{"document":{"Source":"` + strings.Repeat("x", maxMessage) + `"}}`
	if err := converse(t, load(t, files{"Chart.yaml": metadata("demo")}), strings.NewReader(long)); !errors.Is(err, ErrWorker) {
		t.Errorf("a message of %d bytes: %v", len(long), err)
	}
}

// TestRenderingFollowsFewAliases: documents of a few kilobytes each stand for
// gigabytes together, here and from a worker.
func TestRenderingFollowsFewAliases(t *testing.T) {
	text := "{{ range until 24 }}\n---\na: &a [{{ repeat 4000 \"x,\" }}]\nb: [{{ repeat 95 \"*a,\" }}]\n{{ end }}"
	c := load(t, files{"Chart.yaml": metadata("demo"), "templates/a.yaml": text})
	_, here := Render(t.Context(), c, RenderOptions{})
	_, there := renderApart(t, c, RenderOptions{})
	for _, err := range []error{here, there} {
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "demo/templates/a.yaml line") {
			t.Errorf("%v", err)
		}
	}
	one := `{"document":{"Source":"a: &a [` + strings.Repeat("x,", 4000) + `]\nb: [` + strings.Repeat("*a,", 95) + `]\n"}}`
	if err := converse(t, c, strings.NewReader(strings.Repeat(one, 24))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a worker that does not check: %v", err)
	}
}
