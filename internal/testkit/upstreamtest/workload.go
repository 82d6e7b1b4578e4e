package upstreamtest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Names of the generated content.
const (
	WorkloadHost    = "bench.acme.example"
	WorkloadModelID = "bench/Big-LLM"
)

// WorkloadOptions says how large the generated content is. The zero value is
// the full size: 40 images with 4186 MiB of unique layers, and a model of 4 GiB.
type WorkloadOptions struct {
	Seed       uint64
	Images     int    // 0 means 40
	ImageBytes int64  // of all unique layers together, before gzip's frame; 0 means 4186 MiB
	ModelBytes int64  // of the model's one LFS file; 0 means 4 GiB
	Plain      bool   // layers as plain tar archives, not in gzip's form
	Digests    string // file that keeps the digests between starts; "" means none
}

func (o WorkloadOptions) withDefaults() WorkloadOptions {
	if o.Images == 0 {
		o.Images = 40
	}
	if o.ImageBytes == 0 {
		o.ImageBytes = 4186 << 20
	}
	if o.ModelBytes == 0 {
		o.ModelBytes = 4 << 30
	}
	return o
}

// Workload is generated content: images that share base layers, a fifth of them
// for two platforms and a fifth with a second tag whose top layer differs, and
// a model. Nothing of it is kept: bytes are made when they are asked for.
//
// As an http.Handler it is the pull side of a registry
// (OCI distribution specification 1.1, §4.1 and §4.4) without referrers.
type Workload struct {
	opts      WorkloadOptions
	images    []workloadImage
	model     content
	modelSum  string
	blobs     map[digest.Digest]content
	manifests map[string]map[string]artifact // repository → tag or digest
}

// workloadImage is one image in outline: which layers it has, before any digest
// is known.
type workloadImage struct {
	name      string
	platforms []workloadPlatform
}

type workloadPlatform struct {
	arch   string
	layers []*workloadLayer
	update *workloadLayer // the top layer in tag v2; nil: the same
}

// layersAt returns the layers in a generation: 1 for tag v1, 2 for v2.
func (p workloadPlatform) layersAt(generation int) []*workloadLayer {
	if generation == 1 || p.update == nil {
		return p.layers
	}
	layers := slices.Clone(p.layers)
	layers[len(layers)-1] = p.update
	return layers
}

// workloadLayer is one layer: a tar archive with size bytes of the stream id.
type workloadLayer struct {
	id   string
	size int64
	sums blobSums
}

// newWorkload lays the content out and finds its digests: by generating it all
// once, unless the file opts.Digests knows them.
func newWorkload(opts WorkloadOptions) (*Workload, error) {
	opts = opts.withDefaults()
	w := &Workload{opts: opts, images: outlineImages(opts), blobs: map[digest.Digest]content{}, manifests: map[string]map[string]artifact{}}
	table, err := openSumTable(opts.Digests)
	if err != nil {
		return nil, err
	}
	if err := w.measureBlobs(table); err != nil {
		return nil, err
	}
	for _, image := range w.images {
		w.publishImage(image)
	}
	return w, nil
}

// outlineImages decides on images and layers. It follows from the options alone.
func outlineImages(opts WorkloadOptions) []workloadImage {
	random := rand.New(rand.NewPCG(opts.Seed, 0))
	bases := newBases(random)
	images := make([]workloadImage, opts.Images)
	for i := range images {
		image := workloadImage{name: fmt.Sprintf("img%02d", i)}
		arches := []string{"amd64"}
		if i%5 == 0 {
			arches = append(arches, "arm64")
		}
		stack := random.IntN(len(bases))
		if i < len(bases) {
			stack = i
		}
		for _, arch := range arches {
			layers := append([]*workloadLayer(nil), bases[stack].stackOf(arch)...)
			layers = append(layers, ownLayers(random, image.name+"/"+arch)...)
			image.platforms = append(image.platforms, workloadPlatform{arch: arch, layers: layers})
		}
		images[i] = image
	}
	scaleLayers(images, opts.ImageBytes)
	for i := 2; i < len(images); i += 5 {
		images[i].addGeneration()
	}
	return images
}

// addGeneration gives the image a second generation, whose top layer differs.
func (i *workloadImage) addGeneration() {
	for n := range i.platforms {
		p := &i.platforms[n]
		top := p.layers[len(p.layers)-1]
		p.update = &workloadLayer{id: top.id + "/v2", size: top.size}
	}
}

