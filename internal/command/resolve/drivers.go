package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// byNodes is who found an image that the site's nodes need.
const byNodes = "nodes"

// tags notes which references a registry lacks. It is safe for concurrent use.
type tags struct {
	mu   sync.Mutex
	gone map[imageref.Ref]bool
}

func (t *tags) noteMissing(ref imageref.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone == nil {
		t.gone = map[imageref.Ref]bool{}
	}
	t.gone[ref] = true
}

// driverTasks ask for each driver image whether it exists: those for one kernel
// are not published for all. A stack without the operator has none.
func (s *session) driverTasks() []task {
	i, j := s.operatorChart()
	images := s.driverImages()
	switch {
	case len(images) == 0:
		return nil
	case i < 0:
		s.reportNoOperator()
		return nil
	}
	out := make([]task, len(images))
	for k, ref := range images {
		out[k] = func(ctx context.Context) {
			_, err := s.puller.Resolve(ctx, ref)
			switch {
			case errors.Is(err, registry.ErrNotFound):
				s.nodes.tags.noteMissing(ref)
			case err != nil && ctx.Err() == nil:
				s.addProblem(s.driverPlace(i, j, ref), err)
			}
		}
	}
	return out
}

// driverImages are all that the nodes may need, sorted.
func (s *session) driverImages() []imageref.Ref {
	var out []imageref.Ref
	for _, p := range s.nodes.payloads {
		for at := &p; at != nil; at = at.Instead {
			if at.Image != "" && at.DriverImage() {
				out = append(out, at.Image)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// reportNoOperator tells of nodes whose driver image no operator of the stack would
// start.
func (s *session) reportNoOperator() {
	for _, o := range gpu.Operators() {
		var names []string
		for i, p := range s.nodes.payloads {
			if n := s.nodes.list[i]; p.DriverImage() && o.Drives(n) {
				names = append(names, n.Name)
			}
		}
		if len(names) == 0 {
			continue
		}
		_ = s.emitFindings([]event.Finding{{
			Severity: event.Notice, Code: event.CodeNoGPUOperator,
			What: "the stack does not install " + o.Title + ": no driver image is carried for " + listing.Some(names, maxNamed),
			Why:  "their GPUs compute only with a driver",
			Hint: "add a component with the chart " + o.Chart + " to the stack, or install a driver on these hosts",
		}}, nil)
	}
}

// maxNamed bounds how many nodes a message names.
const maxNamed = 5

// driverPlace is the operator's chart, and the nodes that need an image.
func (s *session) driverPlace(component, chart int, ref imageref.Ref) stackField {
	var names []string
	for i, p := range s.nodes.payloads {
		if p.Image == ref || (p.Instead != nil && p.Instead.Image == ref) {
			names = append(names, s.nodes.list[i].Name)
		}
	}
	return stackField{
		field: fmt.Sprintf("components[%d].charts[%d]", component, chart),
		what:  fmt.Sprintf("component %s: driver image %s of %s", s.stack.Components[component].Name, ref, listing.Some(names, maxNamed)),
	}
}

// settleDrivers takes for each node the image that exists, and makes them images
// of the operator's component. Every node is looked at before the error, which
// wraps ErrNoDriver.
func (s *session) settleDrivers() error {
	i, j := s.operatorChart()
	if i < 0 || len(s.nodes.list) == 0 {
		return nil
	}
	var found []event.Finding
	for k := range s.nodes.list {
		if f, ok := s.settleNode(k); ok {
			found = append(found, f)
		}
	}
	if err := s.emitFindings(found, ErrNoDriver); err != nil {
		return err
	}
	for k, p := range s.nodes.payloads {
		s.wantDriver(s.nodes.list[k], p, i, j)
	}
	s.nodes.drivers = lockDrivers(s.nodes.list, s.nodes.payloads)
	return s.emitFindings(packageFindings(s.nodes.drivers), nil)
}

// settleNode puts what exists in the place of what does not.
func (s *session) settleNode(k int) (event.Finding, bool) {
	n, p := s.nodes.list[k], &s.nodes.payloads[k]
	if p.Image == "" || !s.nodes.tags.gone[p.Image] {
		return event.Finding{}, false
	}
	f := event.Finding{Severity: event.Error, Code: event.CodeNoDriverPayload, Item: n.Name,
		What: fmt.Sprintf("node %s: no driver payload exists", n.Name),
		Why:  fmt.Sprintf("the registry has no %s", p.Image),
		Hint: "put the node on a kernel that has an image, or install a driver on the host, or build that image and add it to the stack"}
	if other := p.Instead; other != nil && !s.nodes.tags.gone[other.Image] {
		f.Severity, f.Code = event.Notice, event.CodeDriverImageMissing
		f.What = fmt.Sprintf("node %s: no driver image is ready for kernel %s: %s takes its place", n.Name, n.Kernel, other.Image)
		f.Hint = ""
		*p = *other
	}
	return f, true
}

// wantDriver notes the image of one node.
func (s *session) wantDriver(n inventory.Node, p inventory.Payload, component, chart int) {
	if !p.DriverImage() {
		return
	}
	want := s.platforms
	if at, ok := platformOfNode(n); ok {
		want = slices.DeleteFunc(slices.Clone(s.platforms), func(q platform) bool { return q.os != at.os || q.arch != at.arch })
	}
	s.found.addImage(p.Image, s.stack.Components[component].Name, byNodes, s.driverPlace(component, chart, p.Image), true)
	w := s.found.images[p.Image]
	for _, q := range want {
		if !slices.Contains(w.only, q) {
			w.only = append(w.only, q)
		}
	}
	slices.SortFunc(w.only, func(a, b platform) int { return strings.Compare(a.String(), b.String()) })
	s.events.Emit(event.Event{Verb: verb, Kind: event.Info, Item: n.Name, Message: fmt.Sprintf("node %s: %s: %s", n.Name, p.Kind, p.Image), Fields: map[string]any{"payload": p}})
}

// lockDrivers are the groups of nodes that one image drives, as the lock has them.
func lockDrivers(nodes []inventory.Node, payloads []inventory.Payload) []lock.Driver {
	groups := gpu.Groups(nodes, payloads)
	out := make([]lock.Driver, len(groups))
	for i, g := range groups {
		out[i] = lock.Driver{Name: g.Name, Nodes: len(g.Nodes), Image: g.Payload.Image, Version: g.Payload.Driver, Modules: g.Payload.Modules}
		for k, n := range nodes {
			if !slices.Contains(g.Nodes, n.Name) {
				continue
			}
			out[i].OS = n.OS.ID + n.OS.Version
			out[i].Kernels = append(out[i].Kernels, n.Kernel)
			out[i].Packages = append(out[i].Packages, payloads[k].Packages...)
		}
	}
	return out
}

// packageFindings says what the site has to have beside the bundle.
func packageFindings(list []lock.Driver) []event.Finding {
	var out []event.Finding
	for _, d := range list {
		if len(d.Packages) == 0 {
			continue
		}
		slices.Sort(d.Packages)
		out = append(out, event.Finding{Severity: event.Warn, Code: event.CodeDriverPackages, Item: d.Name,
			What: fmt.Sprintf("the driver of %d nodes (%s) wants packages that the bundle does not carry: %s", d.Nodes, d.OS, strings.Join(slices.Compact(d.Packages), ", ")),
			Why:  "its image fetches them each time it starts, to build the modules for the node's kernel",
			Hint: "keep a package repository at the site and name it in the operator's value driver.repoConfig; or put the nodes on a kernel with a ready image"})
	}
	return out
}
