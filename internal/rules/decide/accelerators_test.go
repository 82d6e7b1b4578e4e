package decide

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// model is an item of component gpu with files of these sizes in GiB.
func model(files map[string]int64) lock.Item {
	model := &lock.HubModel{Repository: "acme/chat"}
	it := lock.Item{Ref: "models.caisson.dev/acme/chat:main", Kind: lock.Model, Components: []string{"gpu"}, Digest: dg("model"), Content: model}
	for path, n := range files {
		model.Files = append(model.Files, lock.ModelFile{Path: path, Size: n << 30})
	}
	return it
}

// gpuBox is a cluster with GPUs in one of its nodes.
func gpuBox(product string, each, count int) GPUFacts {
	return GPUFacts{Nodes: []inventory.Node{{Name: "plain"}, {Name: "box", GPUs: []inventory.GPU{{Vendor: gpu.AMD, Architecture: "cdna3", Product: product, MemoryGiB: each, Count: count}}}}}
}

func TestModelsAndTheMemoryOfGPUs(t *testing.T) {
	box := gpuBox
	shards := map[string]int64{"model-00001-of-00002.safetensors": 70, "model-00002-of-00002.safetensors": 70, "consolidated.safetensors": 140, "original/consolidated.00.pth": 140}
	for name, tc := range map[string]struct {
		files map[string]int64
		f     GPUFacts
		want  string // "SEVERITY: part of what is said"
	}{
		"fits one":         {map[string]int64{"model.safetensors": 50}, box("a", 80, 8), ""},
		"fits one barely":  {map[string]int64{"model.safetensors": 100}, box("a", 120, 1), ""},
		"fits several":     {shards, box("a", 80, 8), "notice: about 168 GiB of GPU memory, 140 GiB of it for its weights; one GPU has 80.0 GiB"},
		"fits none":        {shards, box("a", 80, 2), "warn: the GPUs of no node have more than 160 GiB"},
		"unknown memory":   {shards, box("a", 0, 2), ""},
		"no GPU at all":    {shards, GPUFacts{Nodes: []inventory.Node{{Name: "plain"}}}, ""},
		"nobody looked":    {shards, GPUFacts{}, ""},
		"quantised":        {map[string]int64{"chat.Q2.gguf": 20, "chat.Q8-00001-of-00002.gguf": 50, "chat.Q8-00002-of-00002.gguf": 50}, box("a", 24, 1), ""},
		"quantised, large": {map[string]int64{"chat.Q8-00001-of-00002.gguf": 50, "chat.Q8-00002-of-00002.gguf": 50}, box("a", 24, 1), "warn: 120 GiB"},
		"of several parts": {map[string]int64{"unet/d.safetensors": 20, "text/d.safetensors": 10, "text/d.bin": 10}, box("a", 32, 1), "warn: 36.0 GiB of GPU memory, 30.0 GiB"},
		"no weights":       {map[string]int64{"config.json": 20}, box("a", 1, 1), ""},
	} {
		l := sample()
		l.Items = append(l.Items, model(tc.files))
		l.Components = append(l.Components, lock.Component{Name: "gpu", Namespace: "gpu"})
		_, found := gpuPlan(t, l, lab(), tc.f)
		got := ""
		if f := of(found, "model-memory"); f != nil {
			got = string(f.Severity) + ": " + f.What
		}
		severity, part, _ := strings.Cut(tc.want, ": ")
		if (got == "") != (tc.want == "") || !strings.HasPrefix(got, severity) || !strings.Contains(got, part) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestLongestRequest: what the headers say goes before the sizes of files, and the
// longest request must fit beside the weights.
func TestLongestRequest(t *testing.T) {
	llama := lock.ModelWeights{WeightsBytes: 16 << 30, MaxContext: 131072, KVBytesPerToken: 131072}
	for name, tc := range map[string]struct {
		serve string
		w     lock.ModelWeights
		gib   int
		want  string
	}{
		"fits":        {"chat", llama, 80, ""},
		"too long":    {"chat", llama, 24, "room for about 45875 tokens|--max-model-len 45056"},
		"not served":  {"", llama, 24, ""},
		"for nobody":  {"none", llama, 24, ""},
		"embeddings":  {"embed", llama, 24, ""},
		"not known":   {"chat", lock.ModelWeights{WeightsBytes: 16 << 30, MaxContext: 131072}, 24, ""},
		"short":       {"completion", lock.ModelWeights{WeightsBytes: 16 << 30, MaxContext: 4096, KVBytesPerToken: 131072}, 24, ""},
		"hardly room": {"chat", lock.ModelWeights{WeightsBytes: 20 << 30, MaxContext: 4096, KVBytesPerToken: 16 << 20}, 24, "room for about 102 tokens|--max-model-len 102"},
	} {
		l := sample()
		it := model(map[string]int64{"model.safetensors": 500})
		it.Content.(*lock.HubModel).Weights, it.Content.(*lock.HubModel).Serve = tc.w, tc.serve
		l.Items = append(l.Items, it)
		l.Components = append(l.Components, lock.Component{Name: "gpu", Namespace: "gpu"})
		_, found := gpuPlan(t, l, lab(), gpuBox("a", tc.gib, 1))
		got := ""
		if f := of(found, "model-context"); f != nil {
			got = f.What + " " + f.Hint
		}
		what, hint, _ := strings.Cut(tc.want, "|")
		if (got == "") != (tc.want == "") || !strings.Contains(got, what) || !strings.Contains(got, hint) {
			t.Errorf("%s: %q", name, got)
		}
		if f := of(found, "model-memory"); f != nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestModelOfAComponentThatIsOff(t *testing.T) {
	l := sample()
	l.Items = append(l.Items, model(map[string]int64{"m.safetensors": 500}))
	l.Components = append(l.Components, lock.Component{Name: "gpu", Namespace: "gpu", Optional: true})
	if _, found := gpuPlan(t, l, lab(), GPUFacts{Nodes: nine(t)}); of(found, "model-memory") != nil {
		t.Errorf("%+v", found)
	}
}

func TestPodsThatAskForGPUs(t *testing.T) {
	asks := func(kind string, copies, n int64, name string) Part {
		return Part{Ref: object.Ref{APIVersion: "apps/v1", Kind: kind, Namespace: "gpu", Name: "p"}, Template: "t.yaml", Line: 2, Copies: copies,
			Containers: []Container{{Name: "i", Init: true, Limits: map[string]int64{name: 1000}}, {Name: "a", Limits: map[string]int64{name: n * 1000}}, {Name: "b", Requests: map[string]int64{name: 1000, "cpu": 100}}}}
	}
	h100 := GPUFacts{Nodes: nine(t)[:1]}
	parted := lab()
	parted.GPU = &site.Policy{MIG: site.MIGPolicy{Strategy: site.MIGMixed, Layouts: []site.Layout{{Nodes: []string{"h100"}, Profiles: map[string]int{"1g.10gb": 7}}}}}
	for name, tc := range map[string]struct {
		s    plan.Site
		f    GPUFacts
		part Part
		want string // "CODE SEVERITY: part of what is said, and of the hint"
	}{
		"as many as there are": {lab(), h100, asks("Deployment", 1, 7, site.WholeGPU), ""},
		"one more":             {lab(), h100, asks("Deployment", 1, 8, site.WholeGPU), "gpu-request warn: asks for 9 nvidia.com/gpu; no node offers more than 8"},
		"twice":                {lab(), h100, asks("Deployment", 2, 4, site.WholeGPU), "gpu-capacity warn: ask for 10 nvidia.com/gpu together; the nodes offer 8"},
		"of a custom resource": {lab(), h100, Part{Ref: object.Ref{Kind: "InferenceService", Name: "p"}, Within: asks("", 0, 9, site.WholeGPU).Containers}, "gpu-request warn: asks for 9"},
		"cut into parts":       {parted, h100, asks("Deployment", 1, 1, site.WholeGPU), "gpu-request warn: which no node offers|nvidia.com/mig-1g.10gb"},
		"of the parts":         {parted, h100, asks("Deployment", 8, 6, "nvidia.com/mig-1g.10gb"), ""},
		"of another vendor":    {lab(), h100, asks("Deployment", 1, 1, "amd.com/gpu"), "gpu-request warn: asks for 2 amd.com/gpu, which no node offers|nvidia.com/gpu"},
		"no GPU there":         {lab(), GPUFacts{Nodes: nine(t)[6:]}, asks("Deployment", 1, 1, site.WholeGPU), "gpu-request warn: which no node offers|gpu.nodes"},
		"nobody looked":        {lab(), GPUFacts{}, asks("Deployment", 1, 1, site.WholeGPU), ""},
		"on every node":        {lab(), h100, asks("DaemonSet", -1, 1, site.WholeGPU), ""},
	} {
		l := operated(nineTags...)
		selection, found := Select(l, tc.s)
		if HasErrors(found) {
			t.Fatalf("%+v", found)
		}
		if err := selection.Configure(tc.f); err != nil {
			t.Fatal(err)
		}
		all := facts(l)
		all.GPU = tc.f
		_, found = Make(ofBundle(), selection, map[Key]Rendered{{"gpu", "gpu-operator"}: {ChartDigest: dg("chart"), ChartVersion: "v26.7.0", Objects: 1, Parts: []Part{tc.part}}}, all)
		code, rest, _ := strings.Cut(tc.want, " ")
		severity, rest, _ := strings.Cut(rest, ": ")
		what, hint, _ := strings.Cut(rest, "|")
		for _, other := range []string{"gpu-request", "gpu-capacity"} {
			if f := of(found, other); f != nil && other != code {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if code == "" {
			continue
		}
		if f := of(found, code); f == nil || f.Severity != event.Severity(severity) || !strings.Contains(f.What, what) || !strings.Contains(f.Hint, hint) || f.Why == "" {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestRoomOfTheRegistry(t *testing.T) {
	_, found := decide(t, func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) { f.Registry.Has = map[string]bool{} })
	if f := of(found, "registry-disk"); f == nil || f.Severity != event.Notice || !strings.Contains(f.Hint, "reg.site:5000") {
		t.Errorf("%+v", f)
	}
	for name, change := range map[string]func(s *plan.Site, f *Facts){
		"all there":       func(*plan.Site, *Facts) {},
		"served in place": func(s *plan.Site, f *Facts) { s.Registry.Mode, f.Registry.Has = "embedded", map[string]bool{} },
		"not reached":     func(_ *plan.Site, f *Facts) { f.Registry = RegistryFacts{Problem: "no route"} },
	} {
		if _, found := decide(t, func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, f *Facts) { change(s, f) }); of(found, "registry-disk") != nil {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// A device plugin that is there says for certain what there is.
func TestPodsAskMoreThanADevicePluginCounts(t *testing.T) {
	node := inventory.Node{Name: "a", GPUs: []inventory.GPU{{Vendor: gpu.AMD, Architecture: "cdna3", MemoryGiB: 192}}, Resources: []inventory.Resource{{Name: "nvidia.com/gpu", Allocatable: 8}}}
	f := GPUFacts{Nodes: []inventory.Node{node}}
	l := sample()
	for copies, want := range map[int64]event.Severity{1: event.Error, 0: event.Warn} {
		selection, _ := Select(l, lab())
		if err := selection.Configure(f); err != nil {
			t.Fatal(err)
		}
		all, made := facts(l), renders()
		all.GPU = f
		with(made, Part{Ref: object.Ref{Kind: "Deployment", Namespace: "front", Name: "p"}, Copies: copies, Containers: []Container{{Limits: map[string]int64{site.WholeGPU: 9000}}}})
		_, found := Make(ofBundle(), selection, made, all)
		if got := of(found, "gpu-request"); got == nil || got.Severity != want {
			t.Errorf("%d copies: %+v", copies, got)
		}
	}
}
