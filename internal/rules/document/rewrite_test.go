package document

import (
	"strings"
	"testing"
)

var aaaa = "@sha256:" + strings.Repeat("a", 64)

// known gives what the site site.example has of ghcr.io/acme.
func known(ref string) (string, bool) {
	if strings.HasPrefix(ref, "site.example/") {
		return ref, true
	}
	if name, ok := strings.CutPrefix(ref, "ghcr.io/acme/"); ok && strings.HasSuffix(name, ":1") {
		return "site.example/ghcr.io/acme/" + strings.TrimSuffix(name, ":1") + aaaa, true
	}
	return "", false
}

// configMap holds one text.
func configMap(text string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c"}, "data": map[string]any{"config": text}}
}

func rewrite(tb testing.TB, object map[string]any, to func(string) (string, bool)) {
	tb.Helper()
	o, err := ReadObject(object)
	if err != nil {
		tb.Fatal(err)
	}
	o.Rewrite(func(s Site) (string, bool) { return to(s.Ref) })
}

// inText rewrites one text of a ConfigMap.
func inText(tb testing.TB, text string, to func(string) (string, bool)) string {
	tb.Helper()
	object := configMap(text)
	rewrite(tb, object, to)
	once := object["data"].(map[string]any)["config"].(string)
	rewrite(tb, object, to)
	if again := object["data"].(map[string]any)["config"]; again != once {
		tb.Errorf("rewriting again gives %q of %q", again, once)
	}
	return once
}

// AT stands for a digest and SITE for the site's registry.
func spelled(s string) string {
	return strings.NewReplacer("AT", aaaa, "SITE", "site.example/ghcr.io/acme", "UP", "ghcr.io/acme").Replace(s)
}

