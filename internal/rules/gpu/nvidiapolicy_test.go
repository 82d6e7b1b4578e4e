package gpu

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
)

// fleet is a node of each kind that the policies here speak of.
func fleet() []inventory.Node {
	const kernel = "6.8.0-60-generic"
	return []inventory.Node{
		node("a100", "ubuntu", "24.04", kernel, of(4, NVIDIA, "20b1")),
		node("h100", "ubuntu", "24.04", kernel, of(8, NVIDIA, "2330")),
		node("l4", "ubuntu", "24.04", kernel, of(2, NVIDIA, "27b8")),
		node("b200", "ubuntu", "24.04", kernel, of(8, NVIDIA, "2901")),
		{Name: "labels", Sources: []string{inventory.FromLabels}, GPUs: []inventory.GPU{{Vendor: NVIDIA, Product: "NVIDIA A100 PCIE 40GB", Architecture: "ampere", MIG: true, Count: 1}}},
	}
}

func layouts(list ...site.Layout) site.Policy { return site.Policy{MIG: site.MIGPolicy{Layouts: list}} }

func cut(product string, profiles map[string]int) site.Policy {
	return layouts(site.Layout{Product: product, Profiles: profiles})
}

func share(s ...site.Slicing) site.Policy { return site.Policy{TimeSlicing: s} }

