package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/document"
)

// TestHandover: Helm may add its marks and the release's namespace, and nothing
// else to what was rendered.
func TestHandover(t *testing.T) {
	r := Rendering{Documents: []document.Document{{Template: "demo/templates/a.yaml", Source: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n"}}}
	objects, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	h := newHandover(objects, Pulls{Rewrite: func(s string) (string, bool) { return s, true }})
	for name, test := range map[string]struct {
		change func(u *unstructured.Unstructured)
		want   error
	}{
		"nothing":   {func(*unstructured.Unstructured) {}, nil},
		"namespace": {func(u *unstructured.Unstructured) { u.SetNamespace("web") }, nil},
		"marks": {func(u *unstructured.Unstructured) {
			u.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "Helm"})
			u.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "x", "meta.helm.sh/release-namespace": "web"})
		}, nil},
		"label":      {func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"x": "y"}) }, ErrHandover},
		"annotation": {func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{"helm.sh/hook": "x"}) }, ErrHandover},
		"content":    {func(u *unstructured.Unstructured) { u.Object["data"] = map[string]any{"a": "c"} }, ErrHandover},
		"name":       {func(u *unstructured.Unstructured) { u.SetName("y") }, ErrHandover},
		"kind":       {func(u *unstructured.Unstructured) { u.SetKind("Secret") }, ErrHandover},
	} {
		objects, err := r.Objects()
		if err != nil {
			t.Fatal(err)
		}
		test.change(objects[0].Unstructured)
		if err := h.check(objects[0].Unstructured); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestHandoverOfWhatIsInNoNamespace: Kueue's chart gives one to its webhooks, and
// Helm takes it away; another one is not what was rendered.
func TestHandoverOfWhatIsInNoNamespace(t *testing.T) {
	r := Rendering{Documents: []document.Document{{Template: "demo/templates/a.yaml", Source: "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: x, namespace: web}\n"}}}
	rendered, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	h := newHandover(rendered, Pulls{Rewrite: func(s string) (string, bool) { return s, true }})
	for namespace, want := range map[string]error{"": nil, "web": nil, "other": ErrHandover} {
		objects, err := r.Objects()
		if err != nil {
			t.Fatal(err)
		}
		objects[0].SetNamespace(namespace)
		if err := h.check(objects[0].Unstructured); !errors.Is(err, want) {
			t.Errorf("namespace %q: %v, want %v", namespace, err, want)
		}
	}
}

// TestWhatIsWrittenAnewIsTheSame: strings that writers of YAML get wrong,
// through all that Helm does with a rendered chart.
func TestWhatIsWrittenAnewIsTheSame(t *testing.T) {
	parts := []string{"", " ", "\n", "\t", "---", "x", "\r", "\u2028", "\u0085", "\ufeff", "{{", "}}", "#", ": ", "- ", "|", ">", "'", `"`, "\\", "%", "&a", "*a", "!!binary", "~", "null", "0x1f", "1e3", "\x7f", "\u00a0", "...", "{", "<no value", strings.Repeat("word ", 30)}
	c := load(t, files{"Chart.yaml": metadata("demo")})
	wrong := 0
	for _, a := range parts {
		for _, b := range parts {
			for _, s := range []string{a + b, a + b + "x"} {
				for at := range 3 {
					content := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x"}}
					switch at {
					case 0:
						content["data"] = map[string]any{"x": s}
					case 1:
						content["data"] = map[string]any{s: "x", "a": map[string]any{s: []any{s, s}}}
					case 2:
						content["z"+s] = s
					}
					if err := again(c, content); err != nil {
						t.Errorf("%q at %d: %v", s, at, err)
						if wrong++; wrong > 5 {
							return
						}
					}
				}
			}
		}
	}
}

func again(c *Chart, content map[string]any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	r := Rendering{Documents: []document.Document{{Template: "demo/templates/a.yaml", Source: string(data)}}}
	want, err := r.Objects()
	if err != nil {
		return nil // refused
	}
	made, err := renderedChart(c, want, "")
	if err != nil {
		return nil
	}
	top, err := chartutil.ToRenderValues(made, nil, chartutil.ReleaseOptions{}, nil)
	if err != nil {
		return err
	}
	out, err := engine.Engine{}.Render(made, top)
	if err != nil {
		return fmt.Errorf("rendering: %w", err)
	}
	hooks, generic, err := releaseutil.SortManifests(out, nil, releaseutil.InstallOrder)
	if err != nil || len(hooks) > 0 {
		return fmt.Errorf("sorting: %d hooks, %w", len(hooks), err)
	}
	var b bytes.Buffer
	for _, m := range generic {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	post, err := postRenderer{pulls: Pulls{Rewrite: func(s string) (string, bool) { return s, true }}}.Run(&b)
	if err != nil {
		return fmt.Errorf("post-rendering: %w", err)
	}
	got, err := kube.Parse(post.Bytes())
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if len(got) != 1 || !reflect.DeepEqual(got[0].Object, want[0].Object) {
		g, _ := json.Marshal(got[0].Object)
		w, _ := json.Marshal(want[0].Object)
		return fmt.Errorf("%d objects, %s, not %s", len(got), g, w)
	}
	return nil
}
