package gpu

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// Groups puts nodes that need a driver image into as few groups as node selectors
// can tell apart. Payloads belong to the nodes of the same index.
func Groups(nodes []inventory.Node, payloads []inventory.Payload) []inventory.Group {
	index := map[string]int{}
	out := []inventory.Group{} // never null for programs
	var first []inventory.Node // of each group
	for i, n := range nodes {
		p := payloads[i]
		if !p.DriverImage() {
			continue
		}
		name := nameGroup(n, p)
		at, ok := index[name]
		if !ok {
			at, index[name] = len(out), len(out)
			out = append(out, inventory.Group{Name: name, Payload: p, NodeSelector: selectorFor(n, p)})
			first = append(first, n)
		}
		out[at].Nodes = append(out[at].Nodes, n.Name)
	}
	tellGroupsApart(out, first)
	slices.SortFunc(out, func(a, b inventory.Group) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func nameGroup(n inventory.Node, p inventory.Payload) string {
	parts := []string{"r" + fmt.Sprint(branchOf(p.Driver)), p.Modules, n.OS.ID + n.OS.Version}
	if n.Arch != "amd64" {
		parts = append(parts, n.Arch)
	}
	if p.Kind == inventory.Precompiled {
		parts = append(parts, n.Kernel)
	}
	name := strings.NewReplacer("_", "-", "+", "-", "~", "-").Replace(strings.Join(parts, "-"))
	return site.LabelValue(strings.ToLower(name))
}

// selectorFor selects nodes with GPUs of n's vendor that run what n runs.
func selectorFor(n inventory.Node, p inventory.Payload) map[string]string {
	s := map[string]string{labelOS: n.OS.ID, labelVersion: n.OS.Version}
	for _, o := range Operators() {
		if o.Drives(n) {
			s[o.NodeLabel] = "true"
		}
	}
	if n.Arch != "" {
		s[labelArch] = n.Arch
	}
	if p.Kind == inventory.Precompiled {
		s[labelKernel] = n.Kernel
	}
	return s
}

// tellGroupsApart adds our own label to groups whose selectors meet nodes of
// another; first is a node of each.
func tellGroupsApart(groups []inventory.Group, first []inventory.Node) {
	var meet []int
	for i := range groups {
		for j := range groups {
			if i != j && selectsNode(groups[i].NodeSelector, first[j]) {
				meet = append(meet, i, j)
			}
		}
	}
	for _, i := range meet {
		groups[i].NodeSelector = maps.Clone(groups[i].NodeSelector)
		groups[i].NodeSelector[inventory.LabelDriver], groups[i].Labelled = groups[i].Name, true
	}
}

func selectsNode(s map[string]string, n inventory.Node) bool {
	return s[labelOS] == n.OS.ID && s[labelVersion] == n.OS.Version &&
		(s[labelArch] == "" || s[labelArch] == n.Arch) && (s[labelKernel] == "" || s[labelKernel] == n.Kernel)
}
