package bundle

import (
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bundle is a head that is whole in itself: every byte of it follows from
// index.json, every reference of it is met by a blob of the head or an entry of
// the table. Who made it is not proven; it gives metadata only. It is safe for
// concurrent use until Close.
type Bundle struct {
	files  Files
	file   io.Closer
	head   *head
	index  ocispec.Index
	refs   map[string]int
	config config
	parts  parts
	lock   []byte
	table  *Table
	lookup *lookup
}

// Read opens a head and checks it from the first byte to the last (FORMAT.md,
// "What a reader checks"). The volumes are not touched. The caller closes the
// bundle. Errors are ErrFormat, ErrVersion, ErrDelta, or those of the disk.
func Read(files Files) (*Bundle, error) {
	b, err := readHead(files)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", files.Head, err)
	}
	return b, nil
}

func readHead(files Files) (*Bundle, error) {
	f, err := openVolume(files.Head)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	b, err := parseBundle(f, info.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	b.files, b.file = files, f
	return b, nil
}

// parseBundle is Read for a head that lies anywhere.
func parseBundle(file io.ReaderAt, size int64) (*Bundle, error) {
	h, err := parseHead(file, size)
	if err != nil {
		return nil, err
	}
	b := &Bundle{head: h}
	for _, step := range []func() error{b.readIndex, b.readManifest, b.readTable, b.readLock, b.requireReachable} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *Bundle) readIndex() (err error) {
	if b.index, err = parseIndex(b.head.index); err != nil {
		return err
	}
	b.refs, err = mapReferences(b.index)
	return err
}

// readManifest finds what the bundle manifest names. Its config comes first: it
// holds the format version.
func (b *Bundle) readManifest() error {
	d, err := bundleDescriptor(b.index)
	if err != nil {
		return err
	}
	i, err := findPart(b.head, d)
	if err != nil {
		return err
	}
	text, err := b.head.readBlob(i, maxConfig)
	if err != nil {
		return err
	}
	m, err := parseBundleManifest(text)
	if err != nil {
		return err
	}
	if err := b.readConfig(m.Config); err != nil {
		return err
	}
	if err := requireCanonical("bundle manifest", text, m); err != nil {
		return err
	}
	return b.parts.findLayers(b.head, m.Layers)
}

func (b *Bundle) readConfig(d ocispec.Descriptor) error {
	i, err := findPart(b.head, d)
	if err != nil {
		return err
	}
	text, err := b.head.readBlob(i, maxConfig)
	if err != nil {
		return err
	}
	b.config, err = parseConfig(text)
	return err
}

func (b *Bundle) readTable() (err error) {
	if n := b.head.blobs[b.parts.table].size; n > maxTable {
		return formatError("blob table of %d bytes", n)
	}
	err = b.head.streamBlob(b.parts.table, func(r io.Reader) (err error) {
		b.table, err = parseTable(r)
		return err
	})
	if err != nil {
		return err
	}
	values, err := b.readBlocks()
	if err != nil {
		return err
	}
	if err := b.table.takeBlocks(values); err != nil {
		return err
	}
	b.lookup, err = newLookup(b.table)
	return err
}

// readBlocks returns the check values; a bundle of small blobs has none.
func (b *Bundle) readBlocks() ([]byte, error) {
	if b.parts.blocks < 0 {
		return nil, nil
	}
	values, err := b.head.readBlob(b.parts.blocks, maxBlocks)
	if err == nil && len(values) == 0 {
		err = formatError("empty list of check values")
	}
	return values, err
}

func (b *Bundle) readLock() (err error) {
	b.lock, err = b.head.readBlob(b.parts.lock, maxLock)
	return err
}

// requireReachable requires that head and volumes hold what index.json reaches, once.
func (b *Bundle) requireReachable() error {
	for i := range b.table.blobs {
		if _, twice := b.head.findBlob(b.table.blobs[i].digest); twice {
			return formatError("%w: %s in the head and in the volumes", ErrDuplicate, b.table.blobs[i].digest.digest())
		}
	}
	return newClosure(b.head, b.table, b.lookup).walkIndex(b.index)
}

// Close closes the head and, for a trusted bundle, its volumes. No reader may be
// in use.
func (b *Bundle) Close() error {
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}

// Files returns where the bundle's parts were found.
func (b *Bundle) Files() Files { return b.files }

// Name is the name in the bundle itself; files may have been renamed.
func (b *Bundle) Name() string { return b.config.Name }

// Version is the version in the bundle itself.
func (b *Bundle) Version() string { return b.config.Version }

// Index returns index.json decoded. The caller must not change it.
func (b *Bundle) Index() ocispec.Index { return b.index }

// IndexBytes returns index.json: what signatures are about. The caller must not
// change it.
func (b *Bundle) IndexBytes() []byte { return b.head.index }

// IndexDigest is the bundle's identity.
func (b *Bundle) IndexDigest() digest.Digest { return sumOf(b.head.index).digest() }

// Lock returns the lock's text. The caller must not change it.
func (b *Bundle) Lock() []byte { return b.lock }

// LockDigest is the digest of the lock's text.
func (b *Bundle) LockDigest() digest.Digest { return b.head.blobs[b.parts.lock].digest.digest() }

// SBOM reads the SBOM; nil when the bundle has none.
func (b *Bundle) SBOM() ([]byte, error) {
	if b.parts.sbom < 0 {
		return nil, nil
	}
	return b.head.readBlob(b.parts.sbom, maxSBOM)
}

// Table lists the blobs of the volumes.
func (b *Bundle) Table() *Table { return b.table }

// HeadSize is the size of the head in bytes.
func (b *Bundle) HeadSize() int64 { return b.head.size }

// Find returns the descriptor with the given reference name.
func (b *Bundle) Find(ref string) (ocispec.Descriptor, bool) {
	i, ok := b.refs[ref]
	if !ok {
		return ocispec.Descriptor{}, false
	}
	return b.index.Manifests[i], true
}

// Manifest reads a manifest, index or config of at most MaxMeta bytes from the
// head and proves it against d. ErrUnknownBlob if the head has none such.
func (b *Bundle) Manifest(d digest.Digest) ([]byte, error) {
	s, err := parseDigest(d)
	if err != nil {
		return nil, err
	}
	i, ok := b.head.findBlob(s)
	if !ok {
		return nil, fmt.Errorf("reading %s from the head: %w", d, ErrUnknownBlob)
	}
	return b.head.readBlob(i, MaxMeta)
}

// Stat returns the size of a blob and whether it lies in the head; false when
// the bundle does not have it.
func (b *Bundle) Stat(d digest.Digest) (size int64, inHead, ok bool) {
	s, err := parseDigest(d)
	if err != nil {
		return 0, false, false
	}
	if i, ok := b.head.findBlob(s); ok {
		return b.head.blobs[i].size, true, true
	}
	if i, ok := b.lookup.find(s); ok {
		return b.table.blobs[i].size, false, true
	}
	return 0, false, false
}
