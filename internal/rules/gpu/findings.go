package gpu

import (
	"fmt"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/event"
)

// PayloadFindings says what nodes lack, with a severity for it, and what has to be
// known of them. Payloads belong to the nodes of the same index.
func PayloadFindings(nodes []inventory.Node, payloads []inventory.Payload, lacking event.Severity) []event.Finding {
	var out []event.Finding
	for i, n := range nodes {
		p := payloads[i]
		if p.Kind == inventory.NoPayload {
			out = append(out, event.Finding{
				Severity: lacking, Code: event.CodeNoDriverPayload, Item: n.Name,
				What: fmt.Sprintf("node %s: no driver payload exists", n.Name), Why: p.Because, Hint: p.Fix,
			})
		}
		for _, note := range p.Notes {
			out = append(out, event.Finding{
				Severity: event.Notice, Code: event.CodeDriverNote, Item: n.Name,
				What: fmt.Sprintf("node %s: %s", n.Name, note),
			})
		}
		if p.Kind != inventory.NoPayload {
			out = append(out, unknownDevices(n)...)
		}
	}
	return out
}

// unknownDevices finds the devices that the catalogue does not know.
func unknownDevices(n inventory.Node) []event.Finding {
	var out []event.Finding
	for _, g := range n.GPUs {
		if g.Device == "" || g.Product != "" {
			continue
		}
		out = append(out, event.Finding{
			Severity: event.Notice, Code: event.CodeUnknownDevice, Item: n.Name,
			What: fmt.Sprintf("node %s: the catalogue does not know %s (class %s, %d of them)", n.Name, g.ID(), g.Class, g.Count),
		})
	}
	return out
}
