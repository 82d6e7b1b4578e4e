package upstreamtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	orasremote "oras.land/oras-go/v2/registry/remote"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

const workloadRepo = "bench.acme.example/"

func TestWorkloadImagesAreValid(t *testing.T) {
	for _, plain := range []bool{false, true} {
		opts := small()
		opts.Plain = plain
		up := start(t, upstreamtest.Options{Workload: opts})
		for i := range opts.Images {
			for _, tag := range []string{"v1", "v2"} {
				checkWorkloadImage(t, up, fmt.Sprintf("img%02d:%s", i, tag))
			}
		}
	}
}

func checkWorkloadImage(t *testing.T, up *upstreamtest.Upstream, ref string) {
	t.Helper()
	for _, image := range workloadImages(t, up, ref) {
		checkLayers(t, ref, image)
	}
}

func TestWorkloadShape(t *testing.T) {
	opts := small()
	opts.Images = 40
	up := start(t, upstreamtest.Options{Workload: opts})
	all, platforms, first := map[ggcr.Hash]int64{}, 0, map[string]string{}
	var second int
	for i := range opts.Images {
		for _, tag := range []string{"v1", "v2"} {
			ref := fmt.Sprintf("img%02d", i)
			images := workloadImages(t, up, ref+":"+tag)
			if tag == "v1" {
				platforms += len(images)
				first[ref] = digests(images)
				addLayers(t, all, images)
			} else if digests(images) != first[ref] {
				second++
			}
		}
	}
	var sum int64
	for _, size := range all {
		sum += size
	}
	if platforms != 48 || second != 8 || len(all) < 180 || len(all) > 210 {
		t.Errorf("%d platform images, %d layers, %d images with another v2", platforms, len(all), second)
	}
	if over := sum - opts.ImageBytes; over < 0 || over > int64(len(all))*2600 {
		t.Errorf("layers have %d bytes more than asked for", over)
	}
}

func workloadImages(t *testing.T, up *upstreamtest.Upstream, ref string) []ggcr.Image {
	t.Helper()
	d, err := remote.Get(reference(t, up.Addresses().Workload, workloadRepo+ref))
	if err != nil {
		t.Fatal(err)
	}
	if !d.MediaType.IsIndex() {
		image, err := d.Image()
		if err != nil {
			t.Fatal(err)
		}
		return []ggcr.Image{image}
	}
	index, err := d.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var images []ggcr.Image
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	return images
}

func digests(images []ggcr.Image) string {
	var all []string
	for _, image := range images {
		d, err := image.Digest()
		all = append(all, fmt.Sprint(d, err))
	}
	return strings.Join(all, " ")
}

func addLayers(t *testing.T, all map[ggcr.Hash]int64, images []ggcr.Image) {
	t.Helper()
	for _, image := range images {
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range manifest.Layers {
			all[l.Digest] = l.Size
		}
	}
}

func TestWorkloadBlobRanges(t *testing.T) {
	up := start(t, upstreamtest.Options{Workload: small()})
	image := workloadImages(t, up, "img01:v1")[0]
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer := slices.MaxFunc(manifest.Layers, func(a, b ggcr.Descriptor) int { return int(a.Size - b.Size) })
	url := "http://" + up.Addresses().Workload + "/v2/" + workloadRepo + "img01/blobs/" + layer.Digest.String()
	whole := get(t, url).body
	if "sha256:"+sha(whole) != layer.Digest.String() || len(whole) < 70000 {
		t.Fatalf("another digest, or too short: %d", len(whole))
	}
	// Around the frames of gzip's stored blocks, and at both ends.
	for _, at := range []int{0, 1, 9, 10, 14, 15, 16, 65549, 65550, 65551, 65554, 65555, 65556, len(whole) - 9, len(whole) - 1} {
		to := min(at+7, len(whole)-1)
		r := get(t, url, fmt.Sprintf("Range: bytes=%d-%d", at, to))
		if !bytes.Equal(r.body, whole[at:to+1]) {
			t.Errorf("bytes %d to %d differ", at, to)
		}
	}
}

func TestWorkloadModel(t *testing.T) {
	up := start(t, upstreamtest.Options{Workload: small(), HubPage: 100})
	hub := "http://" + up.Addresses().Hub
	entries, _ := listTree(t, hub+"/api/models/bench/big-llm/tree/main?recursive=true")
	for _, e := range entries {
		checkFile(t, hub+"/bench/Big-LLM/resolve/main/"+e.Path, e)
		if strings.HasSuffix(e.Path, ".safetensors") && e.Size < 1<<20 {
			t.Errorf("%d bytes", e.Size)
		}
	}
}

func TestDigestsAreKept(t *testing.T) {
	opts := small()
	opts.Digests = filepath.Join(t.TempDir(), "digests.json")
	first := digests(workloadImages(t, start(t, upstreamtest.Options{Workload: opts}), "img00:v1"))
	kept, err := os.ReadFile(opts.Digests)
	if err != nil {
		t.Fatal(err)
	}
	// A second start must believe the file: a false digest in it has to show.
	var file struct {
		Format int                        `json:"format"`
		Sums   map[string]json.RawMessage `json:"sums"`
	}
	if err := json.Unmarshal(kept, &file); err != nil {
		t.Fatal(err)
	}
	if again := digests(workloadImages(t, start(t, upstreamtest.Options{Workload: opts}), "img00:v1")); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	for key := range file.Sums {
		file.Sums[key] = json.RawMessage(`{"tar":"sha256:` + sha(nil) + `","gzip":"sha256:` + sha([]byte(key)) + `"}`)
	}
	changed, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(opts.Digests, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if again := digests(workloadImages(t, start(t, upstreamtest.Options{Workload: opts}), "img00:v1")); again == first {
		t.Error("the file was not used")
	}
}

func TestWorkloadRefusals(t *testing.T) {
	up := start(t, upstreamtest.Options{Workload: small()})
	base := "http://" + up.Addresses().Workload + "/v2/"
	for path, want := range map[string]int{
		"": 200, workloadRepo + "img00/tags/list": 200, workloadRepo + "none/tags/list": 404,
		workloadRepo + "img00/manifests/none": 404, workloadRepo + "img00/blobs/sha256:" + sha(nil): 404,
	} {
		if r := get(t, base+path); r.status != want {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	if r := do(t, "POST", base+workloadRepo+"img00/blobs/uploads/"); r.status != 405 {
		t.Errorf("upload: %d", r.status)
	}
}

func TestWorkloadHasNoReferrers(t *testing.T) {
	up := start(t, upstreamtest.Options{Workload: small()})
	repository, err := orasremote.NewRepository(up.Addresses().Workload + "/" + workloadRepo + "img01")
	if err != nil {
		t.Fatal(err)
	}
	repository.PlainHTTP = true
	subject, err := repository.Resolve(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	err = repository.Referrers(t.Context(), subject, "", func(page []v1.Descriptor) error {
		if len(page) > 0 {
			t.Errorf("%d referrers", len(page))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copyWithOras(t.Context(), up.Addresses().Workload+"/"+workloadRepo+"img00", "v2"); err != nil {
		t.Fatal(err)
	}
}
