package stacks

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/manifests"
)

// Facts are what components of a shipped stack were found to bring when it was made, which
// their charts alone say.
type Facts struct {
	Components map[string]ComponentFacts `yaml:"components"`
	Sizes      map[string]float64        `yaml:"sizes"` // of large images: GiB compressed, by repository
	Notes      map[string][]string       `yaml:"notes"` // what people have to know at a site, by component
}

// ComponentFacts are those of one component.
type ComponentFacts struct {
	Of     []string       `yaml:"of"` // charts and manifests with their versions, see Sources
	Images []imageref.Ref `yaml:"images,omitempty"`
	CRDs   []lock.CRD     `yaml:"crds,omitempty"`
}

// ReadFacts reads those of a shipped stack; there may be none.
func ReadFacts(name string) (Facts, error) {
	text, found := manifests.Facts(name)
	if !found {
		return Facts{}, nil
	}
	var f Facts
	if err := yaml.Unmarshal(text, &f); err != nil {
		return Facts{}, fmt.Errorf("reading what is known of stack %s: %w", name, err)
	}
	return f, nil
}

// Sources names the charts of a component with their versions, and its upstreams'
// manifests.
func Sources(c *stack.Component) ([]string, error) {
	var out []string
	for i := range c.Charts {
		ch := &c.Charts[i]
		version := ch.Version
		if name, ours := ch.Shipped(); ours {
			chart, err := helm.OpenOurs(name)
			if err != nil {
				return nil, err
			}
			version = chart.Version()
		}
		out = append(out, ch.UpstreamName()+" "+version)
	}
	for i := range c.UpstreamManifests {
		out = append(out, c.UpstreamManifests[i].Origin())
	}
	return out, nil
}

// sourcesIn are those of a component as a lock has it.
func sourcesIn(l *lock.Lock, c *lock.Component) []string {
	var out []string
	for _, r := range c.Releases {
		out = append(out, r.Chart.Name()+" "+lock.ChartVersion(r.Chart.Tag()))
	}
	for _, ref := range c.Manifests {
		for i := range l.Items {
			if f, ok := lock.As[*lock.RawFile](&l.Items[i]); ok && l.Items[i].Ref == ref && (f.URL != "" || f.Build != nil) {
				out = append(out, l.Items[i].Source)
			}
		}
	}
	return out
}

// known are facts of all shipped stacks.
type known []Facts

func readKnown() (known, error) {
	var out known
	for _, name := range manifests.Stacks() {
		f, err := ReadFacts(name)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// of finds what is known of a component with just these sources.
func (k known) of(c *stack.Component, sources []string) (ComponentFacts, bool) {
	for _, facts := range k {
		if f, ok := facts.Components[c.Name]; ok && slices.Equal(f.Of, sources) {
			return f, true
		}
	}
	return ComponentFacts{}, false
}

// compareKnown tells what other charts and manifests of a component bring, where that is
// known; false: it is not, or they are the same.
func (k known) compareKnown(c *stack.Component, l *lock.Lock, former *lock.Component) ([]string, bool, error) {
	sources, err := Sources(c)
	if err != nil || slices.Equal(sources, sourcesIn(l, former)) {
		return nil, false, err
	}
	facts, ok := k.of(c, sources)
	if !ok {
		return nil, false, nil
	}
	now := slices.Clone(facts.Images)
	for j := range c.Images {
		if ref, err := c.Image(j); err == nil && !slices.Contains(now, ref) {
			now = append(now, ref)
		}
	}
	out := compareRefs(imagesIn(l, c.Name), now)
	if !saysNoCRDs(l) {
		out = append(out, compareCRDs(former.CRDs, facts.CRDs)...)
	}
	return out, true, nil
}

// imagesIn are the images of a component that a lock has, but for those that nodes want.
func imagesIn(l *lock.Lock, component string) []imageref.Ref {
	var out []imageref.Ref
	for i := range l.Items {
		it := &l.Items[i]
		if it.Kind == lock.Image && slices.Contains(it.Components, component) && !slices.Equal(it.FoundBy, []string{"nodes"}) {
			out = append(out, it.Ref)
		}
	}
	return out
}

// compareRefs compares images: of a repository with one tag before and one now, the tags.
func compareRefs(before, now []imageref.Ref) []string {
	var out []string
	gone := slices.DeleteFunc(slices.Clone(before), func(r imageref.Ref) bool { return slices.Contains(now, r) })
	for _, ref := range now {
		if slices.Contains(before, ref) {
			continue
		}
		same := func(r imageref.Ref) bool { return r.Repository() == ref.Repository() }
		if i := slices.IndexFunc(gone, same); i >= 0 {
			was := strings.TrimPrefix(string(gone[i]), ref.Repository())
			out = append(out, fmt.Sprintf("image %s: %s > %s", ref.Repository(), was[1:], strings.TrimPrefix(string(ref), ref.Repository())[1:]))
			gone = slices.Delete(gone, i, i+1)
			continue
		}
		out = append(out, "image "+string(ref)+" is new")
	}
	for _, ref := range gone {
		out = append(out, "image "+string(ref)+" is gone")
	}
	return out
}

// compareCRDs compares custom resource definitions.
func compareCRDs(before, now []lock.CRD) []string {
	var out []string
	for _, d := range now {
		i := slices.IndexFunc(before, func(b lock.CRD) bool { return b.Name == d.Name })
		if i < 0 {
			out = append(out, fmt.Sprintf("definition %s is new: %s", d.Name, strings.Join(d.Served, ", ")))
			continue
		}
		out = append(out, compareVersions(before[i], d)...)
	}
	for _, b := range before {
		if !slices.ContainsFunc(now, func(d lock.CRD) bool { return d.Name == b.Name }) {
			out = append(out, "definition "+b.Name+" is gone, and with it every object of it")
		}
	}
	return out
}

func compareVersions(before, now lock.CRD) []string {
	var out []string
	for _, v := range now.Served {
		if !slices.Contains(before.Served, v) {
			out = append(out, fmt.Sprintf("definition %s has %s now", now.Name, v))
		}
	}
	for _, v := range before.Served {
		if !slices.Contains(now.Served, v) {
			out = append(out, fmt.Sprintf("definition %s has no %s any more: what uses it must change first", now.Name, v))
		}
	}
	if before.Stored != now.Stored {
		out = append(out, fmt.Sprintf("definition %s keeps objects as %s, before as %s", now.Name, orNone(now.Stored), orNone(before.Stored)))
	}
	return out
}
