package outcome

import (
	"strings"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/command/stacks"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/output"
)

// Stacks lists the stacks that come with the program.
func Stacks(list []stacks.Summary) (p output.Page) {
	for _, s := range list {
		p.Line(output.Name(s.Name), output.Say(" %s, %s", s.Version, output.Count(s.Components, "component")))
		addText(&p, "  ", "profiles: %s", strings.Join(s.Profiles, ", "))
	}
	if len(list) > 0 {
		p.Next("caisson stack show %s", list[0].Name)
	}
	return p
}

// Stack shows what a stack is made of, cut to the profiles that were asked for.
func Stack(s *stack.Stack, name string, asked []string) (p output.Page) {
	p.Line(output.Name(s.Metadata.Name), output.Say(" %s, %s", s.Metadata.Version, output.Count(len(s.Components), "component")))
	if s.Extends != "" {
		p.Say("  extends %s", s.Extends)
	}
	if len(s.Profiles) > 0 {
		p.Heading("profiles")
		for _, profile := range s.Profiles {
			addText(&p, "  ", "%s: %s (%s)", profile.Name, profile.About, strings.Join(profile.Components, ", "))
		}
	}
	p.Heading("components")
	for i := range s.Components {
		addStackComponent(&p, &s.Components[i])
	}
	p.Next("caisson resolve -f %s%s -o LOCK.yaml", name, profileFlag(asked))
	return p
}

// profileFlag is the flag that asks for profiles, after a space.
func profileFlag(profiles []string) string {
	if len(profiles) == 0 {
		return ""
	}
	return " --profile " + strings.Join(profiles, ",")
}

func addStackComponent(p *output.Page, c *stack.Component) {
	mark := ""
	if c.Optional {
		mark = " (a site may leave it out)"
	}
	p.Line(output.Say("  "), output.Name(c.Name), output.Say("%s", mark))
	for _, chart := range stacks.Charts(c) {
		addText(p, "    ", "chart %s", chart)
	}
	for _, m := range c.Manifests {
		addText(p, "    ", "manifest %s", m)
	}
	for i := range c.UpstreamManifests {
		addText(p, "    ", "manifest %s of %s", c.UpstreamManifests[i].Name, c.UpstreamManifests[i].Origin())
	}
	for _, m := range c.Models {
		addText(p, "    ", "model %s at %s", m.Source, m.Revision)
	}
	for _, image := range c.Images {
		addText(p, "    ", "image %s", image)
	}
	for _, a := range c.Allow {
		addText(p, "    ", "allows %s of %s: %s", a.Code, a.Match, a.Reason)
	}
	if len(c.Needs) > 0 {
		addText(p, "    ", "needs %s", strings.Join(c.Needs, ", "))
	}
	if others := c.Others(); len(others) > 0 {
		addText(p, "    ", "after %s", strings.Join(others, ", "))
	}
}

// StackLinted shows what is unwise in a stack.
func StackLinted(name string, found []event.Finding) (p output.Page) {
	if len(found) == 0 {
		p.Say("%s: nothing to say", name)
	} else {
		p.Say("%s: %s", name, output.Count(len(found), "finding"))
	}
	p.Next("caisson resolve -f %s -o LOCK.yaml", name)
	return p
}

// StackCreated says what a new stack file holds.
func StackCreated(c stacks.Created) (p output.Page) {
	p.Line(output.Name(c.Path), output.Say(": %s %s, %s of %s", c.Stack.Metadata.Name, c.Stack.Metadata.Version,
		output.Count(len(c.Components), "component"), c.Stack.Extends))
	addText(&p, "  ", "%s", strings.Join(c.Components, ", "))
	p.Next("caisson resolve -f %s -o %s.lock.yaml", c.Path, c.Stack.Metadata.Name)
	return p
}

// StackUpgraded says what a stack has become since its lock was written.
func StackUpgraded(u stacks.Upgrade, file string) (p output.Page) {
	p.Line(output.Name(u.Stack.Metadata.Name), output.Say(" %s > %s", u.Before.Version, u.Stack.Metadata.Version))
	if len(u.Profiles) > 0 {
		addText(&p, "  ", "compared in profiles %s, which alone the lock has; --profile names others", strings.Join(u.Profiles, ", "))
	}
	for _, change := range u.Whole {
		addText(&p, "  ", "%s", change)
	}
	for _, name := range u.Added {
		p.Say("  + %s", name)
	}
	for _, name := range u.Removed {
		p.Say("  - %s", name)
	}
	for _, c := range u.Changed {
		p.Line(output.Say("  "), output.Name(c.Name))
		for _, change := range c.Changes {
			addText(&p, "    ", "%s", change)
		}
	}
	if u.Known {
		p.Say("  images and definitions of other charts: as the stack that comes with caisson has")
		p.Say("  them; resolve finds those of your values")
		if u.CRDsUnknown {
			p.Say("  this lock does not say which definitions there were")
		}
	}
	if len(u.Whole)+len(u.Added)+len(u.Removed)+len(u.Changed) == 0 {
		p.Say("  nothing changes: charts and their values, images, models, files, order, licences")
		p.Say("  not compared: include and exclude of models, and what moves behind its name")
	}
	p.Next("caisson resolve -f %s%s -o LOCK.yaml", file, profileFlag(u.Profiles))
	return p
}
