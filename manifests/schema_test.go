package manifests

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/invopop/jsonschema"
	"github.com/opencontainers/go-digest"
	check "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/lock"
	"github.com/caisson/caisson/internal/site"
	"github.com/caisson/caisson/internal/stack"
)

var update = flag.Bool("update", false, "write the schemas")

var kinds = map[string]any{
	"stack":     &stack.Stack{},
	"upstreams": &stack.Upstreams{},
	"site":      &site.Site{},
	"lock":      &lock.Lock{},
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
	for _, dir := range []string{"stack", "site", "lock"} {
		if err := r.AddGoComments("github.com/caisson/caisson/manifests", "../internal/"+dir); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(of)
	s.ID = jsonschema.ID("https://caisson.dev/schema/v1alpha1/" + kind + ".schema.json")
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
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
		if got, ok := Schema(kind); !ok || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types give; run: go test ./manifests -update", path)
		}
	}
	if !*update && len(Kinds()) != len(kinds) {
		t.Errorf("schemas of %v", Kinds())
	}
}

var _ = check.NewCompiler
var _ = yaml.Unmarshal
