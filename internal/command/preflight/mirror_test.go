package preflight

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/registry"
)

// TestAuthorityIsCertificatesAlone: the file goes to every node.
func TestAuthorityIsCertificatesAlone(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	for name, c := range map[string]struct{ text, want string }{
		"one":         {cert, ""},
		"two":         {"# ours\n" + cert + cert, ""},
		"a key too":   {cert + key, "holds a PRIVATE KEY"},
		"cut short":   {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw[:100]})), "x509: "},
		"far too big": {strings.Repeat("#", registry.MaxNodeAuthorities+1), "more than"},
	} {
		path := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		site := plan.Site{References: []string{plan.Mirror}}
		site.Registry.CAFile = path
		data, err := readAuthority(site)
		if c.want == "" && (err != nil || string(data) != c.text) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}
