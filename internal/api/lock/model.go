package lock

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/bytesize"
)

// Model is a model: of a hub, wrapped by us, or verbatim from a registry.
const Model Kind = "model"

var modelKind = KindInfo{
	Kind: Model, Plural: "models", Title: "models", Purpose: "FILE",
	Listed: true, forms: []string{verbatimForm.Field, modelForm.Field},
}

// HubHost is the host of the hub, and of the references of its models in a lock.
const HubHost = "huggingface.co"

var modelForm = Form{Field: "hubModel", Content: (*HubModel)(nil)}

// HubModel is a model of a Hugging Face compatible hub at one commit.
type HubModel struct {
	Repository string       `yaml:"repository"`     // as the hub spells it
	Revision   string       `yaml:"revision"`       // what the stack asked for
	Commit     string       `yaml:"commit"`         // 40 hex digits
	Name       string       `yaml:"name,omitempty"` // what the stack calls it; older locks do not say
	License    string       `yaml:"license,omitempty"`
	Terms      *ModelTerms  `yaml:"terms,omitempty"`     // beside the licence's name, where there is more to say
	Serve      string       `yaml:"serve,omitempty"`     // what it was checked to serve: chat, completion, embed; none: it is not served
	Weights    ModelWeights `yaml:"weights,omitempty"`   // what its files say of its weights
	ModelPack  bool         `yaml:"modelPack,omitempty"` // has a second manifest, see PackRef
	Platform   string       `yaml:"platform,omitempty"`  // named in its image config; empty means linux/amd64
	Allow      []ModelAllow `yaml:"allow,omitempty"`     // files with code that the stack accepts, sorted by file
	LeftOut    []LeftOut    `yaml:"leftOut,omitempty"`   // of the repository, sorted by reason
	Extras     []ModelExtra `yaml:"extras,omitempty"`    // other models among its files, sorted by path
	Files      []ModelFile  `yaml:"files"`               // sorted by path
	Layers     []ModelLayer `yaml:"layers"`              // see ModelLayers
}

// What a model may be asked for.
const (
	ServeChat       = "chat"
	ServeCompletion = "completion"
	ServeEmbed      = "embed"
	ServeNone       = "none"
)

// IsServed says whether the stack says that the model is served.
func (m *HubModel) IsServed() bool { return m.Serve != "" && m.Serve != ServeNone }

// ModelTerms is under what terms a model is given, as its card says.
type ModelTerms struct {
	Name  string `yaml:"name,omitempty"`  // of a licence that the hub has no word for
	Link  string `yaml:"link,omitempty"`  // to its text
	Gated string `yaml:"gated,omitempty"` // auto or manual: who asks must be let in first, and how
}

// ModelWeights is what the headers of a model's weights and its config.json say.
// What they do not say is empty or 0.
type ModelWeights struct {
	Parameters      int64  `yaml:"parameters,omitempty"`
	WeightsBytes    int64  `yaml:"weightsBytes,omitempty"` // that a server loads
	DType           string `yaml:"dtype,omitempty"`        // of most of these bytes, as safetensors call it: BF16
	Quantization    string `yaml:"quantization,omitempty"` // method: gptq, awq, fp8
	Architecture    string `yaml:"architecture,omitempty"` // class: LlamaForCausalLM
	MaxContext      int64  `yaml:"maxContext,omitempty"`   // tokens
	KVBytesPerToken int64  `yaml:"kvBytesPerToken,omitempty"`
	AttentionHeads  int64  `yaml:"attentionHeads,omitempty"`
	KeyValueHeads   int64  `yaml:"keyValueHeads,omitempty"` // of those, the ones that keep keys and values
}

// ModelAllow is a file that may run code, or contradicts others, and why it is
// accepted.
type ModelAllow struct {
	File   string `yaml:"file"`
	Reason string `yaml:"reason"`
}

