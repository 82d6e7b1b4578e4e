package lock

import (
	"encoding/json"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
)

// A container runtime mounts a model as an image: it unpacks layers by the media
// types of images. Readers of ModelPack (the CNCF's model-spec, v0.0.7) want
// types of their own for manifest, config and layers. No manifest is both, so a
// model has two over the same layers: nothing is carried twice.
const (
	ArtifactTypeModelPack    = "application/vnd.cncf.model.manifest.v1+json"
	MediaTypeModelPackConfig = "application/vnd.cncf.model.config.v1+json"

	packWeights = "application/vnd.cncf.model.weight.v1.tar"
	packConfig  = "application/vnd.cncf.model.weight.config.v1.tar"
	packDoc     = "application/vnd.cncf.model.doc.v1.tar"
	packCode    = "application/vnd.cncf.model.code.v1.tar"

	annotationPackPath = "org.cncf.model.filepath"
	packTagEnd         = "-modelpack"
)

// PackRef is the reference of an item's ModelPack manifest: its own with another
// tag. It is empty for what has none.
func (it *Item) PackRef() imageref.Ref {
	if m, ok := As[*HubModel](it); ok && m.ModelPack {
		return it.Ref + packTagEnd
	}
	return ""
}

// WrapPack makes the ModelPack manifest and config of a model, as Wrap makes those
// of its image.
func (it *Item) WrapPack(layer func(key string) digest.Digest) (manifest, config []byte, err error) {
	m, ok := As[*HubModel](it)
	if !ok || !m.ModelPack {
		return nil, nil, fmt.Errorf("wrapping %s as a ModelPack: it is none", it.Ref)
	}
	return m.wrapPack(layer)
}

// packDocument is a ModelPack config, as far as a lock can fill it.
type packDocument struct {
	Descriptor packDescriptor `json:"descriptor"`
	ModelFS    packFS         `json:"modelfs"`
	Config     packTraits     `json:"config"`
}

type packDescriptor struct {
	Family    string   `json:"family,omitempty"`
	Name      string   `json:"name"`
	SourceURL string   `json:"sourceURL"`
	Revision  string   `json:"revision"`
	Vendor    string   `json:"vendor"`
	Licenses  []string `json:"licenses,omitempty"`
	Title     string   `json:"title"`
}

type packFS struct {
	Type    string          `json:"type"`
	DiffIDs []digest.Digest `json:"diffIds"`
}

type packTraits struct {
	Architecture string `json:"architecture,omitempty"`
	Format       string `json:"format,omitempty"`
	ParamSize    string `json:"paramSize,omitempty"`
	Precision    string `json:"precision,omitempty"`
	Quantization string `json:"quantization,omitempty"`
}

func (m *HubModel) wrapPack(layer func(key string) digest.Digest) (manifest, config []byte, err error) {
	doc := m.describePack()
	var layers []ocispec.Descriptor
	for i, l := range m.Layers {
		dg, err := m.layerDigest(i, layer)
		if err != nil {
			return nil, nil, err
		}
		doc.ModelFS.DiffIDs = append(doc.ModelFS.DiffIDs, dg)
		layers = append(layers, ocispec.Descriptor{
			MediaType: packLayerType(l.Files), Digest: dg, Size: l.Size,
			Annotations: map[string]string{annotationPackPath: packLayerPath(l.Files)},
		})
	}
	c, err := json.Marshal(doc)
	if err != nil {
		return nil, nil, fmt.Errorf("wrapping model %s: %w", m.Repository, err)
	}
	return assembleManifest(ocispec.Manifest{ArtifactType: ArtifactTypeModelPack, Layers: layers}, MediaTypeModelPackConfig, c)
}

func (m *HubModel) describePack() packDocument {
	vendor, name, _ := strings.Cut(m.Repository, "/")
	doc := packDocument{
		Descriptor: packDescriptor{
			Name: name, Vendor: vendor, Title: m.Repository, Revision: m.Commit,
			SourceURL: "https://huggingface.co/" + m.Repository,
		},
		ModelFS: packFS{Type: "layers"},
		Config: packTraits{
			Format: m.packFormat(), ParamSize: packSize(m.Weights.Parameters),
			Precision: packPrecisions[m.Weights.DType], Quantization: m.Weights.Quantization,
		},
	}
	for _, license := range m.licenses() {
		if license != "" {
			doc.Descriptor.Licenses = append(doc.Descriptor.Licenses, license)
		}
	}
	if m.Weights.KVBytesPerToken > 0 {
		doc.Config.Architecture = "transformer"
	}
	return doc
}

// packFormat is the format of the weights that a server loads.
func (m *HubModel) packFormat() string {
	for _, format := range []string{"safetensors", "gguf", "onnx"} {
		isOne := func(f ModelFile) bool { return strings.HasSuffix(f.Path, "."+format) }
		if slices.ContainsFunc(m.Files, isOne) {
			return format
		}
	}
	return ""
}

// packSize writes a number of parameters as ModelPack does: 8b, 1.5b, 135m.
func packSize(parameters int64) string {
	for _, unit := range []struct {
		size   float64
		letter string
	}{{1e15, "q"}, {1e12, "t"}, {1e9, "b"}, {1e6, "m"}, {1e3, "k"}} {
		if n := math.Round(float64(parameters)/unit.size*10) / 10; n >= 1 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0") + unit.letter
		}
	}
	return ""
}

// packPrecisions are ModelPack's words for the types of safetensors.
var packPrecisions = map[string]string{
	"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
	"F8_E4M3": "float8_e4m3", "F8_E5M2": "float8_e5m2", "BOOL": "bool",
	"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
	"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}

// packLayerType is the type of a layer: of its one file, or of the small files
// that share one, which are configuration unless there are weights among them.
func packLayerType(files []string) string {
	switch {
	case slices.ContainsFunc(files, isWeightFile):
		return packWeights
	case len(files) > 1:
		return packConfig
	}
	return packFileType(files[0])
}

func isWeightFile(file string) bool {
	switch strings.ToLower(path.Ext(file)) {
	case ".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".h5", ".keras", ".msgpack", ".ckpt":
		return true
	}
	return false
}

// packFileType is the type of a file that is not of the usual formats of weights.
func packFileType(file string) string {
	switch strings.ToLower(path.Ext(file)) {
	case ".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg":
		return packDoc
	case ".py", ".ipynb", ".sh":
		return packCode
	}
	return packConfig
}

// packLayerPath is what a layer unpacks to: its file, or the folder of several.
func packLayerPath(files []string) string {
	if len(files) == 1 {
		return modelDirectory + files[0]
	}
	return strings.TrimSuffix(modelDirectory, "/")
}
