package kube

import "testing"

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
	for _, l := range []dockerLogin{{Username: "u", Password: "p"}, {Auth: "dTpw"}} {
		if user, password := l.nameAndPassword(); user != "u" || password != "p" {
			t.Errorf("%q, %q", user, password)
		}
	}
}
