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
	ones, twos := strings.Repeat("1", 40), strings.Repeat("2", 40)
	for _, c := range [][]struct{ name, repository, commit, want string }{
		{{"assistant", "zed/B", ones, "assistant"}},
		{{"assistant", "acme/A", ones, "acme-a"}, {"assistant", "zed/B", ones, "zed-b"}, {"ward", "zed/C", ones, "ward"}},
		{{"", "meta-llama/Llama-3.1-8B", ones, "meta-llama-llama-3-1-8b"}, {"", "unsloth/Llama-3.1-8B", ones, "unsloth-llama-3-1-8b"}},
		{{"", "acme/Llama-3.1-8B", ones, "llama-3-1-8b"}},
		{{"assistant", "acme/B", ones, "assistant-1111111"}, {"assistant", "acme/B", twos, "assistant-2222222"}},
		{{"zed-b", "acme/A", ones, "zed-b"}, {"chat", "acme/B", ones, "acme-b"}, {"chat", "zed/B", ones, "chat-1111111"}},
	} {
		l := &lock.Lock{}
		for _, m := range c {
			ref := imageref.Ref("huggingface.co/" + strings.ToLower(m.repository) + ":" + m.commit)
			l.Items = append(l.Items, lock.Item{Ref: ref, Kind: lock.Model, Content: &lock.HubModel{Name: m.name, Repository: m.repository, Commit: m.commit}})
		}
		names := nameModels(l)
		for i, m := range c {
			if got := names[l.Items[i].Ref]; got != m.want {
				t.Errorf("%s, called %q: %s, want %s", m.repository, m.name, got, m.want)
			}
		}
	}
}

// TestModelsThatWouldShareAName: nobody has to guess which of them has the name, and that
// does not depend on which components a site enables.
func TestModelsThatWouldShareAName(t *testing.T) {
	l := sample()
	for _, repository := range []string{"acme/A", "zed/B"} {
		l.Items = append(l.Items, lock.Item{
			Ref: imageref.Ref("huggingface.co/" + strings.ToLower(repository) + ":" + strings.Repeat("1", 40)), Kind: lock.Model,
			Components: []string{map[string]string{"acme/A": "extra", "zed/B": "web"}[repository]}, // extra is optional
			Content:    &lock.HubModel{Name: "assistant", Repository: repository, Commit: strings.Repeat("1", 40)},
		})
	}
	l.Components[0].Releases[0].Facts = []string{lock.FactModels}
	off := false
	for enabled, want := range map[bool]int{true: 2, false: 1} {
		s := lab()
		if !enabled {
			s.Components = map[string]plan.Choice{"extra": {Enabled: &off}}
		}
		selection, _ := Select(l, s)
		if err := selection.TellSite("v1.36.0", nil); err != nil {
			t.Fatal(err)
		}
		models := selection.carriedModels()
		if len(models) != want || models[want-1].Name != "zed-b" {
			t.Errorf("extra enabled: %v: %+v", enabled, models)
		}
		said, _ := json.Marshal(selection.told.found)
		if n := strings.Count(string(said), "would be called assistant"); n != want || !strings.Contains(string(said), "zed/B is called zed-b") {
			t.Errorf("extra enabled: %v: %s", enabled, said)
		}
	}
}
