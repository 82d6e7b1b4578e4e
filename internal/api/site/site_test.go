package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `apiVersion: caisson.dev/v1alpha1
kind: Site
metadata: {name: hall-4}
cluster: {context: admin@hall-4}
registry:
  mode: external
  address: registry.hall:5000
  prefix: /mirror/
  caFile: ca.pem
  pullSecretRef: {name: pull}
references: [rewrite]
storageClass: fast
components:
  tool: {enabled: false}
  web:
    values:
      web: {replicas: 3}
`

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(path, []byte(sample), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Enables("tool") || !s.Enables("web") || !s.Enables("other") {
		t.Error("wrong components are enabled")
	}
	if got := s.Registry.Base(); got != "registry.hall:5000/mirror" {
		t.Errorf("Base() = %q", got)
	}
	if got := s.Path(s.Registry.CAFile); got != filepath.Join(filepath.Dir(path), "ca.pem") {
		t.Errorf("Path() = %q", got)
	}
	if s.Components["web"].Values["web"]["replicas"] != int64(3) {
		t.Errorf("values %v", s.Components["web"].Values)
	}
}

func TestReferencesDefault(t *testing.T) {
	s, err := Parse("s", []byte(strings.Replace(sample, "references: [rewrite]\n", "", 1)))
	if err != nil || len(s.References) != 0 { // the cluster decides
		t.Errorf("got %v, %v", s, err)
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ old, new, want string }{
		{"name: hall-4", "name: Hall 4", "s:3:18: metadata.name:"},
		{"{name: hall-4}", "{}", "metadata.name: is missing"},
		{"  mode: external\n", "", "registry.mode: is missing"},
		{"mode: external", "mode: externall", `unknown mode "externall", did you mean "external"?`},
		{"  address: registry.hall:5000\n", "", "registry.address: is missing"},
		{"registry.hall:5000", "https://registry.hall", "is a URL; give HOST:PORT"},
		{"registry.hall:5000", "registry.hall/mirror", "has a path; the part after the host is the field prefix"},
		{"registry.hall:5000", "registry hall", "is not HOST or HOST:PORT"},
		{"/mirror/", "Mirror", "is not a repository path"},
		{"caFile: ca.pem", "caFile: ca.pem\n  plainHTTP: true", "has no use for a registry without TLS"},
		{"{name: pull}", "{}", `registry.pullSecretRef.name: "" is not a Secret's name`},
		{"[rewrite]", "[ansible]", `references[0]: unknown strategy "ansible"`},
		{"[rewrite]", "[mirror, idms]", "references: mirror and idms both write"},
		{"storageClass: fast", "storageClas: fast", `did you mean "storageClass"?`},
		{"enabled: false", "enabled: maybe", "components.tool.enabled: is \"maybe\", text, want true or false"},
		{"  tool:", "  Tool:", `components: "Tool" is not a component's name`},
	} {
		text := strings.Replace(sample, tc.old, tc.new, 1)
		if text == sample {
			t.Fatalf("%q is not in the sample", tc.old)
		}
		if _, err := Parse("s", []byte(text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", tc.new, err, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("s", data)
		if (s == nil) == (err == nil) {
			t.Fatalf("site %v with error %v", s, err)
		}
	})
}
