package decide

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

// askingFor is a selection of a component queues that asks for facts.
func askingFor(t *testing.T, nodes []inventory.Node, site plan.Site, facts ...string) *Selection {
	t.Helper()
	l := operated(nineTags...)
	l.Components = append(l.Components, lock.Component{Name: "queues", Releases: []lock.Release{{Name: "queues", Facts: facts}}})
	s, found := Select(l, site)
	if HasErrors(found) {
		t.Fatalf("%+v", found)
	}
	if err := s.Configure(GPUFacts{Nodes: nodes}); err != nil {
		t.Fatal(err)
	}
	if err := s.TellSite("v1.36.0", nodes); err != nil {
		t.Fatal(err)
	}
	return s
}

// planned is an object of a component whose pods ask for n of a resource.
func planned(component, kind string, standing int64, resource string, n int64, nodes Labels) PlannedPart {
	asks := Container{Limits: map[string]int64{resource: n * 1000}}
	p := PlannedPart{Component: component, Space: "there", Part: Part{Ref: object.Ref{Kind: kind, Name: component}, Standing: standing, Nodes: nodes}}
	if kind == "InferenceService" {
		p.Within = []Container{asks}
	} else {
		p.Containers, p.Copies = []Container{asks}, standing
	}
	return p
}

// The nodes: 8 H100, 4 V100, 8 B200, 4 A100, 4 L40 and 8 MI300X.
func TestWhatPodsHoldIsNotSharedOut(t *testing.T) {
	h100 := Labels{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
	const h100Kind, b200Kind, amdKind = "nvidia-h100-80gb-hbm3", "nvidia-b200", "amd-instinct-mi300x"
	for name, tc := range map[string]struct {
		parts []PlannedPart
		want  map[string]int64
		says  []string
		not   string
	}{
		"nothing": {want: map[string]int64{}},
		"servers on nodes that they name": {
			parts: []PlannedPart{
				planned("chat", "InferenceService", 2, "nvidia.com/gpu", 2, h100),
				planned("web", "Deployment", 1, "nvidia.com/gpu", 1, h100),
				planned("rocm", "InferenceService", 1, "amd.com/gpu", 3, nil),
			},
			want: map[string]int64{h100Kind: 5, amdKind: 3},
			says: []string{"pods of chat and rocm and web hold 3 " + amdKind + ", 5 " + h100Kind + ", which queues does not share out"},
		},
		"no more than there are": {
			parts: []PlannedPart{planned("chat", "InferenceService", 9, "nvidia.com/gpu", 2, h100)},
			want:  map[string]int64{h100Kind: 8},
		},
		"jobs hold nothing":    {parts: []PlannedPart{planned("job", "Job", 0, "nvidia.com/gpu", 2, h100)}, want: map[string]int64{}},
		"what nobody can have": {parts: []PlannedPart{planned("x", "Deployment", 1, "nvidia.com/gpu", 2, Labels{"nvidia.com/gpu.product": "other"})}, want: map[string]int64{}},
		"one on every node":    {parts: []PlannedPart{planned("x", "DaemonSet", EveryNode, "nvidia.com/gpu", 1, h100)}, want: map[string]int64{h100Kind: 1}},
		"one on every node of each kind": {
			parts: []PlannedPart{planned("x", "DaemonSet", EveryNode, "nvidia.com/gpu", 1, nil)},
			want:  map[string]int64{h100Kind: 1, b200Kind: 1},
			says:  []string{"serve fewer models: models: [{name: NAME, serve: false}]"},
			not:   "it may get any of",
		},
		"of whatever kind, less of each": {
			parts: []PlannedPart{planned("x", "Deployment", 1, "nvidia.com/gpu", 1, Labels{"zone": "a"})},
			want:  map[string]int64{h100Kind: 1, b200Kind: 1},
			says:  []string{"asks for 1 nvidia.com/gpu and for no kind of node", "give its pods a nodeSelector"},
		},
	} {
		nodes := nine(t)
		nodes = slices.DeleteFunc(nodes, func(n inventory.Node) bool { return !slices.Contains([]string{"h100", "b200", "mi300x"}, n.Name) })
		s := askingFor(t, nodes, lab(), lock.FactReserved)
		again, err := s.TellPlan(tc.parts)
		if err != nil || !slices.Equal(again, []string{"queues"}) {
			t.Fatalf("%s: %q, %v", name, again, err)
		}
		told, _ := s.chosenValues("queues")["site"].(map[string]any)
		got := map[string]int64{}
		reserved, _ := told["reserved"].(map[string]any)
		for k, n := range reserved {
			got[k] = n.(int64)
		}
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
		said, _ := json.Marshal(s.told.found)
		for _, words := range tc.says {
			if !strings.Contains(string(said), words) {
				t.Errorf("%s: nobody says %q: %s", name, words, said)
			}
		}
		if tc.not != "" && strings.Contains(string(said), tc.not) {
			t.Errorf("%s: it says %q: %s", name, tc.not, said)
		}
		if len(tc.want) == 0 && len(s.told.found) > 0 {
			t.Errorf("%s: %s", name, said)
		}
	}
}

// Charts hear in which namespaces the plan has queues.
func TestNamespacesWithQueues(t *testing.T) {
	queue := func(version, namespace string) PlannedPart {
		ref := object.Ref{APIVersion: version, Kind: "LocalQueue", Namespace: namespace, Name: "default"}
		return PlannedPart{Component: "x", Space: "there", Part: Part{Ref: ref}}
	}
	s := askingFor(t, nil, lab(), lock.FactQueued)
	const kueue = "kueue.x-k8s.io/v1beta2"
	again, err := s.TellPlan([]PlannedPart{queue(kueue, "b"), queue(kueue, "a"), queue(kueue, "b"), queue(kueue, ""), queue("acme.org/v1", "other")})
	got, _ := json.Marshal(s.chosenValues("queues"))
	if err != nil || !slices.Equal(again, []string{"queues"}) || string(got) != `{"site":{"queueNamespaces":["a","b","there"]}}` {
		t.Errorf("%q, %s, %v", again, got, err)
	}
}

// What the plan says of jobs is what the NetworkPolicies hold that charts made of it.
func TestWhereJobsAreKeptInside(t *testing.T) {
	object := func(release, kind, namespace string) PlannedPart {
		ref := object.Ref{APIVersion: "networking.k8s.io/v1", Kind: kind, Namespace: namespace, Name: "x"}
		return PlannedPart{Component: "queues", Release: release, Space: "there", Part: Part{Ref: ref}}
	}
	policy := func(namespace string) PlannedPart { return object("queues", "NetworkPolicy", namespace) }
	for name, tc := range map[string]struct {
		parts []PlannedPart
		want  string
	}{
		"some":               {[]PlannedPart{policy("b"), policy("a"), policy("")}, "queues keeps jobs inside the site in the namespaces a, b, there, and in no other"},
		"one":                {[]PlannedPart{policy("a")}, "queues keeps jobs inside the site in the namespace a, and in no other"},
		"none":               {[]PlannedPart{object("queues", "ConfigMap", "a")}, "queues keeps jobs inside the site in no namespace"},
		"of another release": {[]PlannedPart{object("queues", "ConfigMap", "a"), object("other", "NetworkPolicy", "b")}, "in no namespace"},
		"it did not render":  {nil, ""},
	} {
		s := askingFor(t, nil, lab(), lock.FactQueued)
		s.NoteKept(tc.parts)
		said, _ := json.Marshal(s.told.found)
		if (len(s.told.found) == 1) != (tc.want != "") || !strings.Contains(string(said), tc.want) {
			t.Errorf("%s: %s, want %q", name, said, tc.want)
		}
	}
}

// Who asks for the GPUs of a site of which nobody knows any is told how they are found.
func TestUnknownGPUsAreSaid(t *testing.T) {
	uncounted := inventory.Node{Name: "x", GPUs: []inventory.GPU{{Vendor: "10de", Device: "2330", Class: "0302"}}}
	for name, tc := range map[string]struct {
		nodes []inventory.Node
		facts []string
		want  string
	}{
		"none":                {[]inventory.Node{{Name: "plain"}}, []string{lock.FactGPUs}, "no node is known to have a GPU, so the plan tells queues of none"},
		"nobody can count":    {[]inventory.Node{uncounted}, []string{lock.FactGPUs}, "nobody can count the GPUs of x, so the plan tells queues of none of these"},
		"beside known ones":   {append(nine(t), uncounted), []string{lock.FactGPUs}, "nobody can count the GPUs of x, so the plan tells queues of none of these"},
		"known":               {nine(t), []string{lock.FactGPUs}, ""},
		"nobody asks for any": {[]inventory.Node{{Name: "plain"}}, []string{lock.FactHub}, ""},
	} {
		s := askingFor(t, tc.nodes, lab(), tc.facts...)
		i := slices.IndexFunc(s.told.found, func(f event.Finding) bool { return f.Code == event.CodeNoGPUNodes })
		switch {
		case tc.want == "" && i >= 0:
			t.Errorf("%s: %+v", name, s.told.found)
		case tc.want != "" && (i < 0 || !strings.Contains(s.told.found[i].What, tc.want) || !strings.Contains(s.told.found[i].Hint, "caisson nodes --probe export")):
			t.Errorf("%s: %+v", name, s.told.found)
		}
	}
}
