package stack

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/yamlfile"
)

const head = "apiVersion: caisson.dev/v1alpha1\nkind: Stack\n"

const sample = head + `metadata: {name: demo, version: 1.0.0}
platforms: [linux/amd64]
kubernetes: {versions: ["1.33", 1.36], apiVersions: []}
components:
  - name: web
    needs: [certs]
    namespace: web
    images: [ghcr.io/acme/web:1.2.3]
    charts:
      - {name: web, source: oci://ghcr.io/acme/charts/web, version: 1.2.3, values: {replicas: 2, on: yes, day: 2026-01-01}, valuesFiles: [web.yaml]}
      - {name: old, source: "https://charts.acme.example/stable", chart: old, version: 0.9.0}
    models:
      - {name: tiny, source: hf://acme/tiny-llm, revision: main, include: ["*.safetensors", "*.json"]}
    files:
      - {name: driver, url: "https://dl.acme.example/driver.run", sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
    manifests: [./extra.yaml]
    optional: true
    ready:
      - {kind: Deployment, name: web, condition: Available}
  - name: certs
---
apiVersion: caisson.dev/v1alpha1
kind: Upstreams
rewrites:
  - {from: ghcr.io, to: "http://127.0.0.1:5001/ghcr.io"}
  - {from: "https://huggingface.co", to: "http://127.0.0.1:5002"}
`

func TestReadStack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stack.yaml")
	if err := os.WriteFile(path, []byte(sample), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := ReadStack(path)
	if err != nil {
		t.Fatal(err)
	}
	web := s.Components[0]
	if s.File().Path("./extra.yaml") != filepath.Join(filepath.Dir(path), "extra.yaml") || !web.Optional || web.Charts[1].Chart != "old" {
		t.Errorf("got %+v", s)
	}
	if s.Kubernetes.Versions[1] != "1.36" {
		t.Errorf("an unquoted version became %q", s.Kubernetes.Versions[1])
	}
	want := map[string]any{"replicas": int64(2), "on": true, "day": "2026-01-01"}
	if !reflect.DeepEqual(web.Charts[0].Values, want) {
		t.Errorf("values %#v, want %#v", web.Charts[0].Values, want)
	}
	u, err := ReadUpstreams(path)
	if err != nil || len(u.Rewrites) != 2 {
		t.Errorf("upstreams of the same file: %+v, %v", u, err)
	}
}

func TestUpstreamsMayBeAbsent(t *testing.T) {
	only, _, _ := strings.Cut(sample, "---")
	if _, err := ParseUpstreams("stack.yaml", []byte(only)); !errors.Is(err, yamlfile.ErrNoDocument) {
		t.Errorf("got %v", err)
	}
}

