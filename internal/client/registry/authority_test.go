package registry

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/site"
)

// TestAuthoritiesAreReadWithinBounds: a device without an end is refused as a
// large file is.
func TestAuthoritiesAreReadWithinBounds(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for name, c := range map[string]struct{ file, want string }{
		"good":    {write("good", good), ""},
		"none":    {write("none", "no certificate"), "none holds none"},
		"large":   {write("large", good+strings.Repeat("#", maxAuthorities)), "it has more than"},
		"endless": {"/dev/zero", "it has more than"},
		"absent":  {filepath.Join(dir, "absent"), "no such file"},
	} {
		_, err := DialSite(site.Registry{Address: "registry.hall:5000", CAFile: c.file})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "reading CA certificates: ") || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
