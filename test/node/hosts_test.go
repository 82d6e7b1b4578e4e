// Package node holds what nodes of the end-to-end tests are made of. Its tests have
// containerd itself read the hosts.toml that the product writes.
package node

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/opencontainers/go-digest"
)

// golden is what internal/rules/mirror writes for a registry reg.site:5000/mirror; its own
// tests hold it to that.
const golden = "../../internal/rules/mirror/testdata/containerd-login.golden"

const login = "Basic cm9ib3Q6cmlnaHQ=" // robot:right

// hostsFor are what containerd makes of the golden files, with the registry at another
// address and without its authority.
func hostsFor(t *testing.T, registry string) docker.RegistryHosts {
	t.Helper()
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, part := range strings.Split("\n"+string(text), "\n== ")[1:] {
		name, data, _ := strings.Cut(part, "\n")
		if registry != "" {
			data = strings.ReplaceAll(data, "https://reg.site:5000", registry)
			data = strings.ReplaceAll(data, "ca = \"caisson-ca.crt\"\n", "")
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"docker.io", "ghcr.io", "reg.lan_8443_", "reg.site_5000_"} {
		if _, err := os.Stat(filepath.Join(dir, name, "hosts.toml")); err != nil {
			t.Fatal(err)
		}
	}
	return config.ConfigureHosts(t.Context(), config.HostOptions{HostDir: config.HostDirFromRoot(dir)})
}

// TestContainerdReadsTheLogin: for every name, for each of the two tries, and for the
// site's registry alone.
func TestContainerdReadsTheLogin(t *testing.T) {
	lookup := hostsFor(t, "https://registry.example:5000")
	for name, path := range map[string]string{
		"docker.io": "/v2/mirror/docker.io", "ghcr.io": "/v2/mirror/ghcr.io",
		"reg.lan:8443": "/v2/mirror/reg.lan_8443", "reg.site:5000": "/v2",
	} {
		hosts, err := lookup(name)
		if err != nil || len(hosts) != 2 {
			t.Fatalf("%s: %d hosts, %v", name, len(hosts), err)
		}
		for _, h := range hosts {
			if h.Scheme != "https" || h.Host != "registry.example:5000" || h.Path != path || h.Capabilities != docker.HostCapabilityPull|docker.HostCapabilityResolve {
				t.Errorf("%s: %s://%s%s, %v", name, h.Scheme, h.Host, h.Path, h.Capabilities)
			}
			if got := h.Header.Values("Authorization"); len(got) != 1 || got[0] != login {
				t.Errorf("%s: the header is %q", name, got)
			}
		}
	}
	if hosts, err := lookup("quay.io"); err != nil || len(hosts) != 1 || len(hosts[0].Header) > 0 {
		t.Errorf("a registry that no file is for: %+v, %v", hosts, err)
	}
}

const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`

// TestContainerdLogsIn: with a password, or for tokens where the registry gives out such;
// a host that the registry redirects to never sees the password.
func TestContainerdLogsIn(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s was given %q", r.Host, r.Header.Get("Authorization"))
		}
		_, _ = io.WriteString(w, manifest)
	}))
	defer elsewhere.Close()
	storage := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1) // another host by name
	for _, way := range []string{"password", "token"} {
		t.Run(way, func(t *testing.T) {
			var registry *httptest.Server
			registry = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				given, wanted := r.Header.Get("Authorization"), login
				if way == "token" {
					wanted = "Bearer good"
				}
				switch {
				case r.URL.Path == "/token" && given == login:
					_, _ = io.WriteString(w, `{"token":"good"}`)
				case r.URL.Path == "/token":
					_, _ = io.WriteString(w, `{"token":"nobody"}`)
				case given != wanted:
					challenge := `Basic realm="site"`
					if way == "token" {
						challenge = `Bearer realm="` + registry.URL + `/token",service="site"`
					}
					w.Header().Set("WWW-Authenticate", challenge)
					w.WriteHeader(http.StatusUnauthorized)
				case strings.Contains(r.URL.Path, "/blobs/"):
					http.Redirect(w, r, storage+"/blob", http.StatusTemporaryRedirect)
				default:
					w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
					w.Header().Set("Docker-Content-Digest", digest.FromString(manifest).String())
					_, _ = io.WriteString(w, manifest)
				}
			}))
			defer registry.Close()
			pull(t.Context(), t, hostsFor(t, registry.URL))
		})
	}
}

// pull resolves an image of an upstream name, and fetches its manifest and a blob.
func pull(ctx context.Context, t *testing.T, hosts docker.RegistryHosts) {
	t.Helper()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: hosts})
	name, desc, err := resolver.Resolve(ctx, "ghcr.io/acme/web:1")
	if err != nil {
		t.Fatal(err)
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, mediaType := range []string{desc.MediaType, "application/vnd.oci.image.layer.v1.tar"} {
		desc.MediaType = mediaType
		r, err := fetcher.Fetch(ctx, desc)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || string(data) != manifest {
			t.Errorf("%s: %q, %v", mediaType, data, err)
		}
	}
}