// TestStackMistakes gives one mistake at a time and wants it named at its place.
func TestStackMistakes(t *testing.T) {
	for _, tc := range []struct{ name, old, new, want string }{
		{"no name", "name: demo, ", "", "s:3:11: metadata.name: is missing"},
		{"bad name", "name: demo", "name: De_mo", `s:3:18: metadata.name: "De_mo" is not a name`},
		{"no platforms", "platforms: [linux/amd64]\n", "", "s:1:1: platforms: is missing"},
		{"misspelt and missing", "platforms: [linux/amd64]\n", "platfroms: [linux/amd64]\n", `s:4:1: unknown field "platfroms", did you mean "platforms"?`},
		{"platform", "linux/amd64", "amd64", `platforms[0]: "amd64" is not a platform like linux/amd64`},
		{"platform twice", "[linux/amd64]", "[linux/amd64, linux/amd64]", `platforms[1]: "linux/amd64" is listed twice`},
		{"kubernetes", `"1.33"`, `"latest"`, `"latest" is not a Kubernetes version`},
		{"need", "[certs]", "[cert]", `components[0].needs[0]: unknown component "cert", did you mean "certs"?`},
		{"needs itself", "[certs]", "[web]", "cannot need itself"},
		{"need twice", "[certs]", "[certs, certs]", `"certs" is listed twice`},
		{"circle", "  - name: certs\n", "  - name: certs\n    needs: [web]\n", "goes in a circle: certs needs web needs certs"},
		{"two of a name", "  - name: certs\n", "  - name: certs\n  - name: web\n", `"web" is already the name of components[0]`},
		{"image", "ghcr.io/acme/web:1.2.3]", "GHCR.io/Acme]", "is not an image reference"},
		{"chart source", "oci://ghcr.io/acme/charts/web", "ghcr.io/acme/charts/web", "does not begin with oci://, https://, http:// or caisson://"},
		{"chart tag", "charts/web,", "charts/web:1.2.3,", "ends with a tag or digest"},
		{"chart of oci", "web, source", "web, chart: x, source", "goes with an HTTP repository"},
		{"version range", "version: 1.2.3", `version: "^1.2"`, "is not one exact version"},
		{"secret", "https://dl.", "https://me:secret@dl.", "put them in ~/.netrc"},
		{"model", "hf://acme/tiny-llm", "hf://tiny-llm", "is not hf://OWNER/NAME"},
		{"revision", "revision: main", "revision: ../../x", "is not a branch, tag or commit"},
		{"serve", "revision: main", "serve: chats", `serve: "chats" is not chat, completion, embed, none`},
		{"served", "revision: main", "serve: embed", ""},
		{"model allow", "revision: main", `allow: [{file: pytorch_model.bin, reason: old server}]`, ""},
		{"allow pattern", "revision: main", `allow: [{file: "*.bin", reason: x}]`, `allow[0].file: "*.bin" is a pattern`},
		{"allow without reason", "revision: main", `allow: [{file: x.bin}]`, "allow[0].reason: is missing"},
		{"allow above", "revision: main", `allow: [{file: ../x.bin, reason: x}]`, "is not the path of a file of the model"},
		{"extras", "revision: main", `extras: [{path: t/x.tiktoken, url: "https://dl.acme.example/x", sha256: "` + strings.Repeat("a", 64) + `"}, {path: draft, source: hf://acme/draft}]`, ""},
		{"extra without source", "revision: main", `extras: [{path: draft}]`, "extras[0]: needs either url, of a file, or source"},
		{"extra of both", "revision: main", `extras: [{path: draft, source: hf://acme/draft, url: "https://dl.acme.example/x"}]`, "extras[0]: needs either url"},
		{"extra without digest", "revision: main", `extras: [{path: x, url: "https://dl.acme.example/x"}]`, "extras[0].sha256: is missing"},
		{"extra above", "revision: main", `extras: [{path: ../x, source: hf://acme/draft}]`, "is not a path below the model's folder"},
		{"extra with password", "revision: main", `extras: [{path: x, url: "https://me:secret@dl.acme.example/x", sha256: "` + strings.Repeat("a", 64) + `"}]`, "put them in ~/.netrc"},
		{"sha256", strings.Repeat("0", 64), "abc", "is not 64 lower-case hex digits"},
		{"absolute", "./extra.yaml", "/etc/passwd", "is not a path relative to this file"},
		{"above", "[web.yaml]", "[../web.yaml]", "is not a path relative to this file"},
		{"type", "optional: true", "optional: [1]", "components[0].optional: is a list, want true or false"},
		{"truth as text", "name: web, condition", "name: true, condition", "put it in quotes"},
		{"list", "needs: [certs]", "needs: certs", "is \"certs\", text, want a list"},
		{"list entry", "[certs]", "[certs, ]", ""},
		{"empty entry", "[certs]", "[certs, null]", "components[0].needs[1]: is empty"},
		{"nan", "replicas: 2", "replicas: .nan", "not a number that JSON can hold"},
		{"tag", "replicas: 2", "replicas: !secret x", "has the tag !secret"},
		{"kind", "kind: Stack", "kind: Stak", `unknown kind "Stak", did you mean "Stack"?`},
		{"other document", "kind: Upstreams", "kind: Upstream", `unknown kind "Upstream", did you mean "Upstreams"?`},
		{"version", "v1alpha1\nkind: Stack", "v2\nkind: Stack", "this version of caisson reads caisson.dev/v1alpha1"},
		{"two stacks", "kind: Upstreams\nrewrites:", "kind: Stack\nx:", "second document of kind Stack; the first is on line 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(sample, tc.old, tc.new, 1)
			if text == sample {
				t.Fatalf("%q is not in the sample", tc.old)
			}
			_, err := ParseStack("s", []byte(text))
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret@") {
				t.Error("the message tells a secret")
			}
		})
	}
}

