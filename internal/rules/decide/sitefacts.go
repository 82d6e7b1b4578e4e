package decide

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// siteFacts are what charts are told of the site, as their value site.
type siteFacts struct {
	GPUs         []gpu.Kind      `json:"gpus,omitempty"`
	Models       []carriedModel  `json:"models,omitempty"`
	Kubernetes   *kubernetesFact `json:"kubernetes,omitempty"`
	Hub          string          `json:"hub,omitempty"`
	StorageClass string          `json:"storageClass,omitempty"`
	// What the plan's own objects come to.
	Reserved        map[string]int64 `json:"reserved,omitempty"`
	QueueNamespaces []string         `json:"queueNamespaces,omitempty"`
}

// toldSite is what charts are told that is not the selection's own.
type toldSite struct {
	version  string // of Kubernetes
	nodes    []inventory.Node
	reserved map[string]int64 // by the name of a kind
	queued   []string         // namespaces, sorted
	found    []event.Finding
}

// kubernetesFact is what the cluster can do.
type kubernetesFact struct {
	ImageVolumes bool `json:"imageVolumes"` // pods can mount images
}

// carriedModel is a model of the bundle.
type carriedModel struct {
	Name       string `json:"name"`       // see nameModels; no other model has it
	Repository string `json:"repository"` // of the hub
	Revision   string `json:"revision"`   // its commit
	Image      string `json:"image"`      // the reference of its OCI image
	Bytes      int64  `json:"bytes"`      // of all its files
	Serve      string `json:"serve,omitempty"`
	// What its files say of its weights; absent where they say nothing.
	WeightsBytes    int64  `json:"weightsBytes,omitempty"`
	Parameters      int64  `json:"parameters,omitempty"`
	DType           string `json:"dtype,omitempty"`
	MaxContext      int64  `json:"maxContext,omitempty"`
	KVBytesPerToken int64  `json:"kvBytesPerToken,omitempty"`
	AttentionHeads  int64  `json:"attentionHeads,omitempty"`
	KeyValueHeads   int64  `json:"keyValueHeads,omitempty"`
}

// TellSite lays the facts that charts ask for beneath the site's own values. It comes
// after Configure, with the version of Kubernetes and all nodes.
func (s *Selection) TellSite(version string, nodes []inventory.Node) error {
	s.told = toldSite{version: version, nodes: nodes}
	for i := range s.Components {
		if err := s.tell(&s.Components[i]); err != nil {
			return err
		}
	}
	s.noteUnknownGPUs()
	s.noteModelNames()
	return nil
}

// noteUnknownGPUs says that charts ask for the site's GPUs and do not hear of all.
func (s *Selection) noteUnknownGPUs() {
	asking := s.asking(lock.FactGPUs)
	if asking == "" || len(s.kinds) > 0 && len(s.uncounted) == 0 {
		return
	}
	f := event.Finding{
		Severity: event.Notice, Code: event.CodeNoGPUNodes, Item: asking,
		What: "no node is known to have a GPU, so the plan tells " + asking + " of none",
		Hint: "if nodes have GPUs: " + inventoryHint,
	}
	if len(s.uncounted) > 0 {
		f.Severity = event.Warn
		f.What = fmt.Sprintf("nobody can count the GPUs of %s, so the plan tells %s of none of these", nodeWords(s.uncounted), asking)
		f.Why = "either nothing says how many there are, or what pods can have of them: " +
			"no device plugin offers any yet, or they are cut in a way that their MIG strategy does not allow"
		f.Hint = inventoryHint
	}
	s.told.found = append(s.told.found, f)
}

// inventoryHint says how a plan comes to know the GPUs of nodes without labels.
const inventoryHint = "write an inventory with caisson nodes --probe export -o site-nodes.yaml, " +
	"name it under gpu.nodes in the site file, and plan again"

