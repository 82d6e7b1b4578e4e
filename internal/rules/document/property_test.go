package document

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"

	sigyaml "sigs.k8s.io/yaml"
)

// elsewhere is where a reference goes in these tests: another place for each.
func elsewhere(ref string) string {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(ref)))
	return "site.example/" + sum[:12] + "@sha256:" + sum
}

// mapStrings gives a copy of a decoded value with every string changed.
func mapStrings(v any, change func(string) string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = mapStrings(e, change)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = mapStrings(e, change)
		}
		return out
	case string:
		return change(v)
	}
	return v
}

// checkRewriting rewrites every reference of an object and reads it again.
func checkRewriting(t *testing.T, source string) {
	var object map[string]any
	if sigyaml.Unmarshal([]byte(source), &object) != nil {
		return
	}
	o, err := ReadObject(object)
	if err != nil {
		return
	}
	before := mapStrings(object, strings.TrimSpace)
	var pairs []string
	for _, s := range o.Sites() {
		if s.What == Spread {
			return // its keys change one by one: see TestTextsKeepTheirForm
		}
		if s.Names() {
			pairs = append(pairs, elsewhere(s.Ref), s.Ref)
		}
	}
	o.Rewrite(func(s Site) (string, bool) { return elsewhere(s.Ref), true })
	back := strings.NewReplacer(pairs...)
	after := mapStrings(object, func(s string) string { return strings.TrimSpace(back.Replace(s)) })
	if !reflect.DeepEqual(before, after) {
		t.Errorf("rewriting changes more than references:\n%v\n%v", before, after)
	}
	checkRead(t, o.Sites(), object)
}

// checkRead: what stood in the object itself is found with its new reference.
func checkRead(t *testing.T, before []Site, object map[string]any) {
	again, err := ReadObject(object)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, s := range again.Sites() {
		found[s.Path+" "+s.Ref] = true
	}
	for _, s := range before {
		if s.What == Image && s.at.text == nil && !found[s.Path+" "+elsewhere(s.Ref)] {
			t.Errorf("%s at %s is not found after rewriting: %v", s.Ref, s.Path, found)
		}
	}
}

// FuzzRewrite: after rewriting, reading finds every site rewritten, and nothing
// else has changed.
func FuzzRewrite(f *testing.F) {
	f.Add("kind: Pod\nspec: {containers: [{image: a/b:1, args: [--x=ghcr.io/a/b:1, c/d:2], env: [{name: X, value: e:1}]}]}\n")
	f.Add("kind: Pod\nspec: {volumes: [{image: {reference: ' a/b:1 '}}], imageNames: [a:1, b/c:2], x: {name: SOME_IMAGE, value: a:1}}\n")
	f.Add("kind: ConfigMap\ndata:\n  a: |\n    image: a/b:1 # a/b:12 a/b:1\n    c: {image: 'ghcr.io/x/y:1'}\n  b: '{\"image\": \"ghcr.io/x/y:1\"}'\n")
	f.Add("kind: ConfigMap\ndata:\n  a: |\n    {{ if }}\n    image: ghcr.io/x/y:1\n  b: |\n    c: |\n      image: ghcr.io/x/z:1\n")
	f.Fuzz(func(t *testing.T, source string) { checkRewriting(t, source) })
}

// prometheus is about 12 MB of what a stack of monitoring renders to: definitions
// with their schemas, dashboards and rules in ConfigMaps, workloads.
func prometheus() []Document {
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: c%d.monitoring.coreos.com\nspec:\n  versions:\n  - name: v1\n    schema:\n      openAPIV3Schema:\n        properties:\n", i)
		for j := range 4000 {
			fmt.Fprintf(&b, "          field%d:\n            description: |-\n              Says what the field is for,\n              in two lines.\n            type: string\n", j)
		}
	}
	for i := range 40 {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: dashboard-%d\ndata:\n  dashboard.json: |-\n    {\n      \"panels\": [\n", i)
		for j := range 600 {
			fmt.Fprintf(&b, "        {\"title\": \"panel %d\", \"targets\": [{\"expr\": \"sum(rate(container_image_bytes{job=\\\"kubelet\\\"}[5m]))\", \"url\": \"/api/v1:query\"}]},\n", j)
		}
		b.WriteString("        {}\n      ]\n    }\n")
	}
	for i := range 200 {
		fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d%d\nspec:\n  template:\n    spec:\n      containers:\n      - name: a\n        image: quay.io/prometheus/p%d:v1\n        command: [sh, -c, \"sleep 1 && exec /bin/prometheus --x=$((1<<3))\"]\n        args: [--config-reloader-image=quay.io/x/reloader:v1]\n", i, i)
	}
	docs, err := Split("kube-prometheus-stack/templates/all.yaml", b.String())
	if err != nil {
		panic(err)
	}
	return docs
}

func BenchmarkRead(b *testing.B) {
	docs := prometheus()
	size := 0
	for _, d := range docs {
		size += len(d.Source)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(docs); err != nil {
			b.Fatal(err)
		}
	}
}
