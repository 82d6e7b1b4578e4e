package helm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/document"
)

func rewritten(t *testing.T, text string, pulls Pulls) (string, error) {
	t.Helper()
	objects, err := kube.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	err = RewriteObject(objects[0], pulls)
	out, e := yaml.Marshal(objects[0].Object)
	if e != nil {
		t.Fatal(e)
	}
	return string(out), err
}

var aaaa = "@sha256:" + strings.Repeat("a", 64)

func TestRewriteObject(t *testing.T) {
	for name, c := range map[string]struct {
		text         string
		want, unwant []string
	}{
		"pods anywhere": {
			text: "apiVersion: x.dev/v1\nkind: Odd\nmetadata: {name: a}\nspec: {deep: [{template: {spec: {initContainers: [{image: ghcr.io/acme/i:1}], containers: [{image: ghcr.io/acme/c:1}]}}}]}\n",
			want: []string{"site.example/ghcr.io/acme/i" + aaaa, "site.example/ghcr.io/acme/c" + aaaa}, unwant: []string{"acme/i:1", "acme/c:1"},
		},
		"image volumes": {
			text: "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: ghcr.io/acme/c:1}], volumes: [{name: m, image: {reference: ghcr.io/acme/model:1}}]}\n",
			want: []string{"reference: site.example/ghcr.io/acme/model" + aaaa},
		},
		"custom resources": {
			text: "apiVersion: x.dev/v1\nkind: Server\nmetadata: {name: a}\nspec: {image: ghcr.io/acme/s:1}\n",
			want: []string{"image: site.example/ghcr.io/acme/s" + aaaa},
		},
		"split references": {
			text: "apiVersion: nvidia.com/v1\nkind: ClusterPolicy\nmetadata: {name: a}\nspec: {driver: {repository: ghcr.io/acme, image: driver, version: \"1\"}}\n",
			want: []string{"repository: site.example/ghcr.io/acme", "image: driver", "version: sha256:" + strings.Repeat("a", 64)},
		},
		"env, args and command": {
			text: "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: ghcr.io/acme/c:1, env: [{name: A, value: ghcr.io/acme/e:1}, {name: B, value: see ghcr.io/acme/e:1}], args: [--x=ghcr.io/acme/a:1, ghcr.io/acme/b:1, --y=other/z:1], command: [ghcr.io/acme/d:1]}]}\n",
			want: []string{"value: site.example/ghcr.io/acme/e" + aaaa, "--x=site.example/ghcr.io/acme/a" + aaaa, "- site.example/ghcr.io/acme/b" + aaaa, "- site.example/ghcr.io/acme/d" + aaaa, "value: see ghcr.io/acme/e:1", "--y=other/z:1"},
		},
		"what is no image": {
			text: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {image: logo.png, note: see ghcr.io/acme/x:1, uri: \"oci://ghcr.io/acme/x:1\", storageUri: ghcr.io/acme/x:1, other: quay.io/other/x:1}\n",
			want: []string{"image: logo.png", "note: see ghcr.io/acme/x:1", "uri: oci://ghcr.io/acme/x:1", "storageUri: ghcr.io/acme/x:1", "other: quay.io/other/x:1"},
		},
		"strings of a ConfigMap": {
			text: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {x: ghcr.io/acme/note:1}}\ndata:\n  plain: ghcr.io/acme/plain:1\n  _example: |\n    image: ghcr.io/acme/example:1\n" +
				"  agent: |-\n    {\n        \"image\" : \"ghcr.io/acme/agent:1\",\n        \"cpu\": \"1\", \"doc\": \"see ghcr.io/acme/doc:1\"\n    }\n" +
				"  art: '{\"image\": \"ghcr.io/acme/art\", \"defaultImageVersion\": \"1\"}'\n" +
				"  runtime.yaml: |\n    # ghcr.io/acme/comment:1\n    containers:\n    - image:   ghcr.io/acme/run:1   # ghcr.io/acme/run:12\n      args: [--x=ghcr.io/acme/flag:1]\n    config: |\n      {\"image\": \"ghcr.io/acme/deep:1\"}\n" +
				"  template: |\n    {{ if .X }}\n    image: ghcr.io/acme/tpl:1\n    {{ end }}\n",
			want: []string{"plain: site.example/ghcr.io/acme/plain" + aaaa, "\"image\" : \"site.example/ghcr.io/acme/agent" + aaaa + "\",", "see ghcr.io/acme/doc:1", "\"site.example/ghcr.io/acme/art\", \"defaultImageVersion\": \"1" + aaaa,
				"# ghcr.io/acme/comment:1", "- image:   site.example/ghcr.io/acme/run" + aaaa + "   # ghcr.io/acme/run:12", "--x=site.example/ghcr.io/acme/flag" + aaaa,
				"{\"image\": \"site.example/ghcr.io/acme/deep" + aaaa, "    image: ghcr.io/acme/example:1", "image: site.example/ghcr.io/acme/tpl" + aaaa, "x: ghcr.io/acme/note:1"},
		},
		"repository and tag": {
			text: "apiVersion: x.dev/v1\nkind: Server\nmetadata: {name: a}\nspec: {one: {repository: ghcr.io/acme/one, tag: \"1\"}, two: {registry: ghcr.io, repository: acme/two, tag: \"1\"}, git: {repository: acme/content, tag: \"1\"}, imageName: ghcr.io/acme/named:1}\n",
			want: []string{"repository: site.example/ghcr.io/acme/one", "tag: 1" + aaaa, "registry: site.example", "repository: ghcr.io/acme/two", "repository: acme/content\n    tag: \"1\"\n", "imageName: site.example/ghcr.io/acme/named" + aaaa},
		},
		"a split reference the site lacks": {
			text: "apiVersion: nvidia.com/v1\nkind: ClusterPolicy\nmetadata: {name: a}\nspec: {driver: {repository: nvcr.io/nvidia, image: driver, version: \"580.1\"}}\n",
			want: []string{"repository: nvcr.io/nvidia\n", "version: \"580.1\""},
		},
		"definitions": {
			text: "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\nspec: {image: docker.io/other/x:9}\n",
			want: []string{"image: docker.io/other/x:9"},
		},
		"schemas": {
			text: "apiVersion: x.dev/v1\nkind: Odd\nmetadata: {name: a}\nopenAPIV3Schema: {properties: {image: {default: docker.io/other/x:9}}}\n",
			want: []string{"docker.io/other/x:9"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rewritten(t, c.text, Pulls{Rewrite: known})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("%q is missing in\n%s", w, got)
				}
			}
			for _, w := range c.unwant {
				if strings.Contains(got, w) {
					t.Errorf("%q is left in\n%s", w, got)
				}
			}
			again, err := rewritten(t, got, Pulls{Rewrite: known})
			if err != nil || again != got {
				t.Errorf("rewriting twice differs: %v\n%s", err, again)
			}
		})
	}
}

