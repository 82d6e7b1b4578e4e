package manifests_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	"github.com/opencontainers/go-digest"
	check "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/manifests"
)

var update = flag.Bool("update", false, "write the schemas")

var kinds = map[string]any{
	"stack":     &stack.Stack{},
	"upstreams": &stack.Upstreams{},
	"site":      &site.Site{},
	"lock":      &lock.Lock{},
	"nodes":     &inventory.Inventory{},
}

// generate makes the schema of a kind from its Go type, its tags and its
// comments.
func generate(t *testing.T, kind string, of any) []byte {
	t.Helper()
	r := &jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t == reflect.TypeFor[digest.Digest]() {
				return &jsonschema.Schema{Type: "string", Pattern: "^sha256:[0-9a-f]{64}$"}
			}
			return nil
		},
	}
	for _, dir := range []string{"api/stack", "api/site", "api/lock", "api/ledger", "api/inventory"} {
		if err := r.AddGoComments("github.com/caisson/caisson/manifests", "../internal/"+dir); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(of)
	if kind == "lock" {
		addForms(r, s)
	}
	s.ID = jsonschema.ID("https://caisson.dev/schema/v1alpha1/" + kind + ".schema.json")
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// addForms adds the fields that the content of a lock's item may stand in: the
// item's type does not list them.
func addForms(r *jsonschema.Reflector, s *jsonschema.Schema) {
	properties := s.Definitions["Item"].Properties
	for _, f := range lock.Forms() {
		of := reflect.TypeOf(f.Content)
		if of.Kind() == reflect.Slice {
			of = reflect.SliceOf(of.Elem()) // without a name, and so without a definition
		}
		part := r.ReflectFromType(reflect.StructOf([]reflect.StructField{
			{Name: "Content", Type: of, Tag: reflect.StructTag(`yaml:"` + f.Field + `"`)},
		}))
		field, _ := part.Properties.Get(f.Field)
		field.Description = f.About
		properties.Set(f.Field, field)
		maps.Copy(s.Definitions, part.Definitions)
	}
}

func TestSchemasAreGenerated(t *testing.T) {
	for kind, of := range kinds {
		want := generate(t, kind, of)
		path := filepath.Join("schema", kind+".schema.json")
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, ok := manifests.Schema(kind); !ok || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types give; run: go test ./manifests -update", path)
		}
	}
	if !*update && len(manifests.Kinds()) != len(kinds) {
		t.Errorf("schemas of %v", manifests.Kinds())
	}
}

// TestSchemasJudgeFiles holds the schemas against what the strict readers say.
func TestSchemasJudgeFiles(t *testing.T) {
	for _, tc := range []struct {
		kind, text string
		ok         bool
	}{
		{"stack", sampleStack, true},
		{"stack", strings.Replace(sampleStack, "version: 1.2.3", "verison: 1.2.3", 1), false},
		{"stack", strings.Replace(sampleStack, "oci://", "ftp://", 1), false},
		{"stack", strings.Replace(sampleStack, "optional: true", "optional: maybe", 1), false},
		{"stack", strings.Replace(sampleStack, "kind: Stack", "kind: Stock", 1), false},
		{"stack", strings.Replace(sampleStack, "serve: chat", "serve: talk", 1), false},
		{"stack", strings.Replace(sampleStack, ", reason: reviewed", "", 1), false},
		{"stack", strings.Replace(sampleStack, "path: draft, ", "", 1), false},
		{"upstreams", sampleUpstreams, true},
		{"upstreams", strings.Replace(sampleUpstreams, "from:", "form:", 1), false},
		{"site", sampleSite, true},
		{"site", strings.Replace(sampleSite, "mode: external", "mode: elsewhere", 1), false},
		{"site", strings.Replace(sampleSite, "[rewrite]", "[mirror]", 1), true},
		{"site", strings.Replace(sampleSite, "[rewrite]", "[ansible]", 1), false},
	} {
		if err := validateText(t, tc.kind, tc.text); (err == nil) != tc.ok {
			t.Errorf("%s: %v\n%s", tc.kind, err, tc.text)
		}
		if err := read(tc.kind, tc.text); (err == nil) != tc.ok {
			t.Errorf("%s: the reader disagrees: %v", tc.kind, err)
		}
	}
}

func validateText(t *testing.T, kind, text string) error {
	t.Helper()
	raw, _ := manifests.Schema(kind)
	schema, err := check.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := check.NewCompiler()
	if err := c.AddResource(kind, schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(kind)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(doc)
}

func read(kind, text string) (err error) {
	switch kind {
	case "stack":
		_, err = stack.ParseStack(kind, []byte(text))
	case "upstreams":
		_, err = stack.ParseUpstreams(kind, []byte(text))
	case "site":
		_, err = site.Parse(kind, []byte(text))
	}
	return err
}

const sampleStack = `apiVersion: caisson.dev/v1alpha1
kind: Stack
metadata: {name: demo, version: 1.0.0}
platforms: [linux/amd64]
kubernetes: {versions: ["1.33", "1.36"], apiVersions: []}
components:
  - name: web
    needs: [certs]
    namespace: web
    images: [ghcr.io/acme/web:1.2.3]
    charts:
      - {name: web, source: oci://ghcr.io/acme/charts/web, version: 1.2.3, values: {replicas: 2}, valuesFiles: [web.yaml]}
      - {name: old, source: "https://charts.acme.example/stable", chart: old, version: 0.9.0}
    models:
      - {name: tiny, source: hf://acme/tiny-llm, revision: main, include: ["*.safetensors", "*.json"]}
      - name: chat
        source: hf://acme/chat
        serve: chat
        allow: [{file: modeling_x.py, reason: reviewed}]
        extras: [{path: tiktoken/x.tiktoken, url: "https://dl.acme.example/x", sha256: "0000000000000000000000000000000000000000000000000000000000000000"}, {path: draft, source: hf://acme/draft}]
    files:
      - {name: driver, url: "https://dl.acme.example/driver.run", sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
    manifests: [./extra.yaml]
    optional: true
    ready:
      - {kind: Deployment, name: web, condition: Available}
  - name: certs
`

const sampleUpstreams = `apiVersion: caisson.dev/v1alpha1
kind: Upstreams
rewrites:
  - {from: ghcr.io, to: "http://127.0.0.1:5001/ghcr.io"}
  - {from: "https://huggingface.co", to: "http://127.0.0.1:5002"}
`

const sampleSite = `apiVersion: caisson.dev/v1alpha1
kind: Site
metadata: {name: hall-4}
cluster: {context: admin}
registry: {mode: external, address: "registry.hall:5000", prefix: mirror, plainHTTP: true}
references: [rewrite]
components:
  web: {enabled: true, values: {web: {replicas: 3}}}
`