func TestAssignFinds(t *testing.T) {
	for name, tc := range map[string]struct {
		p    site.Policy
		code string // empty: nothing
		what string
	}{
		"a100 fits":              {cut("A100 PCIe 40GB", map[string]int{"1g.5gb": 2, "2g.10gb": 1}), "", ""},
		"by the driver's name":   {cut("NVIDIA-H100-80GB-HBM3", map[string]int{"1g.10gb": 7}), "", ""},
		"b200 fits":              {cut("B200", map[string]int{"1g.23gb": 3, "4g.90gb": 1}), "", ""},
		"3g beside 4g":           {cut("B200", map[string]int{"3g.90gb": 1, "4g.90gb": 1}), "", ""},
		"l4 shares":              {share(site.Slicing{Product: "L4", Replicas: 4}), "", ""},
		"pin":                    {site.Policy{Driver: "580"}, "", ""},
		"product misspelt":       {cut("A100 PCI 40GB", map[string]int{"1g.5gb": 1}), event.CodeGPUPolicyProduct, `did you mean "A100 PCIe 40GB"`},
		"no MIG":                 {cut("L4", map[string]int{"1g.5gb": 1}), event.CodeNoMIG, "L4"},
		"no MIG, by node":        {layouts(site.Layout{Nodes: []string{"l4"}, Profiles: map[string]int{"1g.5gb": 1}}), event.CodeNoMIG, "L4"},
		"unknown profile":        {cut("A100 PCIe 40GB", map[string]int{"1g.6gb": 1}), event.CodeMIGProfile, "1g.6gb, did you mean"},
		"too many":               {cut("H100 SXM5 80GB", map[string]int{"3g.40gb": 3}), event.CodeMIGDoesNotFit, "at most 2"},
		"too much compute":       {cut("A100 PCIe 40GB", map[string]int{"1g.5gb": 4, "4g.20gb": 1}), event.CodeMIGDoesNotFit, "do not fit together"},
		"too much memory":        {cut("A100 PCIe 40GB", map[string]int{"1g.10gb": 3, "3g.20gb": 1}), event.CodeMIGDoesNotFit, "do not fit together"},
		"none and layouts":       {site.Policy{MIG: site.MIGPolicy{Strategy: site.MIGNone, Layouts: []site.Layout{{Product: "B200", Profiles: map[string]int{"1g.23gb": 1}}}}}, event.CodeMIGStrategy, "none"},
		"single, but mixed":      {site.Policy{MIG: site.MIGPolicy{Strategy: site.MIGSingle, Layouts: []site.Layout{{Product: "B200", Profiles: map[string]int{"1g.23gb": 1, "2g.45gb": 1}}}}}, event.CodeMIGStrategy, "several profiles"},
		"no such node":           {share(site.Slicing{Nodes: []string{"l5"}, Replicas: 2}), event.CodeGPUPolicyNode, "no node l5"},
		"nowhere":                {share(site.Slicing{Product: "L40S", Replicas: 2}), event.CodeGPUPolicyUnused, "no node has a L40S"},
		"node twice":             {share(site.Slicing{Nodes: []string{"l4"}, Replicas: 2}, site.Slicing{Nodes: []string{"l4"}, Replicas: 4}), event.CodeGPUPolicyNode, "timeSlicing[0] as well"},
		"product twice":          {share(site.Slicing{Product: "L4", Replicas: 2}, site.Slicing{Product: "NVIDIA L4", Replicas: 4}), event.CodeGPUPolicyNode, "as well"},
		"unknown pin":            {site.Policy{Driver: "999"}, event.CodeDriverPin, "999"},
		"a part that is not cut": {share(site.Slicing{Product: "B200", Resource: "nvidia.com/mig-1g.23gb", Replicas: 2}), event.CodeMIGTimeSlicing, "offers no nvidia.com/mig-1g.23gb"},
		"mixed and whole": {site.Policy{MIG: site.MIGPolicy{Strategy: site.MIGMixed, Layouts: []site.Layout{{Product: "B200", Profiles: map[string]int{"1g.23gb": 1}}}},
			TimeSlicing: []site.Slicing{{Product: "B200", Replicas: 2}}}, event.CodeMIGTimeSlicing, "strategy is mixed"},
		"mixed and its part": {site.Policy{MIG: site.MIGPolicy{Strategy: site.MIGMixed, Layouts: []site.Layout{{Product: "B200", Profiles: map[string]int{"1g.23gb": 1}}}},
			TimeSlicing: []site.Slicing{{Product: "B200", Resource: "nvidia.com/mig-1g.23gb", Replicas: 2}}}, "", ""},
	} {
		_, found := readCatalogue(t).Assign(tc.p, fleet())
		if tc.code == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Code != tc.code || !strings.Contains(found[0].What, tc.what) || found[0].Hint == "" {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// A layout that names a node goes before one for its product, and labels tell as
// much as ids.
func TestAssignGives(t *testing.T) {
	p := layouts(
		site.Layout{Product: "A100 PCIe 40GB", Profiles: map[string]int{"3g.20gb": 2}},
		site.Layout{Nodes: []string{"a100"}, Profiles: map[string]int{"1g.5gb": 7}},
	)
	p.TimeSlicing = []site.Slicing{{Product: "L4", Replicas: 4}}
	got, found := readCatalogue(t).Assign(p, fleet())
	want := []Assigned{{1, -1}, {-1, -1}, {-1, 0}, {-1, -1}, {0, -1}}
	if !slices.Equal(got, want) || len(found) > 0 {
		t.Errorf("%v, %+v", got, found)
	}
}

// All that is wrong is said at once.
func TestAssignSaysAll(t *testing.T) {
	p := layouts(
		site.Layout{Product: "L4", Profiles: map[string]int{"1g.5gb": 1}},
		site.Layout{Product: "B200", Profiles: map[string]int{"1g.24gb": 1, "7g.180gb": 2}},
	)
	p.Driver = "123"
	_, found := readCatalogue(t).Assign(p, fleet())
	codes := map[string]int{}
	for _, f := range found {
		if f.Severity == event.Error {
			codes[f.Code]++
		}
	}
	if want := map[string]int{event.CodeDriverPin: 1, event.CodeNoMIG: 1, event.CodeMIGProfile: 1, event.CodeMIGDoesNotFit: 1}; !maps.Equal(codes, want) {
		t.Errorf("%v\n%+v", codes, found)
	}
}

// Every profile of the catalogue fits as often as it says, and not once more.
func TestEveryProfileFits(t *testing.T) {
	c := readCatalogue(t)
	for _, d := range c.Devices.Devices {
		for profile, most := range c.Devices.MIG[d.MIG].Profiles {
			if !site.ProfileRule.MatchString(profile) {
				t.Errorf("%s: profile %q", d.Product, profile)
			}
			for n, ok := range map[int]bool{most: true, most + 1: false} {
				a := &assigner{c: c}
				if a.checkFit("x", site.Layout{Profiles: map[string]int{profile: n}}, d) != ok {
					t.Errorf("%s: %d of %s: %+v", d.Product, n, profile, a.found)
				}
			}
		}
	}
}

func TestPolicyWrites(t *testing.T) {
	p := cut("A100 PCIe 40GB", map[string]int{"2g.10gb": 1, "1g.5gb": 2})
	p.TimeSlicing = []site.Slicing{{Product: "L4", Replicas: 4}}
	text, err := nvidiaMIGConfig(p.MIG)
	if err != nil || p.MIG.EffectiveStrategy() != site.MIGMixed || p.MIG.Layouts[0].Name() != "1g.5gb.2-2g.10gb.1" {
		t.Fatalf("%s %s %v", p.MIG.EffectiveStrategy(), p.MIG.Layouts[0].Name(), err)
	}
	for _, want := range []string{"version: v1", "all-disabled:", "1g.5gb.2-2g.10gb.1:", "mig-enabled: true", "1g.5gb: 2", "2g.10gb: 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	configs, err := nvidiaPluginConfigs(p)
	shared, _ := configs["gpu-4"].(string)
	if err != nil || len(configs) != 2 || !strings.Contains(shared, "replicas: 4") || !strings.Contains(shared, "name: nvidia.com/gpu") {
		t.Errorf("%v %v", configs, err)
	}
}

func TestMatchHoldsToThePin(t *testing.T) {
	c := readCatalogue(t)
	h100 := fleet()[1]
	for pin, want := range map[string]string{"580": "580", "": "595"} {
		if p := Match(c, h100, Options{Operator: "v26.7.0", Month: month, Driver: pin}); p.Kind != inventory.Precompiled || p.Driver != want {
			t.Errorf("pin %q: %+v", pin, p)
		}
	}
	p := Match(c, fleet()[3], Options{Operator: "v26.7.0", Month: month, Driver: "535"})
	if p.Kind != inventory.NoPayload || !strings.Contains(p.Because, "535") || p.Fix == "" {
		t.Errorf("%+v", p)
	}
}

// TestProfileWithMedia: a label's value and a resource's name have no plus sign.
func TestProfileWithMedia(t *testing.T) {
	layout := site.Layout{Product: "A100 PCIe 40GB", Profiles: map[string]int{"1g.5gb": 6, "1g.5gb+me": 1}}
	if got := layout.Name(); got != "1g.5gb.6-1g.5gb.me.1" {
		t.Errorf("the layout is called %s", got)
	}
	if got := MIGResource("1g.5gb+me"); got != "nvidia.com/mig-1g.5gb.me" {
		t.Errorf("the resource is called %s", got)
	}
	_, found := readCatalogue(t).Assign(site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{layout}}}, nil)
	for _, f := range found {
		if f.Severity == event.Error {
			t.Errorf("%+v", f)
		}
	}
}
