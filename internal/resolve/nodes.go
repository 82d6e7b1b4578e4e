package resolve

import (
	"errors"
	"fmt"
	"time"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/gpu"
)

// ErrNoDriver: a node of the site has GPUs that nothing would drive.
var ErrNoDriver = errors.New("no driver payload exists")

// operatorChart is the chart whose version says how driver images are tagged.
const operatorChart = "gpu-operator"

// checkNodes says which driver each node of a site needs. Every node is looked at
// before the error, which wraps ErrNoDriver.
func (s *session) checkNodes(path string) error {
	if path == "" {
		return nil
	}
	c, err := gpu.Read()
	if err != nil {
		return err
	}
	v, err := c.Inventory(path)
	if err != nil {
		return err
	}
	opt := gpu.Options{Operator: s.operator(v.Operator), Month: time.Now().UTC().Format("2006-01")}
	payloads := make([]gpu.Payload, len(v.Nodes))
	for i, n := range v.Nodes {
		payloads[i] = gpu.Match(c, n, opt)
		s.tell(n, payloads[i])
	}
	return s.judge(gpu.Judge(v.Nodes, payloads, event.Error))
}

// operator is the stack's release of NVIDIA's operator, or else the inventory's.
func (s *session) operator(otherwise string) string {
	for _, comp := range s.stack.Components {
		for _, chart := range comp.Charts {
			if chart.Name == operatorChart || chart.Chart == operatorChart {
				return chart.Version
			}
		}
	}
	return otherwise
}

// tell emits what a node with GPUs needs.
func (s *session) tell(n gpu.Node, p gpu.Payload) {
	if p.Image == "" {
		return
	}
	s.events.Emit(event.Event{Verb: verb, Kind: event.Info, Item: n.Name, Message: fmt.Sprintf("node %s: %s: %s", n.Name, p.Kind, p.Image), Fields: map[string]any{"payload": p}})
}

// judge emits findings and counts those that are errors.
func (s *session) judge(found []event.Finding) error {
	n := 0
	for _, f := range found {
		s.events.Emit(event.Event{Verb: verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
		if f.Severity == event.Error {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("checking the site's nodes: %w for %d of them", ErrNoDriver, n)
	}
	return nil
}
