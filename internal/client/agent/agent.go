// Package agent is caisson itself as a container image: one layer that holds the
// given binary as /caisson, made the same way every time.
//
// Nodes run it for what needs a process on them. It reads the binary and writes
// nothing.
package agent

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

// Path is where the binary is in the image.
const Path = "/caisson"

// maxBinary bounds the binary.
const maxBinary = 1 << 30

// ErrNotStatic: the binary needs something that the image does not hold.
var ErrNotStatic = errors.New("it is not a static Linux binary")

// Image is one build. Equal binaries give equal images.
type Image struct {
	Platform string // linux/amd64
	Manifest []byte
	Config   []byte
	Layer    ocispec.Descriptor // tar, not compressed

	binary string
	size   int64 // of the binary
}

// Build describes the image of a binary, which must be a static ELF for Linux.
// An empty path is the running binary. Errors wrap ErrNotStatic.
func Build(path string) (*Image, error) {
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding the running binary: %w", err)
		}
	}
	arch, err := architecture(path)
	if err != nil {
		return nil, fmt.Errorf("making an image of the binary: %w", err)
	}
	im := &Image{Platform: "linux/" + arch, binary: path}
	if err := im.describe(arch); err != nil {
		return nil, fmt.Errorf("making an image of the binary: %w", err)
	}
	return im, nil
}

// architecture reads the binary's head.
func architecture(path string) (string, error) {
	f, err := elf.Open(path)
	var missing *fs.PathError
	if errors.As(err, &missing) {
		return "", err
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotStatic, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%w: it asks for a dynamic loader", ErrNotStatic)
		}
	}
	known := map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_S390: "s390x", elf.EM_RISCV: "riscv64"}
	if f.Machine == elf.EM_PPC64 && f.ByteOrder == binary.LittleEndian {
		return "ppc64le", nil
	}
	if arch, ok := known[f.Machine]; ok {
		return arch, nil
	}
	return "", fmt.Errorf("%w: it is for %s", ErrNotStatic, f.Machine)
}

func (im *Image) describe(arch string) error {
	info, err := os.Stat(im.binary)
	if err != nil {
		return err
	}
	if im.size = info.Size(); !info.Mode().IsRegular() || im.size > maxBinary {
		return fmt.Errorf("it is not a plain file of at most %d bytes", maxBinary)
	}
	sum := digest.SHA256.Digester()
	count := &counter{w: sum.Hash()}
	if err := im.WriteLayer(count); err != nil {
		return err
	}
	im.Layer = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: sum.Digest(), Size: count.n}
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		Config:   ocispec.ImageConfig{User: "65532:65532", Entrypoint: []string{Path}, WorkingDir: "/"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{im.Layer.Digest}},
	}
	if im.Config, err = json.Marshal(config); err != nil {
		return err
	}
	im.Manifest, err = json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(im.Config), Size: int64(len(im.Config))},
		Layers: []ocispec.Descriptor{im.Layer},
	})
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.w.Write(p)
}

// WriteLayer writes the layer: a ustar archive of the one binary, mode 0755,
// owned by root, of no date. A binary that changed its length since Build is an
// error.
func (im *Image) WriteLayer(w io.Writer) error {
	f, err := os.Open(im.binary)
	if err != nil {
		return err
	}
	defer f.Close()
	var head bytes.Buffer
	t := tar.NewWriter(&head)
	if err := t.WriteHeader(&tar.Header{Name: strings.TrimPrefix(Path, "/"), Mode: 0o755, Size: im.size, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(f, im.size+1))
	if err != nil {
		return err
	}
	if n != im.size {
		return fmt.Errorf("reading %s: it changed while being read", im.binary)
	}
	const block, end = 512, 1024
	_, err = w.Write(make([]byte, -im.size&(block-1)+end))
	return err
}

// Item is the image as an item of a lock. It belongs to no component.
func (im *Image) Item() lock.Item {
	root := digest.FromBytes(im.Manifest)
	config := lock.Blob{Digest: digest.FromBytes(im.Config), MediaType: ocispec.MediaTypeImageConfig, Size: int64(len(im.Config))}
	layer := lock.Blob{Digest: im.Layer.Digest, MediaType: im.Layer.MediaType, Size: im.Layer.Size}
	return lock.Item{
		Ref: imageref.Ref(lock.ToolRepository + ":" + im.Layer.Digest.Encoded()[:12]), Kind: lock.Image, Source: lock.SourceTool, FoundBy: []string{"stack"},
		Digest: root, MediaType: ocispec.MediaTypeImageManifest, Size: int64(len(im.Manifest)),
		Content: lock.Verbatim{{
			Blob:     lock.Blob{Digest: root, MediaType: ocispec.MediaTypeImageManifest, Size: int64(len(im.Manifest))},
			Platform: im.Platform, Config: &config, Layers: []lock.Blob{layer},
		}},
	}
}