func TestRewriteObjectNamesEveryUnknownImage(t *testing.T) {
	_, err := rewritten(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: ns}\nspec: {template: {spec: {containers: [{image: evil/x:1}, {image: ghcr.io/acme/ok:1}, {image: evil/y}]}}}\n", Pulls{Rewrite: known})
	var one *UnknownImageError
	if !errors.Is(err, ErrUnknownImage) || !errors.As(err, &one) || one.Object.Name != "a" {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{"evil/x:1", "evil/y", "spec.template.spec.containers[0].image", "Deployment ns/a"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}

func TestPullSecretIsAddedOnce(t *testing.T) {
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: ghcr.io/acme/c:1}], imagePullSecrets: [{name: theirs}]}\n"
	got, err := rewritten(t, text, Pulls{Rewrite: known, Secret: "ours"})
	if err != nil {
		t.Fatal(err)
	}
	got, err = rewritten(t, got, Pulls{Rewrite: known, Secret: "ours"})
	if err != nil || strings.Count(got, "name: ours") != 1 || strings.Count(got, "name: theirs") != 1 {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestPostRendererKeepsSourcesAndDropsDefinitions(t *testing.T) {
	in := "---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n# Source: web/templates/b.yaml\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: b}\n"
	out, err := postRenderer{Pulls{Rewrite: known}, []string{"b"}}.Run(bytes.NewBufferString(in))
	if err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "# Source: web/templates/a.yaml\n") || strings.Contains(got, "CustomResourceDefinition") {
		t.Errorf("rendered\n%s", got)
	}
}

// Whatever is rendered, afterwards no container runs an image of elsewhere, or
// there was an error.
func FuzzRewriteObject(f *testing.F) {
	f.Add("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: ghcr.io/acme/c:1}]}\n")
	f.Add("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: evil/c}], volumes: [{image: {reference: x}}]}\n")
	f.Add("apiVersion: x/v1\nkind: X\nmetadata: {name: a}\nspec: {repository: ghcr.io/acme, image: d, tag: 1}\n")
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := kube.Parse([]byte(text))
		if err != nil {
			return
		}
		for _, u := range objects {
			if RewriteObject(u, Pulls{Rewrite: known, Secret: "s"}) != nil || kube.IsCRD(u) {
				continue
			}
			list, _, _ := unstructured.NestedSlice(u.Object, "spec", "containers")
			for _, e := range list {
				m, _ := e.(map[string]any)
				if image, _ := m["image"].(string); strings.TrimSpace(image) != "" && !strings.HasPrefix(image, "site.example/") {
					t.Errorf("a container still runs %q", image)
				}
			}
		}
	})
}

func TestPostRendererRefusesAnUnplannedDefinition(t *testing.T) {
	in := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: b}\n"
	_, err := postRenderer{Pulls{Rewrite: known}, []string{"a"}}.Run(bytes.NewBufferString(in))
	if !errors.Is(err, ErrUnplannedCRD) || !strings.HasPrefix(err.Error(), "b:") {
		t.Errorf("error is %v", err)
	}
}

func TestRewriteObjectRefusesWhatItCannotSearchWhole(t *testing.T) {
	const deepest = 200
	nested := func(depth int) *unstructured.Unstructured {
		var v any = map[string]any{"containers": []any{map[string]any{"image": "evil/x:1"}}}
		for range depth {
			v = map[string]any{"a": v}
		}
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "x.dev/v1", "kind": "Odd", "spec": v}}
	}
	if err := RewriteObject(nested(deepest), Pulls{Rewrite: known}); !errors.Is(err, document.ErrTooLarge) {
		t.Errorf("error is %v", err)
	}
	if err := RewriteObject(nested(deepest-10), Pulls{Rewrite: known}); !errors.Is(err, ErrUnknownImage) || errors.Is(err, document.ErrTooLarge) {
		t.Errorf("error is %v", err)
	}
}
