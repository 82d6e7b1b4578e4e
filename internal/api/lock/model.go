package lock

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sort"

	"github.com/opencontainers/go-digest"
)

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
	parts, err := m.parts(layer)
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

// parts lists what a layer is made of, in order.
func (m *HubModel) parts(layer int) ([]Part, error) {
	var parts []Part
	for _, name := range m.Layers[layer].Files {
		f, ok := m.File(name)
		if !ok {
			return nil, fmt.Errorf("laying out model %s: layer %d names %q, which is no file of it", m.Repository, layer, name)
		}
		header, err := TarHeader(f.Path, f.Size)
		if err != nil {
			return nil, err
		}
		parts = append(parts, literal(header), Part{File: &f, Size: f.Size})
		if n := tarPadding(f.Size); n > 0 {
			parts = append(parts, literal(make([]byte, n)))
		}
	}
	return append(parts, literal(make([]byte, tarEnd))), nil
}

func literal(b []byte) Part { return Part{Literal: b, Size: int64(len(b))} }
