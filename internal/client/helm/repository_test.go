package helm

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

const indexYAML = `apiVersion: v1
entries:
  web:
  - {version: 1.2.3, urls: [web-1.2.3.tgz], digest: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF}
  - {version: v1.2.2, urls: ["https://cdn.example/web-1.2.2.tgz?x=1"]}
  - {version: 1.2.1, urls: [/root/web.tgz], digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
  - {version: 1.2.0, urls: []}
  - {version: 1.1.0, urls: ["file:///etc/passwd"]}
  - {version: 1.0.0, urls: [x.tgz], digest: short}
  - {version: 0.9.0, urls: [x.tgz], removed: true}
  - {version: 0.8.0, urls: ["ftp://x/y"]}
  numbers:
  - {version: 1.0, urls: [x.tgz], digest: 0000000000000000000000000000000000000000000000000000000000000000}
  nothing:
  broken: {not: a list}
`

const hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestIndexFind(t *testing.T) {
	x, err := ParseIndex([]byte(indexYAML))
	if err != nil {
		t.Fatal(err)
	}
	const repository = "https://charts.example/stable"
	for version, want := range map[string]string{
		"1.2.3": "https://charts.example/stable/web-1.2.3.tgz " + hash + " 1.2.3",
		"1.2.2": "https://cdn.example/web-1.2.2.tgz?x=1  v1.2.2",
		"1.2.1": "https://charts.example/root/web.tgz " + hash + " 1.2.1",
	} {
		c, err := x.Find(repository, "web", version)
		if got := c.URL + " " + string(c.Digest) + " " + c.Version; err != nil || got != want || c.Name != "web" {
			t.Errorf("%s: %s, %v; want %s", version, got, err, want)
		}
	}
	for _, version := range []string{"1.2.0", "1.1.0", "1.0.0", "0.8.0"} {
		if c, err := x.Find(repository, "web", version); err == nil {
			t.Errorf("%s: found %+v", version, c)
		}
	}
	if c, err := x.Find(repository, "numbers", "1.0"); err != nil || c.Digest.Encoded() != strings.Repeat("0", 64) {
		t.Errorf("a version and a digest without quotes: %+v, %v", c, err)
	}
	for _, name := range []string{"nothing", "broken"} {
		if _, err := x.Find(repository, name, "1.0"); err == nil {
			t.Errorf("%s was found", name)
		}
	}
	for _, version := range []string{"0.9.0", "1.2", "^1", ""} {
		if _, err := x.Find(repository, "web", version); !errors.Is(err, ErrNoVersion) || !strings.Contains(err.Error(), "1.2.3, v1.2.2") {
			t.Errorf("%q: %v", version, err)
		}
	}
	for _, name := range []string{"gone", ""} {
		if _, err := x.Find(repository, name, "1.0.0"); !errors.Is(err, ErrNoChart) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseIndexRefuses(t *testing.T) {
	for _, text := range []string{"", "[]", "hello", "a: [", "{}", "entries: 7\n"} {
		if _, err := ParseIndex([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	if _, err := ParseIndex([]byte(`{"apiVersion":"v1","entries":{}}`)); err != nil {
		t.Errorf("an empty index as JSON: %v", err)
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(indexYAML), "https://charts.example/stable")
	f.Add([]byte(`{"apiVersion":"v1","entries":{"web":[{"version":"1.2.3","urls":["../../x"]}]}}`), "http://a")
	f.Fuzz(func(t *testing.T, data []byte, repository string) {
		x, err := ParseIndex(data)
		if err != nil {
			return
		}
		for name, entries := range x.entries {
			for _, e := range entries {
				c, err := x.Find(repository, name, e.Version)
				if err != nil {
					continue
				}
				u, err := url.Parse(c.URL)
				if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
					t.Errorf("found at %q", c.URL)
				}
				if c.Digest != "" && c.Digest.Validate() != nil {
					t.Errorf("digest %q", c.Digest)
				}
			}
		}
	})
}
