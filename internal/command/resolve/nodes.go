package resolve

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// Errors about the nodes of the site that a stack is resolved for.
var (
	// ErrNoDriver: a node has GPUs that nothing would drive.
	ErrNoDriver = errors.New("no driver payload exists")
	// ErrNodePlatform: a node is of a platform that the stack is not for.
	ErrNodePlatform = errors.New("a node is of a platform that the stack lacks")
)

// siteNodes are the nodes of the site and what drives them. Payloads belong to
// the nodes of the same place.
type siteNodes struct {
	list     []inventory.Node
	payloads []inventory.Payload
	drivers  []lock.Driver
	tags     tags // of driver images
}

// checkNodes reads the site's nodes, keeps the platforms that they have, and
// finds a driver for each as far as the catalogue tells. Every node is looked at
// before the error.
func (s *session) checkNodes(opt Options) error {
	if opt.Nodes == "" {
		return nil
	}
	c, err := gpu.Read()
	if err != nil {
		return err
	}
	v, err := inventory.Read(opt.Nodes)
	if err != nil {
		return err
	}
	c.Describe(v.Nodes)
	rules := gpu.Options{Operator: s.operatorVersion(v.Operator), Month: supportMonth(opt.Now)}
	s.nodes.list = v.Nodes
	foreign := s.emitFindings(s.keepPlatforms(len(opt.Platforms) > 0), ErrNodePlatform)
	for _, n := range s.nodes.list {
		s.nodes.payloads = append(s.nodes.payloads, gpu.Match(c, n, rules))
	}
	return errors.Join(foreign, s.emitFindings(gpu.PayloadFindings(s.nodes.list, s.nodes.payloads, event.Error), ErrNoDriver))
}

// supportMonth is the one of a time, or else the present one.
func supportMonth(now time.Time) string {
	if now.IsZero() {
		now = time.Now()
	}
	return now.UTC().Format("2006-01")
}

// keepPlatforms leaves out the stack's platforms that no node has, and finds the
// nodes that none of them is for. Where the platforms were chosen it leaves out
// these nodes.
func (s *session) keepPlatforms(chosen bool) []event.Finding {
	var found []event.Finding
	has := map[platform]bool{}
	for _, n := range s.nodes.list {
		p, ok := platformOfNode(n)
		if !ok {
			continue
		}
		if has[p] = true; !s.isFor(p) {
			found = append(found, s.foreignNode(n, p, chosen))
		}
	}
	switch {
	case chosen:
		s.nodes.list = slices.DeleteFunc(s.nodes.list, func(n inventory.Node) bool { p, ok := platformOfNode(n); return ok && !s.isFor(p) })
		return found
	case len(found) > 0 || len(has) == 0:
		return found
	}
	s.platforms = slices.DeleteFunc(s.platforms, func(p platform) bool { return !has[platform{os: p.os, arch: p.arch}] })
	return nil
}

// platformOfNode is a node's without the variant, which no inventory has.
func platformOfNode(n inventory.Node) (platform, bool) {
	if n.Arch == "" {
		return platform{}, false
	}
	p := platform{os: "linux", arch: platformOf(ocispec.Platform{Architecture: n.Arch}).arch}
	return p, true
}

// isFor says whether one of the platforms is a node's, variants aside.
func (s *session) isFor(p platform) bool {
	return slices.ContainsFunc(s.platforms, func(q platform) bool { return q.os == p.os && q.arch == p.arch })
}

func (s *session) foreignNode(n inventory.Node, p platform, chosen bool) event.Finding {
	var have []string
	for _, q := range s.platforms {
		have = append(have, q.String())
	}
	f := event.Finding{Severity: event.Error, Code: event.CodeNodePlatform, Item: n.Name,
		What: fmt.Sprintf("node %s is %s; the stack is for %s", n.Name, p, strings.Join(have, ", ")),
		Why:  "no image that is carried would start there",
		Hint: fmt.Sprintf("add %s to platforms: in the stack", p)}
	if chosen {
		f.Severity, f.What = event.Warn, fmt.Sprintf("node %s is %s; --platform asks for %s alone", n.Name, p, strings.Join(have, ", "))
		f.Hint = fmt.Sprintf("give --platform %s too", p)
	}
	return f
}

// operatorVersion is the release of the operator in the stack, or else the inventory's.
func (s *session) operatorVersion(otherwise string) string {
	if i, j := s.operatorChart(); i >= 0 {
		return s.stack.Components[i].Charts[j].Version
	}
	return otherwise
}

// operatorChart finds the chart whose version says how driver images are tagged:
// its component and its place there, or -1.
func (s *session) operatorChart() (component, chart int) {
	for i, comp := range s.stack.Components {
		for j, ch := range comp.Charts {
			for _, o := range gpu.Operators() {
				if ch.Name == o.Chart || ch.Chart == o.Chart {
					return i, j
				}
			}
		}
	}
	return -1, -1
}

// emitFindings emits findings; with an error among them it returns err and their number.
func (s *session) emitFindings(found []event.Finding, err error) error {
	n := 0
	for _, f := range found {
		s.events.Emit(event.Event{Verb: verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
		if f.Severity == event.Error {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("checking the site's nodes: %w: %d of them", err, n)
	}
	return nil
}
