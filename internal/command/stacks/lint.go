package stacks

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/event"
)

// Lint looks for what in a stack can be read and is still unwise, without asking anybody.
// A stack that cannot be read is an error.
func Lint(name string, sink event.Sink) ([]event.Finding, error) {
	s, err := stack.Read(name)
	if err != nil {
		return nil, err
	}
	l := linter{stack: s, held: s.Held()}
	for i := range s.Components {
		l.lintComponent(i, &s.Components[i])
	}
	for _, f := range l.found {
		sink.Emit(event.Event{Verb: Verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
	}
	return l.found, nil
}

// linter gathers findings about one stack.
type linter struct {
	stack *stack.Stack
	held  map[string]bool // components that a profile holds
	found []event.Finding
}

// addFinding notes a finding at a field of the stack.
func (l *linter) addFinding(code, component, field, hint, format string, args ...any) {
	l.found = append(l.found, event.Finding{
		Severity: event.Warn, Code: code, Item: component,
		What: l.stack.Origin(field).Place() + ": component " + component + ": " + fmt.Sprintf(format, args...), Hint: hint,
	})
}

func (l *linter) lintComponent(i int, c *stack.Component) {
	at := fmt.Sprintf("components[%d]", i)
	for j := range c.Images {
		l.lintImage(c, j, fmt.Sprintf("%s.images[%d]", at, j))
	}
	for j := range c.Models {
		l.lintModel(c, &c.Models[j], fmt.Sprintf("%s.models[%d]", at, j))
	}
	for j := range c.UpstreamManifests {
		l.lintUpstreamManifest(c, &c.UpstreamManifests[j], fmt.Sprintf("%s.upstreamManifests[%d]", at, j))
	}
	for j, a := range c.Allow {
		if strings.Trim(a.Match, "*/ ") == "" {
			l.addFinding(event.CodeWideAllow, c.Name, fmt.Sprintf("%s.allow[%d]", at, j),
				"name the template or the text under match", "everything of %s is allowed (%s), also what is added later", a.Code, a.Reason)
		}
	}
	installed := len(c.Charts) + len(c.Manifests) + len(c.UpstreamManifests)
	if len(c.Ready) == 0 && installed > 0 {
		l.addFinding(event.CodeNoReady, c.Name, at,
			"name under ready what must hold before others begin, such as {kind: Deployment, name: web, condition: Available}",
			"nothing says when it is ready")
	}
	if len(l.stack.Profiles) > 0 && !l.held[c.Name] {
		l.addFinding(event.CodeNoProfile, c.Name, at, "add it to a profile, or leave it: then only the whole stack carries it",
			"no profile holds it and nothing in one needs it")
	}
}

const writeCommit = "write the commit as its revision: 40 hex digits, as the hub shows it"

func (l *linter) lintModel(c *stack.Component, m *stack.Model, at string) {
	if !commit.MatchString(m.Revision) {
		l.addFinding(event.CodeMovingRevision, c.Name, at, writeCommit,
			"model %s is taken from %s, which moves", m.Name, orMain(m.Revision))
	}
	for k, e := range m.Extras {
		if e.Source != "" && !commit.MatchString(e.Revision) {
			l.addFinding(event.CodeMovingRevision, c.Name, fmt.Sprintf("%s.extras[%d]", at, k), writeCommit,
				"model %s: its extra %s is taken from %s, which moves", m.Name, e.Source, orMain(e.Revision))
		}
	}
}

var commit = regexp.MustCompile(`^[0-9a-f]{40}$`)

func orMain(revision string) string {
	if revision == "" {
		return "main"
	}
	return revision
}

func (l *linter) lintImage(c *stack.Component, j int, at string) {
	ref, err := c.Image(j)
	if err != nil {
		return
	}
	if tag := ref.Tag(); ref.Digest() == "" && (tag == "" || tag == "latest") {
		l.addFinding(event.CodeMovingTag, c.Name, at, "name a version or a digest",
			"image %s has a tag that moves with each release", ref)
	}
}

// moving is a branch, or whatever is newest, in the address of a file or archive.
var moving = regexp.MustCompile(`/(main|master|HEAD|refs/heads/[^/]+|releases/latest/download)(/|\.tar\.gz)`)

func (l *linter) lintUpstreamManifest(c *stack.Component, m *stack.UpstreamManifest, at string) {
	if url, _ := m.Place(); m.SHA256 == "" && moving.MatchString(url) {
		l.addFinding(event.CodeMovingRevision, c.Name, at, "name a tag or a commit in its address",
			"manifest %s is taken from %s, which moves", m.Name, url)
	}
}