// LeftOut are files of a repository that are not carried, for one reason.
type LeftOut struct {
	Why   string   `yaml:"why"`
	Count int      `yaml:"count"`
	Bytes int64    `yaml:"bytes"`
	Files []string `yaml:"files"` // the first of them, sorted, at most 100
}

// String is a phrase: 2 files, 3.1 GiB, because they repeat the weights.
func (l LeftOut) String() string {
	files := fmt.Sprintf("%d files", l.Count)
	if l.Count == 1 {
		files = "1 file"
	}
	return files + ", " + bytesize.Text(l.Bytes) + ", because " + l.Why
}

// ModelFile is one file of a model repository. SHA256 is always known: from the
// hub for LFS files, computed by resolve (which reads them) for the rest.
type ModelFile struct {
	Path    string        `yaml:"path"`
	Size    int64         `yaml:"size"`
	SHA256  digest.Digest `yaml:"sha256"`
	GitSHA1 string        `yaml:"gitSHA1,omitempty"` // non-LFS files
	LFS     bool          `yaml:"lfs,omitempty"`
	URL     string        `yaml:"url,omitempty"`  // where it comes from, if not from the repository
	Head    *ModelHead    `yaml:"head,omitempty"` // what of it resolve looked into
}

// ModelHead is the beginning of a large file. Resolve judged the model by it
// without the rest, so packing holds the file against it too.
type ModelHead struct {
	Size   int64         `yaml:"size"`
	SHA256 digest.Digest `yaml:"sha256"`
}

// ModelLayer is one uncompressed tar layer holding Files (paths, sorted). Digest
// is empty ("pending") while it depends on bytes that resolve has not read.
type ModelLayer struct {
	Digest digest.Digest `yaml:"digest,omitempty"`
	Size   int64         `yaml:"size"`
	Files  []string      `yaml:"files"`
}

const (
	smallModelFile = 1 << 20 // up to here files share a layer
	maxModelLayers = 100
	tarEnd         = 2 * tarBlock // zero bytes at the end of each layer
	headerRule     = "v1"
)

// ModelLayers lays files out as tar layers: files of at most 1 MiB share the
// first, each larger one has its own, in the order of their paths. Where that
// makes more than 100 layers, neighbours among the large files share one. The
// layers' digests are empty.
func ModelLayers(files []ModelFile) []ModelLayer {
	small, large := splitBySize(files)
	room := maxModelLayers
	var layers []ModelLayer
	if len(small) > 0 {
		layers = append(layers, makeModelLayer(small))
		room--
	}
	for n := min(room, len(large)); n > 0; n-- {
		take := (len(large) + n - 1) / n
		layers = append(layers, makeModelLayer(large[:take]))
		large = large[take:]
	}
	return layers
}

func splitBySize(files []ModelFile) (small, large []ModelFile) {
	sorted := append([]ModelFile(nil), files...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Path < sorted[j].Path })
	for _, f := range sorted {
		if f.Size <= smallModelFile {
			small = append(small, f)
		} else {
			large = append(large, f)
		}
	}
	return small, large
}

func makeModelLayer(files []ModelFile) ModelLayer {
	l := ModelLayer{Size: tarEnd}
	for _, f := range files {
		l.Size += tarBlock + f.Size + tarPadding(f.Size)
		l.Files = append(l.Files, f.Path)
	}
	return l
}

// File finds a file of the model by its path.
func (m *HubModel) File(path string) (ModelFile, bool) {
	i := sort.Search(len(m.Files), func(i int) bool { return m.Files[i].Path >= path })
	if i < len(m.Files) && m.Files[i].Path == path {
		return m.Files[i], true
	}
	return ModelFile{}, false
}

// Locate says in which layer, and how many bytes into it, the content of the
// file at path begins.
func (m *HubModel) Locate(path string) (layer int, offset int64, ok bool) {
	for i, l := range m.Layers {
		var at int64
		for _, name := range l.Files {
			f, known := m.File(name)
			if !known {
				return 0, 0, false
			}
			if name == path {
				return i, at + tarBlock, true
			}
			at += tarBlock + f.Size + tarPadding(f.Size)
		}
	}
	return 0, 0, false
}

