package gpu

import (
	"fmt"

	"github.com/caisson/caisson/internal/event"
)

// Judge makes findings of what nodes lack, of that severity, and of what has to be
// known of them.
func Judge(nodes []Node, payloads []Payload, lacking event.Severity) []event.Finding {
	var out []event.Finding
	for i, n := range nodes {
		p := payloads[i]
		if p.Kind == None {
			out = append(out, event.Finding{Severity: lacking, Code: event.CodeNoDriverPayload, Item: n.Name,
				What: fmt.Sprintf("node %s: no driver payload exists", n.Name), Why: p.Because, Hint: p.Fix})
		}
		for _, note := range p.Notes {
			out = append(out, event.Finding{Severity: event.Notice, Code: event.CodeDriverNote, Item: n.Name, What: fmt.Sprintf("node %s: %s", n.Name, note)})
		}
		if p.Kind != None {
			out = append(out, strangers(n)...)
		}
	}
	return out
}

// strangers are the devices that the catalogue does not know.
func strangers(n Node) []event.Finding {
	var out []event.Finding
	for _, g := range n.GPUs {
		if g.Device == "" || g.Product != "" {
			continue
		}
		out = append(out, event.Finding{Severity: event.Notice, Code: event.CodeUnknownDevice, Item: n.Name,
			What: fmt.Sprintf("node %s: the catalogue does not know %s (class %s, %d of them)", n.Name, g.ID(), g.Class, g.Count)})
	}
	return out
}
