package manifests_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/command/stacks"
)

// TestStackIsDocumented holds docs/stack.md against the stack that comes with the program.
func TestStackIsDocumented(t *testing.T) {
	const path = "../docs/stack.md"
	s, err := stack.ReadShipped("sovereign-ai")
	if err != nil {
		t.Fatal(err)
	}
	facts, err := stacks.ReadFacts("sovereign-ai")
	if err != nil {
		t.Fatal(err)
	}
	d := document{stack: s, facts: facts}
	want := d.write()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not what the stack gives (%v); run: go test ./manifests -update", path, err)
	}
}

// TestFactsAreOfTheStack holds manifests/facts against the stack, and makes them anew of a
// lock of the whole stack where one is named.
func TestFactsAreOfTheStack(t *testing.T) {
	s, err := stack.ReadShipped("sovereign-ai")
	if err != nil {
		t.Fatal(err)
	}
	facts, err := stacks.ReadFacts("sovereign-ai")
	if err != nil {
		t.Fatal(err)
	}
	if *lockFile != "" {
		facts = factsOf(t, s, facts)
		writeFacts(t, facts)
	}
	for i := range s.Components {
		c := &s.Components[i]
		sources, err := stacks.Sources(c)
		if got := facts.Components[c.Name].Of; err != nil || !slices.Equal(got, sources) {
			t.Errorf("the facts of %s are of %q, the stack has %q (%v): resolve it, and run go test ./manifests -lock FILE -update", c.Name, got, sources, err)
		}
	}
	for component := range facts.Notes {
		if _, known := facts.Components[component]; !known {
			t.Errorf("a note speaks of component %s", component)
		}
	}
	if len(facts.Components) != len(s.Components) {
		t.Errorf("the facts are of %d components, the stack has %d", len(facts.Components), len(s.Components))
	}
}

var lockFile = flag.String("lock", "", "`LOCK` of the whole stack, of which its facts are made")

// factsOf takes what components bring from a lock.
func factsOf(t *testing.T, s *stack.Stack, before stacks.Facts) stacks.Facts {
	t.Helper()
	l, err := lock.Read(*lockFile)
	if err != nil {
		t.Fatal(err)
	}
	out := stacks.Facts{Components: map[string]stacks.ComponentFacts{}, Sizes: before.Sizes, Notes: before.Notes}
	for i := range s.Components {
		c := &s.Components[i]
		sources, err := stacks.Sources(c)
		if err != nil {
			t.Fatal(err)
		}
		one := stacks.ComponentFacts{Of: sources}
		for j := range l.Items {
			if it := &l.Items[j]; it.Kind == lock.Image && slices.Contains(it.Components, c.Name) {
				one.Images = append(one.Images, it.Ref)
			}
		}
		for _, locked := range l.Components {
			if locked.Name == c.Name {
				one.CRDs = locked.CRDs
			}
		}
		out.Components[c.Name] = one
	}
	return out
}

