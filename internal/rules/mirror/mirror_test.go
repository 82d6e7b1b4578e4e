package mirror

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/caisson/caisson/internal/api/imageref"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write goldens")

const authority = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

func sample() Config {
	return Config{Stack: "demo", Registry: "reg.site:5000/mirror", CA: authority, Hosts: []string{"docker.io", "ghcr.io", "reg.lan:8443"}}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is another; go test -update writes it:\n%s", name, got)
	}
}

func listing(files []File) string {
	var b strings.Builder
	for _, f := range files {
		b.WriteString("== " + f.Path + "\n" + string(f.Data))
	}
	return b.String()
}

func TestContainerdGolden(t *testing.T) {
	golden(t, "containerd.golden", listing(sample().Containerd()))
}

func TestCRIOGolden(t *testing.T) { golden(t, "crio.golden", listing(sample().CRIO())) }

func TestOpenShiftGolden(t *testing.T) {
	var b strings.Builder
	for _, o := range sample().OpenShift() {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n" + string(text))
	}
	golden(t, "openshift.golden", b.String())
}

// hostsTOML is what containerd reads of a hosts.toml.
type hostsTOML struct {
	hostRules
	Server string
	Host   map[string]hostRules
}

type hostRules struct {
	Capabilities []string
	OverridePath bool `toml:"override_path"`
	CA           string
}

// TestContainerdLeadsWhereImagesLie joins what a runtime would ask for with
// where load and serve put repositories.
func TestContainerdLeadsWhereImagesLie(t *testing.T) {
	for _, registry := range []string{"reg.site:5000", "reg.site", "reg.site/a/b", "reg.site:5000/mirror/"} {
		for _, plain := range []bool{false, true} {
			c := sample()
			c.Registry, c.PlainHTTP = registry, plain
			for _, ref := range []imageref.Ref{"docker.io/library/nginx:1", "ghcr.io/acme/web:1", "reg.lan:8443/a/b/c:2"} {
				host, repository, _ := strings.Cut(ref.Repository(), "/")
				var h hostsTOML
				find(t, c, hostDirectory(host), &h)
				scheme, base := "https", strings.TrimSuffix(registry, "/")
				if plain {
					scheme = "http"
				}
				address, prefix, _ := strings.Cut(base, "/")
				want := scheme + "://" + address + "/v2/" + strings.TrimPrefix(prefix+"/", "/") + ref.SitePath()
				if got := h.Server + "/" + repository; got != want || !h.OverridePath || h.CA != CAFile {
					t.Errorf("%s at %s: the server is %s, want %s; %+v", ref, registry, got, want, h.hostRules)
				}
				rules, ok := h.Host[h.Server]
				if !ok || len(h.Host) != 1 || !rules.OverridePath || !slices.Equal(rules.Capabilities, []string{"pull", "resolve"}) || rules.CA != CAFile {
					t.Errorf("%s at %s: %+v", ref, registry, h)
				}
			}
		}
	}
}

func find(t *testing.T, c Config, dir string, into *hostsTOML) {
	t.Helper()
	for _, f := range c.Containerd() {
		if f.Path == dir+"/"+HostsFile {
			if err := toml.Unmarshal(f.Data, into); err != nil {
				t.Fatalf("%s: %v\n%s", f.Path, err, f.Data)
			}
			return
		}
	}
	t.Fatalf("no %s for %s", HostsFile, dir)
}

// TestCRIONeverNamesAnUpstream: a location that is the upstream would be asked
// when the mirror lacks an image.
func TestCRIONeverNamesAnUpstream(t *testing.T) {
	var got struct {
		Registry []struct {
			Prefix, Location string
			Insecure         bool
			Mirror           []any
		}
	}
	c := sample()
	c.PlainHTTP = true
	if err := toml.Unmarshal(c.CRIO()[0].Data, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Registry) != len(c.Hosts) {
		t.Fatalf("%+v", got)
	}
	for i, r := range got.Registry {
		if r.Prefix != c.Hosts[i] || !strings.HasPrefix(r.Location, "reg.site:5000/mirror/") || !r.Insecure || len(r.Mirror) > 0 {
			t.Errorf("%+v", r)
		}
	}
}

func TestHosts(t *testing.T) {
	got := Hosts([]imageref.Ref{"ghcr.io/a/b:1", "docker.io/library/nginx@sha256:00", "ghcr.io/c:2", "images.caisson.dev/caisson:1", "reg.lan:8443/x:1"})
	if want := []string{"docker.io", "ghcr.io", "reg.lan:8443"}; !slices.Equal(got, want) {
		t.Errorf("hosts are %q, want %q", got, want)
	}
}
