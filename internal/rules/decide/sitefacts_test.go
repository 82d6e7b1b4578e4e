package decide

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/rules/document"
)

// A chart hears what it asks for, of what the site has, and nothing else; what the site
// says itself goes before it.
func TestChartsAreToldOfTheSite(t *testing.T) {
	nodes := nine(t)[:1]
	nodes[0].Runtime = "containerd 2.1.4"
	old := nine(t)[:1]
	old[0].Runtime = "containerd 1.7.20"
	gpus := `"gpus":[{"count":8,"memoryGiB":0,"name":"nvidia-h100-80gb-hbm3","nodeLabels":{"nvidia.com/gpu.product":"NVIDIA-H100-80GB-HBM3"},"nodes":1,"perNode":8,"product":"NVIDIA-H100-80GB-HBM3","resource":"nvidia.com/gpu","vendor":"nvidia"}]`
	for name, tc := range map[string]struct {
		facts   []string
		version string
		nodes   []inventory.Node
		site    map[string]any // values
		want    string
	}{
		"nothing":                  {nil, "v1.36.0", nodes, nil, `{"kept":1}`},
		"GPUs":                     {[]string{lock.FactGPUs}, "v1.36.0", nodes, nil, `{"kept":1,"site":{` + gpus + `}}`},
		"hub and storage":          {[]string{lock.FactHub, lock.FactStorage}, "v1.36.0", nodes, nil, `{"kept":1,"site":{"hub":"http://hub.site:8080","storageClass":"fast"}}`},
		"images can be mounted":    {[]string{lock.FactKubernetes}, "v1.36.0", nodes, nil, `{"kept":1,"site":{"kubernetes":{"imageVolumes":true}}}`},
		"not by an old runtime":    {[]string{lock.FactKubernetes}, "v1.36.0", old, nil, `{"kept":1,"site":{"kubernetes":{"imageVolumes":false}}}`},
		"not by an old Kubernetes": {[]string{lock.FactKubernetes}, "v1.34.2", nodes, nil, `{"kept":1,"site":{"kubernetes":{"imageVolumes":false}}}`},
		"the site says otherwise":  {[]string{lock.FactHub}, "v1.36.0", nodes, map[string]any{"site": map[string]any{"hub": "http://other"}}, `{"kept":1,"site":{"hub":"http://other"}}`},
	} {
		l := operated(nineTags...)
		l.Components = append(l.Components, lock.Component{Name: "queues", Releases: []lock.Release{{Name: "queues", Values: map[string]any{"kept": int64(1)}, Facts: tc.facts}}})
		s := lab()
		s.Hub, s.StorageClass = "http://hub.site:8080", "fast"
		s.Components = map[string]plan.Choice{"queues": {Values: map[string]map[string]any{"queues": tc.site}}}
		selection, found := Select(l, s)
		if HasErrors(found) {
			t.Fatalf("%+v", found)
		}
		if err := selection.Configure(GPUFacts{Nodes: tc.nodes}); err != nil {
			t.Fatal(err)
		}
		if err := selection.TellSite(tc.version, tc.nodes); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(selection.chosenValues("queues"))
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, tc.want)
		}
	}
}

// chosenValues are those of a component's first release.
func (s *Selection) chosenValues(component string) map[string]any {
	for _, c := range s.Components {
		if c.Component.Name == component {
			return c.Releases[0].Values
		}
	}
	return nil
}

func TestModelsAreToldAsTheirFilesSay(t *testing.T) {
	l := sample()
	it := model(map[string]int64{"m.safetensors": 500})
	content, _ := lock.As[*lock.HubModel](&it)
	content.Weights = lock.ModelWeights{Parameters: 250, WeightsBytes: 480, DType: "BF16", MaxContext: 2048, KVBytesPerToken: 64, AttentionHeads: 28, KeyValueHeads: 4}
	content.Name = "ward.assistant"
	l.Items = append(l.Items, it)
	l.Components = append(l.Components, lock.Component{Name: "gpu", Namespace: "gpu"})
	selection, _ := Select(l, lab())
	models := selection.carriedModels()
	if len(models) != 1 {
		t.Fatalf("%+v", models)
	}
	m := models[0]
	if m.WeightsBytes != 480 || m.MaxContext != 2048 || m.Bytes != 500<<30 || m.Name != "ward-assistant" || m.AttentionHeads != 28 || m.KeyValueHeads != 4 || m.Image != "reg.site:5000/mirror/"+it.Ref.SitePath()+":"+it.Ref.Tag() {
		t.Errorf("%+v", m)
	}
}