// Key names the layer's content before its digest is known: equal keys mean
// equal bytes. It covers the header rule and each file's path, size and SHA-256.
func (m *HubModel) Key(layer int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", headerRule)
	for _, name := range m.Layers[layer].Files {
		f, _ := m.File(name)
		fmt.Fprintf(h, "%s\x00%d\x00%s\n", f.Path, f.Size, f.SHA256)
	}
	return "pending:" + hex.EncodeToString(h.Sum(nil))
}

// LayerDigest streams a layer and returns its digest. Open returns the content
// of one file, which LayerDigest closes; a file that is not exactly Size bytes
// long is an error.
func (m *HubModel) LayerDigest(layer int, open func(ModelFile) (io.ReadCloser, error)) (digest.Digest, error) {
	parts, err := m.layerParts(layer)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, p := range parts {
		if err := p.copyTo(h, open); err != nil {
			return "", err
		}
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

func (p Part) copyTo(w io.Writer, open func(ModelFile) (io.ReadCloser, error)) error {
	if p.File == nil {
		_, err := w.Write(p.Literal)
		return err
	}
	r, err := open(*p.File)
	if err != nil {
		return fmt.Errorf("opening %s: %w", p.File.Path, err)
	}
	defer r.Close()
	n, err := io.Copy(w, io.LimitReader(r, p.Size+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", p.File.Path, err)
	}
	if n != p.Size {
		return fmt.Errorf("reading %s: it has another length than %d bytes", p.File.Path, p.Size)
	}
	return nil
}

// layerParts lists what a layer is made of, in order.
func (m *HubModel) layerParts(layer int) ([]Part, error) {
	var parts []Part
	for _, name := range m.Layers[layer].Files {
		f, ok := m.File(name)
		if !ok {
			return nil, fmt.Errorf("laying out model %s: layer %d names %q, which is not a file of it", m.Repository, layer, name)
		}
		header, err := TarHeader(f.Path, f.Size)
		if err != nil {
			return nil, err
		}
		parts = append(parts, literalPart(header), Part{File: &f, Size: f.Size})
		if n := tarPadding(f.Size); n > 0 {
			parts = append(parts, literalPart(make([]byte, n)))
		}
	}
	return append(parts, literalPart(make([]byte, tarEnd))), nil
}

func literalPart(b []byte) Part { return Part{Literal: b, Size: int64(len(b))} }

func (m *HubModel) normalize() {
	sort.Slice(m.Files, func(i, j int) bool { return m.Files[i].Path < m.Files[j].Path })
	sort.Slice(m.Allow, func(i, j int) bool { return m.Allow[i].File < m.Allow[j].File })
	slices.SortFunc(m.Extras, ModelExtra.compare)
	sort.Slice(m.LeftOut, func(i, j int) bool { return m.LeftOut[i].Why < m.LeftOut[j].Why })
	if m.Layers == nil {
		m.Layers = ModelLayers(m.Files)
	}
}

func (m *HubModel) clone() Content {
	c := *m
	c.Files, c.Layers = slices.Clone(m.Files), slices.Clone(m.Layers)
	c.Allow, c.LeftOut, c.Extras = slices.Clone(m.Allow), slices.Clone(m.LeftOut), slices.Clone(m.Extras)
	return &c
}

// settleLayers pins a pending layer whose content another layer pins.
func (l *Lock) settleLayers() {
	known := map[string]digest.Digest{}
	l.eachLayer(func(_ string, key string, layer *ModelLayer) {
		if layer.Digest != "" {
			known[key] = layer.Digest
		}
	})
	l.eachLayer(func(_ string, key string, layer *ModelLayer) {
		if layer.Digest == "" {
			layer.Digest = known[key]
		}
	})
}

// eachLayer visits the layers of every model with the field that each stands in.
func (l *Lock) eachLayer(do func(at, key string, layer *ModelLayer)) {
	for i := range l.Items {
		m, ok := As[*HubModel](&l.Items[i])
		if !ok || len(m.Layers) > maxModelLayers {
			continue
		}
		for j := range m.Layers {
			do(fmt.Sprintf("items[%d].%s.layers[%d]", i, modelForm.Field, j), m.Key(j), &m.Layers[j])
		}
	}
}

func (m *HubModel) heads(*Item) []HeadBlob { return nil }

func (m *HubModel) slots(*Item) []Slot {
	src := Source{Kind: FromHub, Repository: m.Repository, Commit: m.Commit}
	var out []Slot
	for i, l := range m.Layers {
		parts, err := m.layerParts(i)
		if err != nil {
			continue // not in a valid lock
		}
		key := string(l.Digest)
		if key == "" {
			key = m.Key(i)
		}
		out = append(out, Slot{
			Key: key, Blob: Blob{l.Digest, ocispec.MediaTypeImageLayer, l.Size},
			Parts: parts, Sources: []Source{src},
		})
	}
	return out
}

// isPending says whether the digest of a layer is not known yet.
func (m *HubModel) isPending() bool {
	return slices.ContainsFunc(m.Layers, func(l ModelLayer) bool { return l.Digest == "" })
}

// sameAs compares the layers by their files.
func (m *HubModel) sameAs(other Content) bool {
	o, ok := other.(*HubModel)
	if !ok || len(m.Layers) != len(o.Layers) {
		return false
	}
	for i := range m.Layers {
		if m.Key(i) != o.Key(i) {
			return false
		}
	}
	return true
}

func (m *HubModel) wrap(layer func(key string) digest.Digest) (manifest, config []byte, err error) {
	image := ocispec.Image{Platform: m.platform(), RootFS: ocispec.RootFS{Type: "layers"}}
	var layers []ocispec.Descriptor
	for i, l := range m.Layers {
		dg, err := m.layerDigest(i, layer)
		if err != nil {
			return nil, nil, err
		}
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, dg)
		layers = append(layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: dg, Size: l.Size})
	}
	c, err := json.Marshal(image)
	if err != nil {
		return nil, nil, fmt.Errorf("wrapping model %s: %w", m.Repository, err)
	}
	return assembleManifest(ocispec.Manifest{Layers: layers}, ocispec.MediaTypeImageConfig, c)
}

// layerDigest is the digest of a layer: the lock's, or what layer gives for its key.
func (m *HubModel) layerDigest(i int, layer func(key string) digest.Digest) (digest.Digest, error) {
	dg := m.Layers[i].Digest
	if dg == "" && layer != nil {
		dg = layer(m.Key(i))
	}
	if dg == "" {
		return "", fmt.Errorf("wrapping model %s: the digest of layer %d is not known", m.Repository, i)
	}
	return dg, nil
}

func (m *HubModel) platform() ocispec.Platform {
	p := m.Platform
	if p == "" {
		p = "linux/amd64"
	}
	parts := append(strings.SplitN(p, "/", 3), "", "")
	return ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}

func (m *HubModel) artifactType() string { return "" }

func (m *HubModel) annotations() map[string]string {
	return map[string]string{AnnotationRepository: m.Repository}
}

func (m *HubModel) describe(_ *Item, d *Description) {
	d.Version, d.Licenses = m.Commit, m.licenses()
	d.PURL = "pkg:huggingface/" + escapeEach(m.Repository) + "@" + m.Commit
	d.Notes = m.notes()
	for _, f := range m.Files {
		d.Files = append(d.Files, NamedDigest{f.Path, f.SHA256, m.licenseOf(f)})
	}
}

// notes say under what terms the model is given, what its weights take, and what
// of it was accepted or left out.
func (m *HubModel) notes() []string {
	var out []string
	out = append(out, m.Terms.notes()...)
	if w := m.Weights; w.WeightsBytes > 0 {
		said := fmt.Sprintf("weights: %s of %s", bytesize.Text(w.WeightsBytes), w.DType)
		if size := packSize(w.Parameters); size != "" {
			said += ", " + size + " parameters"
		}
		if w.KVBytesPerToken > 0 && w.MaxContext > 0 {
			said += fmt.Sprintf(", and %s for each of at most %d tokens", bytesize.Text(w.KVBytesPerToken), w.MaxContext)
		}
		out = append(out, said)
	}
	for _, a := range m.Allow {
		out = append(out, "allowed: "+a.File+": "+a.Reason)
	}
	for _, l := range m.LeftOut {
		out = append(out, "left out: "+l.String())
	}
	for _, e := range m.Extras {
		out = append(out, e.notes()...)
	}
	return out
}

// LicenseName is how the licence is called.
func (m *HubModel) LicenseName() string { return m.Terms.licenseName(m.License) }

func escapeEach(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

func (m *HubModel) facts() []Fact {
	var out []Fact
	for _, f := range m.Files {
		out = append(out, Fact{"model file " + f.Path, m.ruleOf(f), Blob{Digest: f.SHA256, Size: f.Size}})
		if f.Head != nil {
			rule := "sha256 of what resolve read and judged the model by"
			out = append(out, Fact{"the beginning of model file " + f.Path, rule, Blob{Digest: f.Head.SHA256, Size: f.Head.Size}})
		}
	}
	return out
}

func (m *HubModel) ruleOf(f ModelFile) string {
	switch {
	case f.URL != "":
		return "sha256 stated by the stack or by the hub, for " + f.URL
	case f.LFS:
		return "sha256 stated by the hub at commit " + m.Commit
	}
	return "sha256 of the content whose git blob id " + f.GitSHA1 + " the hub stated at commit " + m.Commit
}

func (m *HubModel) check(c *checker, at string) {
	c.checkHubCommit(at, m.Repository, m.Revision, m.Commit)
	c.checkText(at+".license", m.License, false)
	m.checkDescription(c, at)
	if m.Platform != "" && !platformRule.MatchString(m.Platform) {
		c.problem(at+".platform", "%q is not os/arch or os/arch/variant", m.Platform)
	}
	if len(m.Files) == 0 || len(m.Files) > maxModelFiles {
		c.problem(at+".files", "has %d entries; a model has 1 to %d files", len(m.Files), maxModelFiles)
		return
	}
	paths := make([]string, len(m.Files))
	for i := range m.Files {
		m.checkFile(c, fmt.Sprintf("%s.files[%d]", at, i), i)
		paths[i] = m.Files[i].Path
	}
	if folder := FileAsFolder(paths); folder != "" {
		c.problem(at+".files", "%q is a file and the folder of another", folder)
	}
	m.checkLayers(c, at+".layers")
}

// checkHubCommit checks what names one commit of a repository of the hub.
func (c *checker) checkHubCommit(at, repository, revision, commit string) {
	if !hubRule.MatchString(repository) {
		c.problem(at+".repository", "%q is not OWNER/NAME", repository)
	}
	c.checkText(at+".revision", revision, true)
	if !commitRule.MatchString(commit) {
		c.problem(at+".commit", "%q is not 40 hex digits", commit)
	}
}

// checkDescription checks what is said of the model beside its files.
func (m *HubModel) checkDescription(c *checker, at string) {
	m.Terms.check(c, at+".terms")
	m.checkExtras(c, at+".extras")
	c.checkText(at+".name", m.Name, false)
	c.checkText(at+".serve", m.Serve, false)
	w := m.Weights
	for _, text := range []string{w.DType, w.Quantization, w.Architecture} {
		c.checkText(at+".weights", text, false)
	}
	for _, n := range []int64{w.Parameters, w.WeightsBytes, w.MaxContext, w.KVBytesPerToken, w.AttentionHeads, w.KeyValueHeads} {
		c.checkSize(at+".weights", n)
	}
	if len(m.Allow) > maxModelFiles || len(m.LeftOut) > maxLeftOut {
		c.problem(at+".allow", "has more than %d entries, or leftOut more than %d", maxModelFiles, maxLeftOut)
		return
	}
	for i, a := range m.Allow {
		c.checkPath(fmt.Sprintf("%s.allow[%d].file", at, i), a.File)
		c.checkText(fmt.Sprintf("%s.allow[%d].reason", at, i), a.Reason, true)
		if i > 0 && m.Allow[i-1].File >= a.File {
			c.problem(fmt.Sprintf("%s.allow[%d].file", at, i), "is out of order or repeated")
		}
	}
	for i, l := range m.LeftOut {
		l.check(c, fmt.Sprintf("%s.leftOut[%d]", at, i))
	}
}

// Bounds of what is said of files that are not carried.
const (
	maxLeftOut      = 100
	MaxLeftOutFiles = 100
)

func (l LeftOut) check(c *checker, at string) {
	c.checkText(at+".why", l.Why, true)
	c.checkSize(at+".bytes", l.Bytes)
	if len(l.Files) > MaxLeftOutFiles || l.Count < len(l.Files) {
		c.problem(at+".files", "has %d entries; at most %d of the %d counted are listed", len(l.Files), MaxLeftOutFiles, l.Count)
	}
	for i, f := range l.Files {
		c.checkPath(fmt.Sprintf("%s.files[%d]", at, i), f)
	}
}

func (m *HubModel) checkFile(c *checker, at string, i int) {
	f := &m.Files[i]
	c.checkPath(at+".path", f.Path)
	if f.URL != "" {
		c.checkURL(at+".url", f.URL)
	}
	if h := f.Head; h != nil {
		c.checkDigest(at+".head.sha256", h.SHA256)
		if h.Size < 1 || h.Size > f.Size {
			c.problem(at+".head.size", "is %d, want 1 to %d", h.Size, f.Size)
		}
	}
	if i > 0 && m.Files[i-1].Path >= f.Path {
		c.problem(at+".path", "is out of order or repeated")
	}
	c.checkDigest(at+".sha256", f.SHA256)
	c.checkSize(at+".size", f.Size)
	if f.GitSHA1 != "" && !commitRule.MatchString(f.GitSHA1) {
		c.problem(at+".gitSHA1", "%q is not 40 hex digits", f.GitSHA1)
	}
	if _, _, err := splitTarName(modelDirectory + f.Path); err != nil {
		c.problem(at+".path", "is too long for a tar header")
	}
}

// checkLayers requires the one layout that ModelLayers gives.
func (m *HubModel) checkLayers(c *checker, at string) {
	want := ModelLayers(m.Files)
	if len(m.Layers) != len(want) {
		c.problem(at, "has %d entries; the model's files make %d layers", len(m.Layers), len(want))
		return
	}
	for i, l := range m.Layers {
		p := fmt.Sprintf("%s[%d]", at, i)
		if l.Size != want[i].Size || !slices.Equal(l.Files, want[i].Files) {
			c.problem(p, "is not the layout that the model's files give")
			return
		}
		if l.Digest == "" {
			c.addSize(p, l.Size)
			continue
		}
		c.checkBlob(p, l.Digest, l.Size)
		key := m.Key(i)
		if other, ok := c.layers[key]; ok && other != l.Digest {
			c.problem(p+".digest", "differs from %s, which another item gives for the same content", other)
		}
		c.layers[key] = l.Digest
	}
}

// pendingTwins refuses a pending layer whose digest another item knows.
func (c *checker) pendingTwins() {
	c.l.eachLayer(func(at, key string, layer *ModelLayer) {
		if dg, ok := c.layers[key]; ok && layer.Digest == "" {
			c.problem(at, "is pending although another item pins it as %s", dg)
		}
	})
}
