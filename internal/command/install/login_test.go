package install

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// withLogin has the site's registry demand a login of everybody, and gives it to this
// process by the Docker configuration.
func (l *lab) withLogin(user, password string) {
	l.t.Helper()
	l.site.Registry.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == user && p == password {
			return false
		}
		w.Header().Set("Www-Authenticate", `Basic realm="lab"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	dir := l.t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, l.site.Registry.Host, auth)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.t.Setenv("DOCKER_CONFIG", dir)
}

// TestNodesMustBeAbleToLogIn: what a registry that demands a login lacks at the site is
// found before anything is installed, with the command that creates it.
func TestNodesMustBeAbleToLogIn(t *testing.T) {
	l := newLab(t)
	l.withLogin("robot", "right")
	image := "ghcr.io/acme/login:1.0.0"
	dir := l.site.Pack(t, stacktest.Stack{Name: l.name, Components: []stacktest.Component{
		{Name: "web", Namespace: "login-web", Charts: []stacktest.Chart{{Release: "web", Files: deployment(image)}}, Images: []string{image}},
	}})
	l.site.Load(t, dir)
	secret := func(server, password string) {
		l.cluster.Kubectl(t, "delete", "secret", "login-creds", "-n", "default", "--ignore-not-found")
		l.cluster.Kubectl(t, "create", "secret", "docker-registry", "login-creds", "-n", "default",
			"--docker-server="+server, "--docker-username=robot", "--docker-password="+password)
	}
	t.Cleanup(func() { l.cluster.Kubectl(t, "delete", "secret", "login-creds", "-n", "default", "--ignore-not-found") })
	inDefault := ", pullSecretRef: {name: login-creds, namespace: default}"
	create := "kubectl create secret docker-registry login-creds --namespace default --docker-server=" + l.site.Registry.Host
	for _, c := range []struct {
		name, ref, what, hint string
		before                func()
	}{
		{"none", "", "demands a login, and the site file names no pull secret: it answers 401", "kubectl create secret docker-registry site-registry", nil},
		{"absent", inDefault, "pull secret login-creds in namespace default cannot be used: it does not exist", create, nil},
		{"absent from the component's namespace", ", pullSecretRef: {name: login-creds}", "in namespace login-web cannot be used: it does not exist", "pullSecretRef: {name: login-creds, namespace: login-web}", nil},
		{"for another registry", inDefault, "it has no login for the registry: " + l.site.Registry.Host, create, func() { secret("other.example", "right") }},
		{"with a wrong password", inDefault, "its login is refused: it answers 401", create, func() { secret(l.site.Registry.Host, "wrong") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.before != nil {
				c.before()
			}
			var found []event.Finding
			_, err := l.planWith(dir, l.registryText(c.ref), event.Func(func(e event.Event) {
				if e.Finding != nil && e.Finding.Code == event.CodePullSecret {
					found = append(found, *e.Finding)
				}
			}))
			if !errors.Is(err, plan.ErrPreflight) || len(found) != 1 || !strings.Contains(found[0].What, c.what) || !strings.Contains(found[0].Hint, c.hint) {
				t.Errorf("%+v, %v", found, err)
			}
		})
	}
	if _, err := l.planWith(dir, l.registryText(", nodesLogIn: true"), event.Discard); err != nil {
		t.Errorf("nodes that log in by themselves: %v", err)
	}
	secret(l.site.Registry.Host, "right")
	path, err := l.planWith(dir, l.registryText(inDefault), event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	secret(l.site.Registry.Host, "wrong")
	if _, err := Run(t.Context(), l.options(path), event.Discard); !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), create) {
		t.Errorf("installing with a wrong password: %v", err)
	}
	secret(l.site.Registry.Host, "right")
	l.install(path)
}

// registryText is the part of a site file about the lab's registry, and more of it.
func (l *lab) registryText(more string) string {
	return fmt.Sprintf("registry: {mode: external, address: %q, prefix: mirror, plainHTTP: true%s}\n", l.site.Registry.Host, more)
}