// base is a stack of layers that many images start with, for each architecture.
type base struct {
	name   string
	weight float64
	arches map[string][]*workloadLayer
	random *rand.Rand
}

func newBases(random *rand.Rand) []*base {
	bases := make([]*base, 6)
	for i, mib := range []float64{8, 100, 170, 210, 240, 260} {
		bases[i] = &base{fmt.Sprintf("base%d", i), mib, map[string][]*workloadLayer{}, random}
	}
	return bases
}

// stackOf returns the stack for an architecture, the same each time.
func (b *base) stackOf(arch string) []*workloadLayer {
	if b.arches[arch] == nil {
		for i, share := range []float64{0.6, 0.3, 0.1} {
			id := fmt.Sprintf("%s/%s/%d", b.name, arch, i)
			size := int64(b.weight * share * (0.9 + 0.2*b.random.Float64()) * (1 << 20))
			b.arches[arch] = append(b.arches[arch], &workloadLayer{id: id, size: size})
		}
	}
	return b.arches[arch]
}

// ownLayers returns the layers that only one image has: one large, some small.
func ownLayers(random *rand.Rand, id string) []*workloadLayer {
	layers := make([]*workloadLayer, 3+random.IntN(2))
	total := 6 * math.Exp(random.Float64()*math.Log(50)) // MiB, 6 to 300
	for i := range layers {
		share := 0.7
		if i > 0 {
			share = 0.3 / float64(len(layers)-1)
		}
		layers[i] = &workloadLayer{id: fmt.Sprintf("%s/%d", id, i), size: int64(total * share * (1 << 20))}
	}
	return layers
}

// scaleLayers makes the sizes of all layers add up to total, the last taking the rest.
func scaleLayers(images []workloadImage, total int64) {
	layers := uniqueLayers(images)
	var sum int64
	for _, l := range layers {
		sum += l.size
	}
	factor := float64(total) / float64(sum)
	left := total
	for _, l := range layers {
		l.size = max(1, int64(float64(l.size)*factor))
		left -= l.size
	}
	last := layers[len(layers)-1]
	last.size = max(1, last.size+left)
}

// uniqueLayers returns each layer once, in order of first use.
func uniqueLayers(images []workloadImage) []*workloadLayer {
	var layers []*workloadLayer
	seen := map[*workloadLayer]bool{}
	add := func(l *workloadLayer) {
		if l != nil && !seen[l] {
			seen[l] = true
			layers = append(layers, l)
		}
	}
	for _, image := range images {
		for _, p := range image.platforms {
			for _, l := range p.layers {
				add(l)
			}
			add(p.update)
		}
	}
	return layers
}

func (w *Workload) tarBlob(l *workloadLayer) *blob {
	return tarBlob("data/"+strings.ReplaceAll(l.id, "/", "-"), NewStream(w.opts.Seed, l.id), l.size)
}

func (w *Workload) layerContent(l *workloadLayer) (string, content) {
	if w.opts.Plain {
		return v1.MediaTypeImageLayer, w.tarBlob(l)
	}
	return v1.MediaTypeImageLayerGzip, gzipStored{inner: w.tarBlob(l), crc: l.sums.CRC}
}

// modelBlob returns the model's file: safetensors with one tensor.
func (w *Workload) modelBlob() *blob {
	tensors := []tensor{{"model.weight", max(1, w.opts.ModelBytes/2)}}
	return safetensorsBlob(NewStream(w.opts.Seed, "model"), tensors)
}