// TestModelImagesAreOfTheBundle: what charts are told of a model is no image that the
// bundle lacks.
func TestModelImagesAreOfTheBundle(t *testing.T) {
	l := sample()
	it := model(map[string]int64{"m.safetensors": 500})
	l.Items = append(l.Items, it)
	l.Components = append(l.Components, lock.Component{Name: "gpu", Namespace: "gpu"})
	selection, _ := Select(l, lab())
	m := &maker{selection: selection, set: newImageSet(l)}
	for ref, want := range map[string]bool{
		string(it.Ref): true, selection.carriedModels()[0].Image: true, "quay.io/acme/absent:1": false,
	} {
		if got := m.carriesImage(document.Site{What: document.Image, Ref: ref}); got != want {
			t.Errorf("%s: %v", ref, got)
		}
	}
}

// TestModelsAreRewritten: what names a model as an image gets it from the site, under
// whichever name and in whatever field.
func TestModelsAreRewritten(t *testing.T) {
	var it lock.Item
	for _, strategy := range []string{plan.Rewrite, plan.Mirror} {
		p, found := decide(t, func(l *lock.Lock, s *plan.Site, r map[Key]Rendered, f *Facts) {
			withAgent(l, f)
			it = model(map[string]int64{"m.safetensors": 1})
			it.Components, s.References = []string{"web"}, []string{strategy}
			l.Items = append(l.Items, it)
			web := r[Key{"web", "web"}]
			web.Images = append(web.Images,
				document.Site{What: document.Image, Ref: string(it.Ref), Template: "web/templates/d.yaml", Line: 5, Certainty: document.Certain},
				document.Site{What: document.Image, Ref: string(it.Ref), Template: "web/templates/i.yaml", Line: 6, Certainty: document.Joined})
			r[Key{"web", "web"}] = web
		})
		if p == nil {
			t.Fatalf("%s: %+v", strategy, found)
		}
		want := string(it.Ref)
		if strategy == plan.Rewrite {
			want = "reg.site:5000/mirror/" + it.Ref.SitePath() + ":" + it.Ref.Tag()
		}
		for _, ref := range []string{string(it.Ref), want} {
			if got, ok := p.Rewriter()(ref); got != want || !ok {
				t.Errorf("%s: %s becomes %q, %v; want %s", strategy, ref, got, ok, want)
			}
		}
	}
}

// TestEachModelHasANameOfItsOwn: two repositories may be called the same, and two
// components may call two models the same.
func TestEachModelHasANameOfItsOwn(t *testing.T) {
	commits := strings.Repeat("1", 40)
	taken := map[string]bool{}
	for _, c := range []struct{ name, repository, want string }{
		{"", "meta-llama/Llama-3.1-8B", "llama-3-1-8b"},
		{"", "unsloth/Llama-3.1-8B", "unsloth-llama-3-1-8b"},
		{"assistant", "acme/A", "assistant"},
		{"assistant", "acme/B", "acme-b"},
		{"assistant", "acme/B", "assistant-1111111"},
	} {
		_, name, _ := strings.Cut(strings.ToLower(c.repository), "/")
		it := &lock.Item{Ref: imageref.Ref("huggingface.co/x/" + name + ":" + commits)}
		m := &lock.HubModel{Name: c.name, Repository: c.repository, Commit: commits}
		if got := chooseModelName(it, m, taken); got != c.want {
			t.Errorf("%s, called %q: %s, want %s", c.repository, c.name, got, c.want)
		}
	}
}
