package imageref

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const dg = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	d := "@sha256:" + strings.Repeat("0", 64)
	for in, want := range map[string]string{
		"nginx":                                "docker.io/library/nginx:latest",
		"nginx:1.27":                           "docker.io/library/nginx:1.27",
		"kserve/agent:v1":                      "docker.io/kserve/agent:v1",
		"ghcr.io/acme/web":                     "ghcr.io/acme/web:latest",
		"ghcr.io/acme/web" + d:                 "ghcr.io/acme/web" + d,
		"ghcr.io/acme/web:1" + d:               "ghcr.io/acme/web:1" + d,
		"localhost:5000/x":                     "localhost:5000/x:latest",
		"127.0.0.1:5000/acme/web:v2":           "127.0.0.1:5000/acme/web:v2",
		"Nginx":                                "",
		"":                                     "",
		"a b":                                  "",
		"[::1]:5000/x":                         "",
		"x@sha512:" + strings.Repeat("0", 128): "",
		"GHCR.io/a/b:1":                        "",
		"ghcr.IO/a/b:1":                        "",
		"Docker.IO/x":                          "",
		"Foo/bar":                              "",
		"ghcr.io:123456/a":                     "",
	} {
		got, err := Parse(in)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("Parse(%q) = %q, %v", in, got, err)
		}
	}
}

func TestParseSaysWhatIsWrongWithTheHost(t *testing.T) {
	_, err := Parse("GHCR.io/a/b:1")
	if err == nil || !strings.Contains(err.Error(), `its host must be written in lower case: "ghcr.io"`) {
		t.Errorf("error is %v", err)
	}
}

func TestSitePath(t *testing.T) {
	for in, want := range map[string]string{
		"ghcr.io/acme/web":                          "ghcr.io/acme/web",
		"ghcr.io/acme/web:1.2.3@" + dg:              "ghcr.io/acme/web",
		"127.0.0.1:5000/acme/web:1":                 "127.0.0.1_5000/acme/web",
		"localhost:5000/x":                          "localhost_5000/x",
		"files.caisson.dev/web/driver:0123456789ab": "files.caisson.dev/web/driver",
		"Registry.Example/acme/web@" + dg:           "registry.example/acme/web",
	} {
		if got := Ref(in).SitePath(); got != want {
			t.Errorf("Ref(%q).SitePath() = %q, want %q", in, got, want)
		}
	}
}

func TestParts(t *testing.T) {
	for in, want := range map[Ref][5]string{ // repository, host, name, tag, digest
		"ghcr.io/acme/web:1.2.3":        {"ghcr.io/acme/web", "ghcr.io", "web", "1.2.3", ""},
		"ghcr.io/acme/web@" + dg:        {"ghcr.io/acme/web", "ghcr.io", "web", "", dg},
		"ghcr.io/acme/web:1.2.3@" + dg:  {"ghcr.io/acme/web", "ghcr.io", "web", "1.2.3", dg},
		"127.0.0.1:5000/web":            {"127.0.0.1:5000/web", "127.0.0.1:5000", "web", "", ""},
		"127.0.0.1:5000/web:5000@" + dg: {"127.0.0.1:5000/web", "127.0.0.1:5000", "web", "5000", dg},
		"":                              {},
	} {
		got := [5]string{in.Repository(), in.Host(), in.Name(), in.Tag(), string(in.Digest())}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestOthersOfTheRepository(t *testing.T) {
	const in = Ref("127.0.0.1:5000/web:1@" + dg)
	if got, want := in.Tagged(), Ref("127.0.0.1:5000/web:1"); got != want {
		t.Errorf("Tagged: %q, want %q", got, want)
	}
	if got, want := in.At(digest.FromString("x")), Ref("127.0.0.1:5000/web@"+string(digest.FromString("x"))); got != want {
		t.Errorf("At: %q, want %q", got, want)
	}
	if got, want := in.WithTag("2"), Ref("127.0.0.1:5000/web:2"); got != want {
		t.Errorf("WithTag: %q, want %q", got, want)
	}
}

func TestValid(t *testing.T) {
	for _, in := range []Ref{"ghcr.io/a/b:1", "ghcr.io/a/b@" + dg, "ghcr.io/a/b:1@" + dg, "localhost:5000/x", "registry.Example/acme/web"} {
		if !in.Valid() {
			t.Errorf("%q: refused", in)
		}
	}
	for _, in := range []Ref{
		"", "nginx", "ghcr.io/A:1", "ghcr.io/a:", "ghcr.io/a@sha256:00", "ghcr.io/../a:1", "ghcr.io/a b", "https://ghcr.io/a:1",
		"ghcr.io/a:1\n", "ghcr.io//a", "[::1]:5000/x:1", "ghcr.io/a@" + dg + "0", Ref("ghcr.io/" + strings.Repeat("a", MaxLength)),
	} {
		if in.Valid() {
			t.Errorf("%q: accepted", in)
		}
	}
}

// FuzzParse: what is parsed is whole, stays what it is, and its parts make it up
// again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"nginx", "ghcr.io/acme/web:1.2.3@" + dg, "localhost:5000/x", "a/b/c:d", "GHCR.io/a/b:1", "Docker.IO/x", "ghcr.io:123456/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, written string) {
		r, err := Parse(written)
		if err != nil {
			return
		}
		if !r.Valid() {
			t.Errorf("%q: %q is not valid", written, r)
		}
		if again, err := Parse(string(r)); err != nil || again != r {
			t.Errorf("%q: %q again is %q, %v", written, r, again, err)
		}
		whole := r.Repository()
		if r.Tag() != "" {
			whole += ":" + r.Tag()
		}
		if r.Digest() != "" {
			whole += "@" + string(r.Digest())
		}
		if whole != string(r) {
			t.Errorf("%q: the parts of %q make %q", written, r, whole)
		}
		if strings.Contains(r.SitePath(), ":") || strings.Contains(r.SitePath(), "..") {
			t.Errorf("%q: its place is %q", written, r.SitePath())
		}
	})
}