func (w *Workload) modelFiles() []hubFile {
	return []hubFile{
		newHubFile("config.json", []byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama"}`+"\n")),
		newHubFile("README.md", []byte("---\nlicense: apache-2.0\n---\n")),
		{path: "model.safetensors", content: w.model, sha256: w.modelSum, lfs: true},
	}
}

// publishImage makes the manifests of an image, tags v1 and v2.
func (w *Workload) publishImage(image workloadImage) {
	tags := map[string]artifact{}
	for generation := 1; generation <= 2; generation++ {
		a := w.assembleImage(image, generation)
		tags[fmt.Sprintf("v%d", generation)] = a
		for _, b := range append(a.children, a) {
			tags[b.descriptor.Digest.String()] = b
		}
	}
	w.manifests[WorkloadHost+"/"+image.name] = tags
}

// assembleImage returns the image, or the index over its platforms.
func (w *Workload) assembleImage(image workloadImage, generation int) artifact {
	var images []artifact
	for _, p := range image.platforms {
		images = append(images, w.platformImage(p.arch, p.layersAt(generation)))
	}
	if len(images) == 1 {
		return images[0]
	}
	return newIndex(images...)
}

func (w *Workload) platformImage(arch string, layers []*workloadLayer) artifact {
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	spec := imageSpec{arch: arch, entrypoint: "/data"}
	for _, l := range layers {
		mediaType, c := w.layerContent(l)
		d := v1.Descriptor{MediaType: mediaType, Digest: w.layerDigest(l), Size: c.Size()}
		w.blobs[d.Digest] = c
		m.Layers = append(m.Layers, d)
		spec.layers = append(spec.layers, layer{diffID: l.sums.Tar})
	}
	config := mustJSON(spec.imageConfig())
	m.Config = describeData(v1.MediaTypeImageConfig, config)
	w.blobs[m.Config.Digest] = bytes.NewReader(config)
	a := newArtifact(m.MediaType, "", m)
	a.descriptor.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return a
}

func (w *Workload) layerDigest(l *workloadLayer) digest.Digest {
	if w.opts.Plain {
		return l.sums.Tar
	}
	return l.sums.Gzip
}

// Images returns the references of the images, with tag v1 or v2.
func (w *Workload) Images(generation int) []string {
	var refs []string
	for _, image := range w.images {
		refs = append(refs, fmt.Sprintf("%s/%s:v%d", WorkloadHost, image.name, generation))
	}
	return refs
}

// StackYAML returns a stack of the images with tag v1 or v2, and the model.
func (w *Workload) StackYAML(generation int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata:\n  name: bench\n  version: %d.0.0\n", generation)
	b.WriteString("platforms: [linux/amd64, linux/arm64]\nkubernetes:\n  versions: [\"1.36\"]\ncomponents:\n  - name: bench\n    namespace: bench\n    images:\n")
	for _, ref := range w.Images(generation) {
		fmt.Fprintf(&b, "      - %s\n", ref)
	}
	fmt.Fprintf(&b, "    models:\n      - {name: big, source: \"hf://%s\", revision: main}\n", WorkloadModelID)
	return []byte(b.String())
}

// ServeHTTP implements http.Handler.
func (w *Workload) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		registryError(rw, http.StatusMethodNotAllowed, "UNSUPPORTED")
		return
	}
	rw.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	repository, rest := splitRepository(path)
	switch kind, name, _ := strings.Cut(rest, "/"); {
	case path == "":
		writeJSON(rw, http.StatusOK, map[string]any{})
	case w.manifests[repository] == nil:
		registryError(rw, http.StatusNotFound, "NAME_UNKNOWN")
	case kind == "manifests":
		w.serveManifest(rw, r, repository, name)
	case kind == "blobs":
		w.serveBlob(rw, r, digest.Digest(name))
	case rest == "tags/list":
		writeJSON(rw, http.StatusOK, map[string]any{"name": repository, "tags": []string{"v1", "v2"}})
	default:
		registryError(rw, http.StatusNotFound, "UNSUPPORTED")
	}
}

// splitRepository splits "host/name/kind/rest" behind the name.
func splitRepository(path string) (repository, rest string) {
	for _, kind := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if i := strings.LastIndex(path, kind); i >= 0 {
			return path[:i], path[i+1:]
		}
	}
	return path, ""
}

func registryError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]any{"errors": []any{map[string]string{"code": code, "message": strings.ToLower(code)}}})
}

func (w *Workload) serveManifest(rw http.ResponseWriter, r *http.Request, repository, reference string) {
	a, ok := w.manifests[repository][reference]
	if !ok {
		registryError(rw, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	rw.Header().Set("Content-Type", a.descriptor.MediaType)
	rw.Header().Set("Docker-Content-Digest", a.descriptor.Digest.String())
	serveContent(rw, r, bytes.NewReader(a.raw), a.descriptor.Digest.String())
}

func (w *Workload) serveBlob(rw http.ResponseWriter, r *http.Request, d digest.Digest) {
	c, ok := w.blobs[d]
	if !ok {
		registryError(rw, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	rw.Header().Set("Docker-Content-Digest", d.String())
	serveContent(rw, r, c, d.String())
}
