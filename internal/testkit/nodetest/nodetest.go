// Package nodetest helps tests to look at nodes. Only tests use it.
package nodetest

import (
	"fmt"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
)

// Words writes what matters of a node in one line.
func Words(n inventory.Node) string {
	var out []string
	for _, g := range n.GPUs {
		parts := []string{fmt.Sprint(g.Count)}
		if g.Product == "" {
			parts = append(parts, g.ID())
		} else {
			parts = append(parts, g.Product, g.Architecture, fmt.Sprint(g.MemoryGiB))
		}
		if g.MIG {
			parts = append(parts, "mig")
		}
		if g.Virtual {
			parts = append(parts, "virtual")
		}
		out = append(out, strings.TrimSpace(strings.Join(append(parts, g.Bound), " ")))
	}
	if n.Switches > 0 {
		out = append(out, fmt.Sprintf("%d switches", n.Switches))
	}
	if d := n.Driver; d.State != "" {
		text := d.State
		if d.State == inventory.DriverInTree {
			text += " " + strings.Join(d.Names, " ")
		}
		out = append(out, strings.TrimSpace(text+" "+d.Version+" "+d.Modules))
	}
	if n.SecureBoot == "on" || n.SecureBoot == "off" {
		s := n.SecureBoot
		if n.IOMMUGroups > 0 {
			s += fmt.Sprintf(" %d groups", n.IOMMUGroups)
		}
		out = append(out, s)
	}
	for _, r := range n.RDMA {
		text := r.Name + " " + r.Link
		if r.Switch {
			text = r.Name + " switch"
		}
		out = append(out, text)
	}
	for _, h := range n.HugePages {
		out = append(out, fmt.Sprintf("%dx%d", h.Count, h.SizeKiB))
	}
	return strings.Join(out, " | ")
}
