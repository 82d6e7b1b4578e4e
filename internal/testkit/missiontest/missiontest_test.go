package missiontest

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/command/stacks"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// readStack reads what the profiles minimal and training carry.
func readStack(t *testing.T) *stack.Stack {
	t.Helper()
	all, err := stack.ReadShipped("sovereign-ai")
	if err != nil {
		t.Fatal(err)
	}
	cut, err := all.Cut([]string{"minimal", "training"})
	if err != nil {
		t.Fatal(err)
	}
	return cut
}

// TestImagesAreThoseOfTheStack holds Images against what the stack's components were found
// to bring. Servers for GPUs are not carried by minimal, and the program's own image is made
// when the stack is resolved.
func TestImagesAreThoseOfTheStack(t *testing.T) {
	facts, err := stacks.ReadFacts("sovereign-ai")
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]bool{}, map[string]bool{}
	for _, c := range readStack(t).Components {
		for _, image := range facts.Components[c.Name].Images {
			want[string(image)] = !strings.HasPrefix(string(image), "images.caisson.dev/")
		}
	}
	maps.DeleteFunc(want, func(_ string, upstream bool) bool { return !upstream })
	maps.DeleteFunc(want, func(image string, _ bool) bool {
		return strings.Contains(image, "/vllm-openai:") || strings.Contains(image, "/vllm-openai-rocm:")
	})
	for _, i := range Images {
		got[i.Ref] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("there are %q, the stack has %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestChartsAreThoseOfTheStack(t *testing.T) {
	want, got := map[string]bool{}, map[string]bool{}
	for _, c := range readStack(t).Components {
		for _, ch := range c.Charts {
			if source, ok := strings.CutPrefix(ch.Source, "oci://"); ok {
				want[source] = true
			}
		}
	}
	for _, c := range Charts {
		got[c.Repository+"/"+path.Base(c.Dir)] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("there are %q, the stack has %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestReleasedValues(t *testing.T) {
	c := &chart.Chart{
		Metadata: &chart.Metadata{Name: "web"},
		Values:   map[string]any{"image": map[string]any{"tag": "main", "pullPolicy": "Always"}, "replicas": 2.0},
		Raw:      []*chart.File{{Name: "Chart.yaml"}, {Name: chartutil.ValuesfileName, Data: []byte("before")}},
	}
	if err := setValues(c, map[string]any{"image": map[string]any{"tag": "v1"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := string(c.Raw[1].Data), "image:\n  pullPolicy: Always\n  tag: v1\nreplicas: 2\n"; got != want {
		t.Errorf("values.yaml is %q, want %q", got, want)
	}
}

// TestSmallModel holds the stand-in to the name and commit that the stack pins.
func TestSmallModel(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Options{})
	if err := AddSmallModel(u); err != nil {
		t.Fatal(err)
	}
	for _, c := range readStack(t).Components {
		for _, m := range c.Models {
			id := strings.TrimPrefix(m.Source, "hf://")
			requireFound(t, "http://"+u.Addresses().Hub+"/api/models/"+id+"/revision/"+m.Revision)
			requireFound(t, "http://"+u.Addresses().Hub+"/"+id+"/resolve/"+m.Revision+"/tokenizer_config.json")
		}
	}
}

func requireFound(t *testing.T, url string) {
	t.Helper()
	reply, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", url, reply.Status)
	}
}
