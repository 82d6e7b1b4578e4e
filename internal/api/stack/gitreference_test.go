package stack

import (
	"strings"
	"testing"
)

// TestGitReferences: what kustomize and its users write, and where a host gives that as an
// archive.
func TestGitReferences(t *testing.T) {
	const flows = "https://github.com/acme/flows/archive/v1.2.tar.gz"
	for name, want := range map[string][2]string{
		"github.com/acme/flows//deploy/base?ref=v1.2":                                        {flows, "deploy/base"},
		"https://github.com/acme/flows/deploy/base?ref=v1.2&timeout=60s":                     {flows, "deploy/base"},
		"https://github.com/acme/flows.git//deploy?ref=v1.2":                                 {flows, "deploy"},
		"https://GitHub.com/acme/flows.git/deploy/?version=v1.2":                             {flows, "deploy"},
		"git::https://github.com/acme/flows?ref=v1.2&submodules=false":                       {flows, "."},
		"git@github.com:acme/flows.git//deploy?ref=v1.2":                                     {flows, "deploy"},
		"ssh://git@github.com/acme/flows//.?ref=v1.2":                                        {flows, "."},
		"github.com/acme/acme.github.io/deploy?ref=v1.2":                                     {"https://github.com/acme/acme.github.io/archive/v1.2.tar.gz", "deploy"},
		"https://github.com/acme/flows//deploy?ref=refs/tags/v1.2":                           {"https://github.com/acme/flows/archive/refs/tags/v1.2.tar.gz", "deploy"},
		"https://gitlab.com/acme/group/flows//deploy?ref=release/1":                          {"https://gitlab.com/acme/group/flows/-/archive/release/1/flows-release-1.tar.gz", "deploy"},
		"https://raw.githubusercontent.com/acme/flows/v1.2/a.yaml":                           {"https://raw.githubusercontent.com/acme/flows/v1.2/a.yaml", ""},
		"https://github.com/acme/flows/releases/download/v1.2/a.yaml":                        {"https://github.com/acme/flows/releases/download/v1.2/a.yaml", ""},
		"http://files.example/a.json?token=x":                                                {"http://files.example/a.json?token=x", ""},
		"github.com/acme/flows//deploy":                                                      {}, // no version
		"github.com/acme/flows//../deploy?ref=v1.2":                                          {},
		"github.com/acme/flows//deploy?ref=../../x":                                          {},
		"github.com/acme?ref=v1.2":                                                           {},
		"https://git.example/acme/flows//deploy?ref=v1.2":                                    {},
		"https://git.example/acme/flows.git/deploy.yaml?ref=v1.2":                            {},
		"https://user:secret@github.com/acme/flows//deploy?ref=v1.2":                         {},
		"https://git.example/install":                                                        {},
		"deploy/base":                                                                        {},
		"file:///etc/passwd":                                                                 {},
		"../github.com/acme/flows":                                                           {},
		"":                                                                                   {},
		"github.com/" + strings.Repeat("a/", 3) + "//" + strings.Repeat("../", 9) + "?ref=v": {},
	} {
		url, folder, ok := RemotePlace(name, false)
		if url != want[0] || folder != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q %q %v", name, url, folder, ok)
		}
	}
	if url, _, ok := RemotePlace("https://files.example/data", true); !ok || url != "https://files.example/data" {
		t.Errorf("a file without an ending: %q, %v", url, ok)
	}
	if _, _, ok := RemotePlace("github.com/acme/flows//deploy?ref=v1", true); ok {
		t.Error("a repository stands where only a file can")
	}
}

func FuzzGitReference(f *testing.F) {
	f.Add("https://github.com/acme/flows.git//deploy/base?ref=v1.2&timeout=60s")
	f.Add("git@github.com:acme/flows.git")
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseGitReference(s)
		if err == nil && (strings.HasPrefix(ref.Folder, "..") && (ref.Folder == ".." || ref.Folder[2] == '/') || strings.HasPrefix(ref.Folder, "/")) {
			t.Errorf("%q leads to %q", s, ref.Folder)
		}
		if a := ref.Archive(); err == nil && a != "" && strings.ContainsAny(a, " \n?#") {
			t.Errorf("%q is at %q", s, a)
		}
	})
}
