package lock

import (
	"slices"
	"strings"
	"testing"
)

// TestFilesHaveTheLicenceOfTheirOwner: a file has the licence of the model that it is from;
// of one from another address, nobody declares one.
func TestFilesHaveTheLicenceOfTheirOwner(t *testing.T) {
	commit := strings.Repeat("a", 40)
	from := func(repository, path string) string {
		return "https://huggingface.co/acme/" + repository + "/resolve/" + commit + "/" + path
	}
	m := &HubModel{Repository: "acme/Whole", Commit: commit, License: "apache-2.0",
		Extras: []ModelExtra{
			{Path: "draft", Repository: "acme/Draft", Commit: commit, License: "mit"},
			{Path: "draft/inner", Repository: "acme/Draft", Commit: commit, License: "isc"},
		},
		Files: []ModelFile{{Path: "config.json"}},
	}
	if got := m.licenses(); !slices.Equal(got, []string{"apache-2.0", "mit", "isc"}) {
		t.Errorf("licences %q", got)
	}
	for _, c := range []struct{ path, url, want string }{
		{"config.json", "", "apache-2.0"},
		{"draft/config.json", from("Draft", "config.json"), "mit"},
		{"draft/inner/config.json", from("Draft", "config.json"), "isc"},
		{"draft/codes.tiktoken", "https://dl.acme.example/codes.tiktoken", ""},
		{"tiktoken/codes.tiktoken", "https://dl.acme.example/codes.tiktoken", ""},
	} {
		f := ModelFile{Path: c.path, URL: c.url}
		if got := m.licenseOf(f); got != c.want {
			t.Errorf("%s: licence %q, want %q", c.path, got, c.want)
		}
		m.Files = append(m.Files, f)
	}
	if got := m.licenses(); !slices.Equal(got, []string{"apache-2.0", "mit", "isc", ""}) {
		t.Errorf("licences %q where nobody declares that of a file", got)
	}
	m.Extras, m.License = nil, ""
	if got := m.licenses(); got != nil {
		t.Errorf("licences %q where there are none", got)
	}
}
