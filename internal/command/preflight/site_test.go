package preflight

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/opencontainers/go-digest"
)

// TestReadSiteTakesAnySpellingOfThePrefix: the schema's own example ends in a
// slash, which must not become an empty part of an image's name.
func TestReadSiteTakesAnySpellingOfThePrefix(t *testing.T) {
	dg := digest.FromString("web")
	for _, prefix := range []string{"mirror", "mirror/", "/mirror", "/mirror/"} {
		path := filepath.Join(t.TempDir(), "site.yaml")
		text := "apiVersion: caisson.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n" +
			"registry: {mode: external, address: reg.site:5000, caFile: ca.pem, prefix: " + prefix + "}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, _, err := readSite(Options{Site: path})
		if err != nil {
			t.Fatal(err)
		}
		got := s.Registry.Place("ghcr.io/acme/web:1", dg)
		if want := imageref.Ref("reg.site:5000/mirror/ghcr.io/acme/web").At(dg); got != want {
			t.Errorf("prefix %s: the image is %s, want %s", prefix, got, want)
		}
		if want := filepath.Join(filepath.Dir(path), "ca.pem"); s.Registry.Prefix != "mirror" || s.Registry.CAFile != want {
			t.Errorf("prefix %s: registry %+v", prefix, s.Registry)
		}
	}
}