func TestMissingIsNotSaidTwice(t *testing.T) {
	text := strings.Replace(sample, "platforms:", "platfroms:", 1)
	_, err := ParseStack("s", []byte(text))
	if err == nil || strings.Contains(err.Error(), "is missing") {
		t.Errorf("got %v", err)
	}
}

func TestUpstreamsMistakes(t *testing.T) {
	const head = "apiVersion: caisson.dev/v1alpha1\nkind: Upstreams\nrewrites:\n"
	for text, want := range map[string]string{
		"  - {from: ghcr.io}":                        "rewrites[0].to: is missing",
		"  - {from: ghcr.io, too: x}":                `unknown field "too", did you mean "to"?`,
		"  - {from: \"ftp://x\", to: y}":             "is not a host",
		"  - {from: x, to: \"https://me:secret@y\"}": "put them in ~/.netrc",
		"  - {from: x, to: \"https://y?a=b\"}":       "is not a host",
		"  - {from: x, to: y}\n  - {from: x, to: z}": "is already in rewrites[0]",
	} {
		_, err := ParseUpstreams("u", []byte(head+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestRewrite(t *testing.T) {
	u := &Upstreams{Rewrites: []Rewrite{
		{From: "ghcr.io", To: "http://127.0.0.1:5001/ghcr.io/"},
		{From: "ghcr.io/acme/secret", To: "inner.example/acme"},
		{From: "https://huggingface.co/", To: "http://127.0.0.1:5002"},
		{From: "huggingface.co", To: "plain.example/hf"},
		{From: "https://dl.acme.example/pub", To: "https://mirror.example/dl"},
		{From: "charts.acme.example", To: "mirror.example/charts"},
	}}
	for in, want := range map[string]string{
		"ghcr.io":                                "http://127.0.0.1:5001/ghcr.io",
		"ghcr.io/acme/web":                       "http://127.0.0.1:5001/ghcr.io/acme/web",
		"GHCR.io/acme/web":                       "http://127.0.0.1:5001/ghcr.io/acme/web",
		"oci://ghcr.io/acme/charts/web":          "http://127.0.0.1:5001/ghcr.io/acme/charts/web",
		"https://ghcr.io/v2/acme/web":            "http://127.0.0.1:5001/ghcr.io/v2/acme/web",
		"ghcr.io/acme/secret/x":                  "inner.example/acme/x",
		"ghcr.io/acme/secrets/x":                 "http://127.0.0.1:5001/ghcr.io/acme/secrets/x",
		"ghcr.io.evil/acme/web":                  "",
		"ghcr.io:8443/acme/web":                  "",
		"notghcr.io/acme/web":                    "",
		"https://huggingface.co/api/models":      "http://127.0.0.1:5002/api/models",
		"https://huggingface.co?x=1":             "http://127.0.0.1:5002?x=1",
		"http://huggingface.co/api":              "http://plain.example/hf/api",
		"huggingface.co/acme":                    "plain.example/hf/acme",
		"https://dl.acme.example/pub/driver.run": "https://mirror.example/dl/driver.run",
		"https://dl.acme.example/public/x":       "",
		"http://dl.acme.example/pub/driver.run":  "",
		"https://charts.acme.example/index.yaml": "https://mirror.example/charts/index.yaml",
		"":                                       "",
	} {
		got, ok := u.Rewrite(in)
		if want == "" {
			want = in
			if ok {
				t.Errorf("Rewrite(%q) = %q, want none", in, got)
			}
		}
		if got != want {
			t.Errorf("Rewrite(%q) = %q, want %q", in, got, want)
		}
	}
	var none *Upstreams
	if got, ok := none.Rewrite("ghcr.io"); ok || got != "ghcr.io" {
		t.Errorf("no upstreams: %q, %v", got, ok)
	}
}

func FuzzParseStack(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(head))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStack("s", data)
		if (s == nil) == (err == nil) {
			t.Fatalf("stack %v with error %v", s, err)
		}
		_, _ = ParseUpstreams("s", data)
	})
}

func FuzzRewrite(f *testing.F) {
	f.Add("ghcr.io", "http://x/ghcr.io", "ghcr.io/acme/web")
	f.Fuzz(func(t *testing.T, from, to, in string) {
		u := &Upstreams{Rewrites: []Rewrite{{From: from, To: to}}}
		if got, ok := u.Rewrite(in); !ok && got != in {
			t.Fatalf("not rewritten, yet %q became %q", in, got)
		}
	})
}
