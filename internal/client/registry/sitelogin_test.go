package registry

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
)

// secret is a pull secret with the login robot, for any registry.
type secret struct{ password string }

func (s secret) PullLogin(context.Context, string, string, string) (user, password string, err error) {
	if s.password == "" {
		return "", "", plan.ErrNoLogin
	}
	return "robot", s.password, nil
}

// startDistribution starts an empty registry that knows robot with the password right.
func startDistribution(t *testing.T) string {
	t.Helper()
	logrus.SetOutput(io.Discard)
	passwords := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(passwords, []byte("robot:$2a$04$wLOhKEW1cLuNfuKeq1d4XOZdMe6yMclXLvo3A7Va3rZqJj2Q5TuOi\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &configuration.Configuration{Auth: configuration.Auth{"htpasswd": {"realm": "site", "path": passwords}}}
	c.Storage = configuration.Storage{
		"inmemory":    configuration.Parameters{},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}
	c.HTTP.Secret = "sitelogin"
	server := httptest.NewServer(handlers.NewApp(t.Context(), c))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestTakesPasswords(t *testing.T) {
	real := startDistribution(t)
	f, tokenHost := start(t, nil)
	held := []plan.Check{{Repository: "acme/web", Digest: digest.FromString("x")}}
	f.answers = map[string]http.HandlerFunc{
		"/v2/acme/web/manifests/" + held[0].Digest.String(): tokens("http://"+tokenHost+"/token", "", nil),
	}
	for name, c := range map[string]struct {
		host, password string
		held           []plan.Check
		want           bool
	}{
		"htpasswd":                 {real, "right", held, true},
		"htpasswd, wrong password": {real, "wrong", held, true},
		"tokens":                   {tokenHost, "right", held, false},
		"tokens, no login":         {tokenHost, "", held, true},
		"tokens, nothing to ask":   {tokenHost, "right", nil, true},
	} {
		reg := site.Registry{Address: c.host, PlainHTTP: true, PullSecretRef: &site.SecretRef{Name: "s"}}
		if got, err := TakesPasswords(t.Context(), reg, c.held, "default", secret{c.password}); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if n := len(f.sent("/token")); n > 0 {
		t.Errorf("%d tokens were asked for", n)
	}
}
