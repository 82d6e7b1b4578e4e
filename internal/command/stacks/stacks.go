// Package stacks tells of stacks before anything is resolved: those that come with the
// program, and those that people write over them.
//
// It reads stack files and locks, and the network of nobody.
package stacks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/manifests"
)

// Verb names the events of this package.
const Verb = "stack"

// Summary is one stack that comes with the program.
type Summary struct {
	Name, Version string
	Components    int
	Profiles      []string
}

// List summarises the stacks that come with the program, sorted by name.
func List(sink event.Sink) ([]Summary, error) {
	var out []Summary
	for _, name := range manifests.Stacks() {
		s, err := stack.ReadShipped(name)
		if err != nil {
			return nil, err
		}
		one := Summary{Name: name, Version: s.Metadata.Version, Components: len(s.Components)}
		for _, p := range s.Profiles {
			one.Profiles = append(one.Profiles, p.Name)
		}
		sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Item: name, Message: one.Version,
			Fields: map[string]any{"name": name, "version": one.Version, "components": one.Components, "profiles": one.Profiles}})
		out = append(out, one)
	}
	return out, nil
}

// Show reads a stack and cuts it to the named profiles; none is the whole. Name is one
// that comes with the program, or a path.
func Show(name string, profiles []string, sink event.Sink) (*stack.Stack, error) {
	s, err := stack.Read(name)
	if err != nil {
		return nil, err
	}
	if s, err = s.Carried(profiles); err != nil {
		return nil, err
	}
	for i := range s.Components {
		c := &s.Components[i]
		sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Item: c.Name, Message: strings.Join(Charts(c), ", "),
			Fields: map[string]any{"name": c.Name, "charts": Charts(c), "images": c.Images, "models": models(c), "allow": allowances(c.Allow), "manifests": manifestsOf(c),
				"needs": c.Needs, "after": c.After, "profiles": s.ProfilesOf(c.Name), "optional": c.Optional, "writtenAt": s.Origin(fmt.Sprintf("components[%d]", i)).Place()}})
	}
	return s, nil
}

// models names the models of a component with their revisions.
func models(c *stack.Component) []string {
	var out []string
	for _, m := range c.Models {
		out = append(out, m.Source+"@"+orMain(m.Revision))
	}
	return out
}

// manifestsOf names the manifests of a component: files, and those of upstreams by where
// they come from.
func manifestsOf(c *stack.Component) []string {
	out := slices.Clone(c.Manifests)
	for i := range c.UpstreamManifests {
		out = append(out, c.UpstreamManifests[i].Origin())
	}
	return out
}

// Charts names the charts of a component with their versions.
func Charts(c *stack.Component) []string {
	var out []string
	for i := range c.Charts {
		ch := &c.Charts[i]
		out = append(out, strings.TrimSpace(ch.UpstreamName()+" "+ch.Version))
	}
	return out
}