// tell tells the releases of one component.
func (s *Selection) tell(c *Chosen) error {
	for k := range c.Releases {
		r := &c.Releases[k]
		if len(r.Facts) == 0 {
			continue
		}
		facts, err := s.factsFor(r.Facts)
		if err != nil {
			return fmt.Errorf("telling release %s of the site: %w", r.Name, err)
		}
		told := lock.MergeValues(c.Component.Releases[k].Values, map[string]any{"site": facts})
		r.Values = lock.MergeValues(told, s.site.Components[c.Component.Name].Values[r.Name])
	}
	return nil
}

// factsFor are the named facts, as values.
func (s *Selection) factsFor(names []string) (map[string]any, error) {
	wants := func(name string) bool { return slices.Contains(names, name) }
	var f siteFacts
	if wants(lock.FactGPUs) {
		f.GPUs = s.kinds
	}
	if wants(lock.FactModels) {
		f.Models = s.carriedModels()
	}
	if wants(lock.FactKubernetes) {
		f.Kubernetes = &kubernetesFact{ImageVolumes: canMountImages(s.told.version, s.told.nodes)}
	}
	if wants(lock.FactHub) {
		f.Hub = s.site.Hub
	}
	if wants(lock.FactStorage) {
		f.StorageClass = s.site.StorageClass
	}
	if wants(lock.FactReserved) {
		f.Reserved = s.told.reserved
	}
	if wants(lock.FactQueued) {
		f.QueueNamespaces = s.told.queued
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	err = json.Unmarshal(text, &out)
	return lock.WholeNumbers(out).(map[string]any), err
}

// carriedModels are the models of the selection, in the lock's order.
func (s *Selection) carriedModels() []carriedModel {
	var out []carriedModel
	names := nameModels(s.lock)
	for _, it := range s.modelItems() {
		m, ok := lock.As[*lock.HubModel](it)
		if !ok {
			continue
		}
		w := m.Weights
		one := carriedModel{
			Name: names[it.Ref], Repository: m.Repository, Revision: m.Commit,
			Image: s.pulledModel(it.Ref), Serve: m.Serve,
			WeightsBytes: w.WeightsBytes, Parameters: w.Parameters, DType: w.DType,
			MaxContext: w.MaxContext, KVBytesPerToken: w.KVBytesPerToken,
			AttentionHeads: w.AttentionHeads, KeyValueHeads: w.KeyValueHeads,
		}
		for _, f := range m.Files {
			one.Bytes += f.Size
		}
		out = append(out, one)
	}
	return out
}

// pulledModel is the reference by which nodes pull a model's image.
func (s *Selection) pulledModel(ref imageref.Ref) string {
	if !s.site.Rewrites() {
		return string(ref)
	}
	return s.site.Registry.Base() + "/" + ref.SitePath() + ":" + ref.Tag()
}

// Versions from which pods can mount images without a feature gate.
const (
	mountsImages           = ">=1.35-0"
	containerdMountsImages = ">=2.1-0"
	crioMountsImages       = ">=1.33-0"
)

// canMountImages says whether the pods of every node can mount images as volumes.
func canMountImages(version string, nodes []inventory.Node) bool {
	if !fits(version, mountsImages) || len(nodes) == 0 {
		return false
	}
	return !slices.ContainsFunc(nodes, func(n inventory.Node) bool { return !runtimeMountsImages(n.Runtime) })
}

// runtimeMountsImages says whether a container runtime such as "containerd 2.1.4" does.
func runtimeMountsImages(runtime string) bool {
	name, version, _ := strings.Cut(runtime, " ")
	switch name {
	case "containerd":
		return fits(version, containerdMountsImages)
	case "cri-o":
		return fits(version, crioMountsImages)
	}
	return false
}

// fits says whether a version is one that a constraint allows; one that cannot be read
// is none.
func fits(version, constraint string) bool {
	v, err := semver.NewVersion(version)
	if err != nil {
		return false
	}
	c, err := semver.NewConstraint(constraint)
	return err == nil && c.Check(v)
}
