package stacks

import (
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
)

// The files of a draft model are that model's, and not something that the stack names.
func TestExtrasOfAModelAreCompared(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	former := &lock.HubModel{
		Repository: "acme/large", Name: "large",
		Extras: []lock.ModelExtra{{Path: "draft", Repository: "Acme/Draft", Commit: commit}},
		Files: []lock.ModelFile{
			{Path: "config.json"},
			{Path: "draft/config.json", URL: "https://huggingface.co/Acme/Draft/resolve/" + commit + "/config.json"},
			{Path: "words.tiktoken", URL: "https://acme.example/words.tiktoken"},
		},
	}
	draft := stack.ModelExtra{Path: "draft", Source: "hf://acme/draft"}
	words := stack.ModelExtra{Path: "words.tiktoken", URL: "https://acme.example/words.tiktoken"}
	for name, c := range map[string]struct {
		extras []stack.ModelExtra
		want   []string
	}{
		"the same": {[]stack.ModelExtra{draft, words}, nil},
		"one less": {[]stack.ModelExtra{words}, []string{"model large with hf://acme/draft in draft: no more"}},
		"another": {[]stack.ModelExtra{draft, {Path: "words.tiktoken", URL: "https://acme.example/newer.tiktoken"}}, []string{
			"model large with https://acme.example/newer.tiktoken as words.tiktoken: new",
			"model large with https://acme.example/words.tiktoken as words.tiktoken: no more"}},
	} {
		m := &stack.Model{Name: "large", Source: "hf://acme/large", Extras: c.extras}
		if got := compareModel(m, former); !slices.Equal(got, c.want) {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}
