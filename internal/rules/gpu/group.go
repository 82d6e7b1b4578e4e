package gpu

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LabelDriver is put onto nodes that nothing else tells apart, since labels that
// name the GPU exist only once its driver runs.
const LabelDriver = "caisson.dev/gpu-driver"

// Labels of node feature discovery that select nodes.
const (
	labelOS      = "feature.node.kubernetes.io/system-os_release.ID"
	labelVersion = "feature.node.kubernetes.io/system-os_release.VERSION_ID"
	labelOSTree  = "feature.node.kubernetes.io/system-os_release.OSTREE_VERSION"
	labelKernel  = "feature.node.kubernetes.io/kernel-version.full"
	labelArch    = "kubernetes.io/arch"
	labelGPU     = "nvidia.com/gpu.present"
)

// Group is one resource of kind NVIDIADriver and the nodes that it is for.
type Group struct {
	Name         string            `json:"name"`
	Nodes        []string          `json:"nodes"`
	Payload      Payload           `json:"payload"`
	NodeSelector map[string]string `json:"nodeSelector"`
	Labelled     bool              `json:"labelled,omitempty"` // the nodes need LabelDriver: Name
}

// Groups puts nodes that need a driver image of NVIDIA's into as few groups as
// node selectors can tell apart. Payloads belong to the nodes of the same place.
func Groups(nodes []Node, payloads []Payload) []Group {
	index := map[string]int{}
	out := []Group{} // never null for programs
	var of []Node
	for i, n := range nodes {
		p := payloads[i]
		if p.Kind != Precompiled && p.Kind != Conventional {
			continue
		}
		name := groupName(n, p)
		at, ok := index[name]
		if !ok {
			at, index[name] = len(out), len(out)
			out, of = append(out, Group{Name: name, Payload: p, NodeSelector: selector(n, p)}), append(of, n)
		}
		out[at].Nodes = append(out[at].Nodes, n.Name)
	}
	tellApart(out, of)
	slices.SortFunc(out, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func groupName(n Node, p Payload) string {
	parts := []string{"r" + fmt.Sprint(branchOf(p.Driver)), p.Modules, n.OS.ID + n.OS.Version}
	if n.Arch != "amd64" {
		parts = append(parts, n.Arch)
	}
	if p.Kind == Precompiled {
		parts = append(parts, n.Kernel)
	}
	return labelValue(strings.ToLower(strings.NewReplacer("_", "-", "+", "-", "~", "-").Replace(strings.Join(parts, "-"))))
}

// labelValue cuts a name to the 63 bytes that a label may have, a hash in place of
// the rest.
func labelValue(name string) string {
	if len(name) <= 63 {
		return name
	}
	return fmt.Sprintf("%s-%.4x", name[:54], sha256.Sum256([]byte(name)))
}

func selector(n Node, p Payload) map[string]string {
	s := map[string]string{labelGPU: "true", labelOS: n.OS.ID, labelVersion: n.OS.Version}
	if n.Arch != "" {
		s[labelArch] = n.Arch
	}
	if p.Kind == Precompiled {
		s[labelKernel] = n.Kernel
	}
	return s
}

// tellApart adds our own label to groups whose selectors meet nodes of another.
func tellApart(groups []Group, of []Node) {
	var meet []int
	for i := range groups {
		for j := range groups {
			if i != j && selects(groups[i].NodeSelector, of[j]) {
				meet = append(meet, i, j)
			}
		}
	}
	for _, i := range meet {
		groups[i].NodeSelector = maps.Clone(groups[i].NodeSelector)
		groups[i].NodeSelector[LabelDriver], groups[i].Labelled = groups[i].Name, true
	}
}

func selects(s map[string]string, n Node) bool {
	return s[labelOS] == n.OS.ID && s[labelVersion] == n.OS.Version && (s[labelArch] == "" || s[labelArch] == n.Arch) &&
		(s[labelKernel] == "" || s[labelKernel] == n.Kernel)
}