// TestTextsKeepTheirForm: what is not part of a reference is the same, byte by
// byte.
func TestTextsKeepTheirForm(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"image and tag": {
			"{ \"image\":\"UP/a\",\t\"tag\" : \"1\" }\n",
			"{ \"image\":\"SITE/a\",\t\"tag\" : \"1AT\" }\n",
		},
		"image and version, on lines": {
			"{\n    \"art\" : {\n        \"image\" : \"UP/art\",\n        \"defaultImageVersion\": \"1\",\n        \"é\": \"1\"\n    }\n}",
			"{\n    \"art\" : {\n        \"image\" : \"SITE/art\",\n        \"defaultImageVersion\": \"1AT\",\n        \"é\": \"1\"\n    }\n}",
		},
		"after letters of several bytes": {"{\"é\": \"ü\", \"image\": \"UP/a\", \"tag\": \"1\"}", "{\"é\": \"ü\", \"image\": \"SITE/a\", \"tag\": \"1AT\"}"},
		"three keys":                     {"# UP/d:1\ndriver: {repository: UP, image: d, version: '1'} # UP\n", "# UP/d:1\ndriver: {repository: SITE, image: d, version: '1AT'} # UP\n"},
		"a version that is a number":     {"image: UP/a\ntag: 1\n", "image: SITE/a\ntag: \"1AT\"\n"},
		"a number in JSON":               {"{\"image\": \"UP/a\", \"tag\": 1}", "{\"image\": \"SITE/a\", \"tag\": \"1AT\"}"},
		"repository and tag":             {"one:\n  repository: UP/one\n  tag: \"1\"\n", "one:\n  repository: SITE/one\n  tag: \"1AT\"\n"},
		"registry, repository and tag":   {"{\"registry\": \"ghcr.io\", \"repository\": \"acme/two\", \"tag\": \"1\"}", "{\"registry\": \"site.example\", \"repository\": \"ghcr.io/acme/two\", \"tag\": \"1AT\"}"},
		"beside a whole one":             {"{\"a\": {\"image\": \"UP/a\", \"tag\": \"1\"}, \"b\": {\"image\": \"UP/b:1\"}}", "{\"a\": {\"image\": \"SITE/a\", \"tag\": \"1AT\"}, \"b\": {\"image\": \"SITE/bAT\"}}"},
		"a registry beside the image":    {"{\"registry\": \"quay.io\", \"image\": \"UP/a\", \"tag\": \"1\"}", "{\"registry\": \"quay.io\", \"image\": \"UP/a\", \"tag\": \"1\"}"},
		"the site lacks it":              {"{\"image\": \"quay.io/x/a\", \"tag\": \"1\"}", "{\"image\": \"quay.io/x/a\", \"tag\": \"1\"}"},
		"behind an alias":                {"v: &v \"1\"\na: {image: UP/a, tag: *v}\n", "v: &v \"1\"\na: {image: UP/a, tag: *v}\n"},
		"a text within":                  {"inner: |\n  image: UP/a\n  tag: \"1\"\n", "inner: |\n  image: UP/a\n  tag: \"1\"\n"},
		"another kind of thing":          {"{\"image\": \"logo\", \"version\": \"1\"}", "{\"image\": \"logo\", \"version\": \"1\"}"},
		"with carriage returns":          {"a:\r\n  image: UP/a\r\n  tag: '1'\r\n", "a:\r\n  image: SITE/a\r\n  tag: '1AT'\r\n"},
		"several documents":              {"image: UP/a\ntag: '1'\n---\nimage: UP/b\ntag: '1'\n", "image: SITE/a\ntag: '1AT'\n---\nimage: SITE/b\ntag: '1AT'\n"},
		"no YAML at all":                 {"{{ if .X }}\nimage: UP/a\ntag: '1'\n{{ end }}\n", "{{ if .X }}\nimage: UP/a\ntag: '1'\n{{ end }}\n"},
	} {
		if got, want := inText(t, spelled(c.text), known), spelled(c.want); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestSpreadReferencesJoin puts together what was written, in the ways in which
// operators do.
func TestSpreadReferencesJoin(t *testing.T) {
	got := inText(t, spelled("image: UP/a\ntag: \"1\"\n"), known)
	lines := strings.Split(got, "\n")
	image, tag := strings.TrimPrefix(lines[0], "image: "), strings.Trim(strings.TrimPrefix(lines[1], "tag: "), `"`)
	for _, ref := range []string{image + ":" + tag, joinVersion(image, tag)} {
		if ref != spelled("SITE/a:1AT") || !isPlausible(ref) {
			t.Errorf("a reader makes %s", ref)
		}
	}
	pinned := "image: ghcr.io/acme/a\nversion: " + strings.TrimPrefix(aaaa, "@") + "\n"
	got = inText(t, pinned, func(ref string) (string, bool) { return "site.example/a" + aaaa, ref == "ghcr.io/acme/a"+aaaa })
	if got != "image: site.example/a\nversion: "+strings.TrimPrefix(aaaa, "@")+"\n" {
		t.Errorf("a version that is a digest gives\n%s", got)
	}
}

// The forms of KServe's inferenceservice-config and of Katib's configuration.
const servingText = `{
    "image" : "kserve/storage-initializer:v0.20.0",
    "memoryRequest": "100Mi",
    "cpuModelcar": "10m",
    "enableModelcar": true
}`

const katibText = `apiVersion: config.kubeflow.org/v1beta1
kind: KatibConfig
runtime:
  suggestions:
    - algorithmName: random
      image: ghcr.io/kubeflow/katib/suggestion-hyperopt:v0.19.0   # hyperopt
    - algorithmName: tpe
      image: ghcr.io/kubeflow/katib/suggestion-hyperopt:v0.19.0
      resources: {limits: {memory: "1Gi"}}
  earlyStoppings:
    - algorithmName: medianstop
      image: "ghcr.io/kubeflow/katib/earlystopping-medianstop:v0.19.0"
`

func TestConfigurationsOfOperators(t *testing.T) {
	site := func(ref string) (string, bool) {
		name, tag, ok := strings.Cut(ref, ":")
		return "reg.site/" + name + aaaa, ok && strings.HasPrefix(tag, "v0")
	}
	for text, refs := range map[string][]string{
		servingText: {"kserve/storage-initializer:v0.20.0"},
		katibText:   {"ghcr.io/kubeflow/katib/suggestion-hyperopt:v0.19.0", "ghcr.io/kubeflow/katib/earlystopping-medianstop:v0.19.0"},
	} {
		want := text
		for _, ref := range refs {
			to, _ := site(ref)
			want = strings.ReplaceAll(want, ref, to)
		}
		if got := inText(t, text, site); got != want {
			t.Errorf("it becomes\n%s\nwant\n%s", got, want)
		}
	}
}

// TestKept: what the rewriter cannot change is said to be so, and nothing else.
func TestKept(t *testing.T) {
	docs, err := Split("t.yaml", spelled(`kind: ConfigMap
data:
  one: '{"image": "UP/one", "tag": "1"}'
  two: |
    inner: |
      {"image": "UP/two", "tag": "1"}
    v: &v "1"
    three: {repository: UP, image: three, version: *v}
    four: {repository: UP/four, tag: *v}
    five: {repository: UP/five, tag: "1"}
spec: {repository: UP, image: six, version: "1"}
`))
	if err != nil {
		t.Fatal(err)
	}
	sites, err := Read(docs)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, f := range Images(sites) {
		name := strings.TrimSuffix(strings.TrimPrefix(f.Ref, "ghcr.io/acme/"), ":1")
		got[name] = f.Kept
		if name == "two" && f.Line != 6 {
			t.Errorf("two is on line %d", f.Line)
		}
	}
	for name, want := range map[string]bool{"one": false, "two": true, "three": true, "four": true, "five": false, "six": false} {
		if kept, ok := got[name]; !ok || kept != want {
			t.Errorf("%s: found %v, kept %v, want %v", name, ok, kept, want)
		}
	}
}

// FuzzTexts: rewriting a text twice is rewriting it once.
func FuzzTexts(f *testing.F) {
	f.Add("{\"image\": \"ghcr.io/acme/a\", \"tag\": \"1\"}")
	f.Add("a: &x {image: ghcr.io/acme/a, tag: 1}\nb: *x\n")
	f.Add("- {repository: ghcr.io/acme, image: é, version: '1'}\n")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := ReadObject(configMap(text)); err == nil {
			inText(t, text, known)
		}
	})
}
