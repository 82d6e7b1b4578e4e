package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/ui/output"
)

// gpuNodes shows what becomes of the nodes with GPUs.
func (p *page) gpuNodes(g *plan.GPU) {
	if g == nil || len(g.Nodes) == 0 {
		return
	}
	p.blank()
	p.line("%s", p.style.Bold("nodes with GPUs"))
	for _, n := range g.Nodes {
		p.wrapped("   ", 4, fmt.Sprintf("%s: %s", n.Facts.Name, orNone(n.GPUs())))
		p.wrapped("     ", 4, "driver: "+driverWords(n.Payload))
		if n.Layout != "" {
			p.wrapped("     ", 4, fmt.Sprintf("MIG, of each GPU: %s", n.Layout))
		}
		if n.Sharing != "" {
			p.wrapped("     ", 4, "time slicing: "+n.Sharing)
		}
		for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
			p.wrapped("     ", 4, fmt.Sprintf("label %s=%s", key, n.Labels[key]))
		}
	}
	switch {
	case g.Component == "":
		p.wrapped("   ", 4, "No component of the plan drives them.")
	case g.BySite:
		p.wrapped("   ", 4, "Which driver "+g.Component+" brings, its values say.")
	case g.Drivers():
		for _, group := range g.Groups {
			p.wrapped("   ", 4, fmt.Sprintf("NVIDIADriver %s, for %s", group.Name, output.Count(len(group.Nodes), "node")))
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "no GPU is known"
	}
	return s
}

// driverWords says what a node needs: precompiled 580, open modules.
func driverWords(p gpu.Payload) string {
	parts := []string{p.Kind}
	if p.Driver != "" {
		parts[0] += " " + p.Driver
	}
	if p.Modules != "" {
		parts = append(parts, p.Modules+" modules")
	}
	if p.Image != "" {
		parts = append(parts, p.Image)
	}
	if p.Because != "" {
		parts = append(parts, p.Because)
	}
	return strings.Join(parts, ", ")
}

// gpuSummary counts the nodes with GPUs by what drives them: 3: 1 installed,
// 2 precompiled; 2 labelled.
func gpuSummary(g *plan.GPU) string {
	kinds, labelled := map[string]int{}, 0
	for _, n := range g.Nodes {
		kinds[n.Payload.Kind]++
		if len(n.Labels) > 0 {
			labelled++
		}
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", kinds[kind], kind))
	}
	out := fmt.Sprintf("%d: %s", len(g.Nodes), strings.Join(parts, ", "))
	if labelled > 0 {
		out += fmt.Sprintf("; %d labelled", labelled)
	}
	return out
}
