package outcome

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/ui/output"
)

const gpuSection = `
nodes with GPUs
   a100: 4 x A100 PCIe 40GB
     driver: conventional 595.91.07, open modules,
         nvcr.io/nvidia/driver:595.91.07-rhel9
     MIG, of each GPU: 2 x 1g.5gb, 1 x 2g.10gb
     label nvidia.com/mig.config=1g.5gb.2-2g.10gb.1
   own: 2 x L4
     driver: installed 580.95.05, the host has a driver for its GPUs
     time slicing: nvidia.com/gpu by 4
   NVIDIADriver r580-open-ubuntu22.04-5.15.0-105-generic, for 2 nodes
   NVIDIADriver r595-open-rhel9.4, for 1 node
`

func TestPlanShowsGPUNodes(t *testing.T) {
	g := &plan.GPU{Component: "gpu", Nodes: []plan.GPUNode{
		{Facts: inventory.Node{Name: "a100", GPUs: []inventory.GPU{{Product: "A100 PCIe 40GB", Count: 4}}},
			Payload: inventory.Payload{Kind: inventory.Conventional, Driver: "595.91.07", Modules: inventory.OpenModules, Image: "nvcr.io/nvidia/driver:595.91.07-rhel9"},
			Layout:  "2 x 1g.5gb, 1 x 2g.10gb", Labels: map[string]string{site.LabelMIG: "1g.5gb.2-2g.10gb.1"}},
		{Facts: inventory.Node{Name: "own", GPUs: []inventory.GPU{{Product: "L4", Count: 2}}}, Sharing: "nvidia.com/gpu by 4",
			Payload: inventory.Payload{Kind: inventory.Installed, Driver: "580.95.05", Because: "the host has a driver for its GPUs"}},
	}, Groups: []inventory.Group{{Name: "r580-open-ubuntu22.04-5.15.0-105-generic", Nodes: []string{"a", "b"}}, {Name: "r595-open-rhel9.4", Nodes: []string{"a100"}}}}
	for _, width := range []int{80, 40} {
		var p output.Page
		addGPUNodes(&p, g)
		shown := p.Text(output.Style{}, width)
		if width == 80 && shown != gpuSection {
			t.Errorf("it shows\n%s", shown)
		}
		for line := range strings.Lines(shown) {
			if len(strings.TrimRight(line, "\n")) > width {
				t.Errorf("longer than %d: %q", width, line)
			}
		}
	}
	if got := countGPUNodes(g); got != "2: 1 conventional, 1 installed; 1 labelled" {
		t.Errorf("in short %q", got)
	}
	var p output.Page
	if addGPUNodes(&p, nil); len(p.Blocks) != 0 {
		t.Errorf("without GPUs it shows %v", p)
	}
}