func writeFacts(t *testing.T, facts stacks.Facts) {
	t.Helper()
	text, err := yaml.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	const about = "# What charts and manifests of sovereign-ai bring, as resolve found it; go test ./manifests -lock\n" +
		"# LOCK makes this of a lock of the whole stack. Sizes are about, and of large images alone.\n"
	if err := os.WriteFile("facts/sovereign-ai.yaml", append([]byte(about), text...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// smallImage is what an image without a size is taken for, in GiB.
const smallImage = 0.1

// document writes what a stack is made of.
type document struct {
	stack *stack.Stack
	facts stacks.Facts
	b     strings.Builder
}

func (d *document) line(format string, args ...any) { fmt.Fprintf(&d.b, format+"\n", args...) }

func (d *document) write() string {
	d.line("# The stack sovereign-ai %s\n", d.stack.Metadata.Version)
	d.line("Made of `manifests/stacks/sovereign-ai.yaml` and `manifests/facts/sovereign-ai.yaml` by `go test ./manifests -update`.")
	d.line("Sizes are about what crosses the gap, compressed; a node that unpacks an image wants two to three times as")
	d.line("much. `caisson resolve` says the exact bytes, `caisson plan` what a site's nodes have room for.\n")
	for _, p := range d.stack.Profiles {
		d.writeProfile(p)
	}
	d.line("## Components\n")
	for i := range d.stack.Components {
		d.writeComponent(&d.stack.Components[i])
	}
	return strings.TrimRight(d.b.String(), "\n") + "\n"
}

func (d *document) writeProfile(p stack.Profile) {
	cut, err := d.stack.Cut([]string{p.Name})
	if err != nil {
		d.line("%v", err)
		return
	}
	d.line("## Profile %s\n\n%s. `caisson resolve --profile %s`\n", p.Name, p.About, p.Name)
	d.line("| component | version | images | GiB | licence |\n|---|---|---|---|---|")
	var images int
	var size float64
	for i := range cut.Components {
		c := &cut.Components[i]
		list := d.imagesOf(c)
		d.line("| [%s](#%s) | %s | %d | %.1f | %s |", c.Name, c.Name, strings.Join(versionsOf(c), ", "), len(list), d.sizeOf(list), c.License)
		images, size = images+len(list), size+d.sizeOf(list)
	}
	d.line("| | | %d | %.1f | |\n", images, size)
}

// imagesOf are those that a component comes to, without servers of models whose runtime is
// off.
func (d *document) imagesOf(c *stack.Component) []imageref.Ref {
	off := map[string]bool{}
	for _, ch := range c.Charts {
		runtimes, _ := ch.Values["runtimes"].(map[string]any)
		for name, image := range map[string]string{"nvidia": "docker.io/vllm/vllm-openai", "amd": "docker.io/vllm/vllm-openai-rocm"} {
			runtime, _ := runtimes[name].(map[string]any)
			off[image] = runtime["enabled"] == false
		}
	}
	return slices.DeleteFunc(slices.Clone(d.facts.Components[c.Name].Images), func(ref imageref.Ref) bool { return off[ref.Repository()] })
}

// versionsOf are the versions of what a component is made of.
func versionsOf(c *stack.Component) []string {
	var out []string
	add := func(version string) {
		if version != "" && !slices.Contains(out, version) {
			out = append(out, version)
		}
	}
	for _, ch := range c.Charts {
		add(ch.Version)
		if _, ours := ch.Shipped(); ours {
			add("ours")
		}
	}
	for _, m := range c.UpstreamManifests {
		add(m.Origin())
	}
	for _, m := range c.Models {
		add(m.Source)
	}
	return out
}

func (d *document) sizeOf(images []imageref.Ref) (sum float64) {
	for _, ref := range images {
		if gib, known := d.facts.Sizes[ref.Repository()]; known {
			sum += gib
		} else {
			sum += smallImage
		}
	}
	return sum
}

func (d *document) writeComponent(c *stack.Component) {
	d.line("### %s\n", c.Name)
	for _, ch := range c.Charts {
		d.line("- chart %s %s of %s", ch.Name, ch.Version, ch.Source)
		for _, value := range flatten("", ch.Values) {
			d.line("  - value `%s`", value)
		}
	}
	for _, m := range c.UpstreamManifests {
		d.line("- manifest %s of %s", m.Name, m.Origin())
		for _, p := range m.Patches {
			d.line("  - patch of %s: `%s`", targetOf(p), strings.Join(strings.Fields(p.Patch+p.Path), " "))
		}
	}
	for _, m := range c.Models {
		d.line("- model %s at %s", m.Source, m.Revision)
	}
	for _, image := range d.facts.Components[c.Name].Images {
		how := ""
		if slices.Contains(c.Images, string(image)) {
			how = ", which no chart shows"
		}
		d.line("- image %s%s", image, how)
	}
	for _, crd := range d.facts.Components[c.Name].CRDs {
		d.line("- definition %s: %s", crd.Name, strings.Join(crd.Served, ", "))
	}
	if len(c.Needs) > 0 {
		d.line("- needs %s", strings.Join(c.Needs, ", "))
	}
	for _, r := range c.Ready {
		d.line("- ready when %s %s is %s", r.Kind, r.Name, orThere(r.Condition))
	}
	for _, a := range c.Allow {
		d.line("- allowed: %s of `%s`: %s", a.Code, a.Match, a.Reason)
	}
	for _, note := range d.facts.Notes[c.Name] {
		d.line("- %s", strings.TrimSpace(note))
	}
	d.line("")
}

func targetOf(p stack.ManifestPatch) string {
	if p.Target == nil {
		return "what it names"
	}
	return strings.TrimSpace(p.Target.Kind + " " + p.Target.Name)
}

func orThere(condition string) string {
	if condition == "" {
		return "there and done"
	}
	return condition
}

// plainValue is a text itself, and anything else as JSON.
func plainValue(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// flatten lists values by their paths, sorted; of a text of several lines the first.
func flatten(path string, values any) []string {
	m, ok := values.(map[string]any)
	if !ok {
		text, more, _ := strings.Cut(plainValue(values), "\n")
		if more != "" {
			text += " …"
		}
		return []string{path + ": " + text}
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, flatten(strings.TrimPrefix(path+"."+key, "."), m[key])...)
	}
	return out
}
