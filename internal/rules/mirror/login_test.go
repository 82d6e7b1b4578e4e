package mirror

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/caisson/caisson/internal/api/plan"
)

func TestALoginIsForARegistry(t *testing.T) {
	for _, c := range []struct {
		entry, host string
		want        bool
	}{
		{"registry.site:5000", "registry.site:5000", true},
		{"https://registry.site:5000/v1/", "registry.site:5000", true},
		{"registry.site:5000/project", "registry.site:5000", true},
		{"*.site:5000", "registry.site:5000", true},
		{"registry.site", "registry.site:5000", false},
		{"*", "registry.site:5000", false},
		{"other.site:5000", "registry.site:5000", false},
		{"[", "[", false},
	} {
		if got := loginIsFor(c.entry, c.host); got != c.want {
			t.Errorf("%s for %s: %v", c.entry, c.host, got)
		}
	}
}

// dockerConfig is a Docker configuration with one entry.
func dockerConfig(entry, login string) string { return fmt.Sprintf(`{"auths":{%q:%s}}`, entry, login) }

func TestParseLogin(t *testing.T) {
	const host = "reg.site:5000"
	coded := func(text string) string {
		return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(text)) + `"}`
	}
	for name, c := range map[string]struct{ config, user, password string }{
		"name and password":      {dockerConfig(host, `{"username":"u","password":"p"}`), "u", "p"},
		"auth":                   {dockerConfig(host, coded("u:p")), "u", "p"},
		"auth without padding":   {dockerConfig(host, strings.ReplaceAll(coded("u:pw"), "=", "")), "u", "pw"},
		"a colon in a password":  {dockerConfig(host, coded("u:p:q")), "u", "p:q"},
		"both: the name counts":  {dockerConfig(host, `{"username":"u","password":"p","auth":"eDp5"}`), "u", "p"},
		"the last entry counts":  {`{"auths":{"*.site:5000":` + coded("a:b") + `,"reg.site:5000":` + coded("u:p") + `}}`, "u", "p"},
		"one without a login":    {`{"auths":{"*.site:5000":` + coded("u:p") + `,"reg.site:5000":{}}}`, "u", "p"},
		"with what else it says": {`{"credsStore":"x","auths":{"reg.site:5000":{"email":"e","username":"u","password":"p"}}}`, "u", "p"},
	} {
		for range 10 { // maps have no order
			l, err := ParseLogin([]byte(c.config), host)
			if err != nil || l.Name() != c.user || l.Password() != c.password {
				t.Errorf("%s: %q, %q, %v", name, l.Name(), l.Password(), err)
			}
		}
	}
	for name, config := range map[string]string{
		"another registry":   dockerConfig("other.site", coded("u:hunter2")),
		"nothing":            `{}`,
		"auth is no base64":  dockerConfig(host, `{"auth":"hunter2!"}`),
		"a token only":       dockerConfig(host, `{"identitytoken":"hunter2"}`),
		"auth without name":  dockerConfig(host, coded(":hunter2")),
		"the wrong document": `{"auths":null}`,
	} {
		if _, err := ParseLogin([]byte(config), host); !errors.Is(err, plan.ErrNoLogin) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, config := range []string{"", "hunter2", `{"auths":["hunter2"]}`, `{"auths":{"reg.site:5000":"hunter2"}}`, `{"auths":{"reg.site:5000":{"auth":2}}}`} {
		if _, err := ParseLogin([]byte(config), host); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestALoginIsNotShown: whatever formats one by mistake.
func TestALoginIsNotShown(t *testing.T) {
	l := NewLogin("robot", "hunter2")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb, l); strings.Contains(text, "robot") || strings.Contains(text, "hunter2") {
			t.Errorf("%s gives %s", verb, text)
		}
	}
}

func TestContainerdLoginGolden(t *testing.T) {
	c := sample()
	c.Login = true
	var files []File
	for _, f := range c.Containerd() {
		files = append(files, f.WithLogin(NewLogin("robot", "right")))
	}
	golden(t, "containerd-login.golden", listing(files))
}

// TestALoginGoesToTheRegistryAlone: each hosts.toml leads to the registry and has the
// login for it; only such a file is a secret.
func TestALoginGoesToTheRegistryAlone(t *testing.T) {
	type rules struct{ Header map[string][]string }
	for _, plain := range []bool{false, true} {
		c := Config{Stack: "demo", Registry: "reg.site:5000/mirror", PlainHTTP: plain, Hosts: []string{"docker.io", "ghcr.io"}, Login: true}
		if !plain {
			c.CA = authority
		}
		hosts := 0
		for _, f := range c.Containerd() {
			f = f.WithLogin(NewLogin("robot", "right"))
			if f.Authority {
				if f.Secret {
					t.Errorf("%s is a secret", f.Path)
				}
				continue
			}
			var got struct {
				rules
				Server string
				Host   map[string]rules
			}
			if err := toml.Unmarshal(f.Data, &got); err != nil {
				t.Fatalf("%s: %v", f.Path, err)
			}
			const want = "Basic cm9ib3Q6cmlnaHQ="
			for address, r := range got.Host {
				if hosts++; address != got.Server || !strings.HasPrefix(address, c.scheme()+"reg.site:5000") || r.Header["Authorization"][0] != want {
					t.Errorf("%s: %+v", f.Path, got)
				}
			}
			if got.Header["Authorization"][0] != want || !f.Secret {
				t.Errorf("%s: %+v, secret: %v", f.Path, got.rules, f.Secret)
			}
		}
		if hosts != 3 {
			t.Errorf("%d hosts have the login, want docker.io, ghcr.io and the registry's own name", hosts)
		}
	}
}

func FuzzParseLogin(f *testing.F) {
	for _, seed := range []string{`{"auths":{"reg.site:5000":{"auth":"dTpw"}}}`, `{"auths":{"*.site:5000":{"username":"u\"\n[host]"}}}`, `[`} {
		f.Add([]byte(seed))
	}
	c := Config{Stack: "demo", Registry: "reg.site:5000", Hosts: []string{"ghcr.io"}, Login: true}
	f.Fuzz(func(t *testing.T, config []byte) {
		l, err := ParseLogin(config, "reg.site:5000")
		if err != nil {
			return
		}
		var got hostsTOML
		if err := toml.Unmarshal(c.Containerd()[0].WithLogin(l).Data, &got); err != nil || len(got.Host) != 1 {
			t.Errorf("%v: %+v", err, got)
		}
	})
}
