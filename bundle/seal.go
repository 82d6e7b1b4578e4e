package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Contents is what a head says beyond the blobs.
type Contents struct {
	Name        string // of the stack
	Version     string
	Lock        []byte
	SBOM        []byte               // SPDX JSON; may be empty
	Descriptors []ocispec.Descriptor // one per reference, each with a unique ref.name annotation; their manifests were put as Meta
}

// Sealed describes a finished bundle.
type Sealed struct {
	Dir         string
	Name        string // of the files
	Contents    string // NAME of Contents
	Version     string
	Index       digest.Digest
	Lock        digest.Digest
	HeadSize    int64
	Volumes     int
	VolumeSize  int64
	StreamSize  int64 // bytes of all volumes
	ContentSize int64 // bytes of all blobs in them
}

// TotalBytes is what has to be carried: head and volumes.
func (s Sealed) TotalBytes() int64 { return s.HeadSize + s.StreamSize }

// Statement returns the statement about the bundle, with what only the signer
// knows left to be filled in: Sequence, Created, Expires and the optional
// digests.
func (s Sealed) Statement() Statement {
	return Statement{
		Type:          StatementType,
		Subject:       []Subject{{Name: "index.json", Digest: map[string]string{"sha256": s.Index.Encoded()}}},
		PredicateType: PredicateType,
		Predicate: Predicate{
			Name:       s.Contents,
			Version:    s.Version,
			Format:     FormatVersion,
			TotalBytes: s.TotalBytes(),
			Volumes:    StatementVolumes{s.Volumes, s.VolumeSize},
			Lock:       s.Lock,
		},
	}
}

// Timestamp is the form of times in a statement.
func Timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Seal ends the bundle: it waits until all slots are durable (ErrUnfinished if
// one is not complete), writes the head, reads it as a stranger would, gives it
// its name and removes the journal. After an error the bundle is as unsealed as
// before. What was put as Meta and is not reached from c.Descriptors is left
// out.
func (w *Writer) Seal(ctx context.Context, c Contents) (Sealed, error) {
	if err := w.completeVolumes(ctx); err != nil {
		return Sealed{}, err
	}
	f, err := os.CreateTemp(w.dir, "."+headName(w.job.Name)+".*")
	if err != nil {
		return Sealed{}, fmt.Errorf("writing head: %w", err)
	}
	sealed, err := w.writeHead(f, c)
	if err = publishFile(f, filepath.Join(w.dir, headName(w.job.Name)), err); err != nil {
		return Sealed{}, fmt.Errorf("writing head: %w", err)
	}
	if w.sealed != nil {
		return sealed, nil // Close removes the journal
	}
	return sealed, w.journal.remove()
}

// completeVolumes makes the volumes complete and durable.
func (w *Writer) completeVolumes(ctx context.Context) error {
	if err := w.volumes.createUpTo(w.layout.volumeCount() - 1); err != nil {
		return err
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	var missing []string
	for _, s := range w.slots {
		if !w.Finished(s.index) {
			missing = append(missing, s.Key)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %d of %d, first %s", ErrUnfinished, len(missing), len(w.slots), missing[0])
	}
	return w.volumes.sync()
}

// writeHead builds the head in f and reads it back whole.
func (w *Writer) writeHead(f *os.File, c Contents) (Sealed, error) {
	if digest.FromBytes(c.Lock) != w.job.Job {
		return Sealed{}, errors.New("the lock is not the one this bundle was begun with")
	}
	b := &sealing{writer: w, table: w.makeTable(), head: newHeadBuilder(), slots: map[sum]bool{}}
	index, err := b.buildIndex(c)
	if err != nil {
		return Sealed{}, err
	}
	if err := b.head.writeHead(f, index); err != nil {
		return Sealed{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Sealed{}, err
	}
	read, err := parseBundle(f, info.Size())
	if err != nil {
		return Sealed{}, err
	}
	return w.describeSealed(read), nil
}

func (w *Writer) describeSealed(b *Bundle) Sealed {
	return Sealed{
		Dir:         w.dir,
		Name:        w.job.Name,
		Contents:    b.Name(),
		Version:     b.Version(),
		Index:       b.IndexDigest(),
		Lock:        b.LockDigest(),
		HeadSize:    b.HeadSize(),
		Volumes:     b.table.Volumes(),
		VolumeSize:  b.table.VolumeSize(),
		StreamSize:  b.table.StreamSize(),
		ContentSize: b.table.ContentSize(),
	}
}

func (w *Writer) makeTable() *Table {
	t := &Table{layout: w.layout, blobs: make([]proof, len(w.slots))}
	for i, s := range w.slots {
		t.blobs[i] = s.proof
	}
	return t
}

// sealing collects the blobs of a head.
type sealing struct {
	writer *Writer
	table  *Table
	head   *headBuilder
	slots  map[sum]bool
}

// buildIndex returns index.json, having added every blob that it reaches.
func (b *sealing) buildIndex(c Contents) ([]byte, error) {
	for i := range b.table.blobs {
		d := b.table.blobs[i].digest
		if b.slots[d] {
			return nil, fmt.Errorf("%w: %s", ErrDuplicate, d.digest())
		}
		b.slots[d] = true
	}
	for _, d := range c.Descriptors {
		if err := b.addReachable(linkOf(d), true, 0); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Annotations[ocispec.AnnotationRefName], err)
		}
	}
	own, err := b.addBundleManifest(c)
	if err != nil {
		return nil, err
	}
	return canonicalJSON(newIndex(append(append([]ocispec.Descriptor{}, c.Descriptors...), own)))
}

// addReachable adds a manifest or index and what it refers to.
func (b *sealing) addReachable(l link, required bool, depth int) error {
	s, err := parseDigest(l.Digest)
	if err != nil {
		return err
	}
	if _, done := b.head.blobs[s]; done {
		return nil
	}
	text, ok := b.writer.readHeadBlob(s)
	if !ok && !required {
		return nil
	}
	if !ok || depth > maxDepth {
		return fmt.Errorf("manifest %s: %w", l.Digest, ErrUnknownBlob)
	}
	doc, err := parseDocument(text, l.MediaType)
	if err != nil {
		return err
	}
	b.keepBlob(s, int64(len(text)))
	return b.reachChildren(doc, depth)
}

func (b *sealing) reachChildren(doc document, depth int) error {
	for _, m := range doc.Manifests {
		next := b.addReachable
		if !isIndex(m.MediaType) && !isManifest(m.MediaType) {
			next = b.reachBlob
		}
		if err := next(m, false, depth+1); err != nil {
			return err
		}
	}
	if doc.Config != nil {
		if err := b.reachBlob(*doc.Config, true, depth); err != nil {
			return err
		}
	}
	for _, l := range doc.Layers {
		if err := b.reachBlob(l, !isForeign(l.MediaType), depth); err != nil {
			return err
		}
	}
	return nil
}

// reachBlob adds a blob that is not in a slot.
func (b *sealing) reachBlob(l link, required bool, _ int) error {
	s, err := parseDigest(l.Digest)
	if err != nil || b.slots[s] {
		return err
	}
	if text, ok := b.writer.readHeadBlob(s); ok {
		b.keepBlob(s, int64(len(text)))
	} else if required {
		return fmt.Errorf("blob %s: %w", l.Digest, ErrUnknownBlob)
	}
	return nil
}

// keepBlob adds a head blob that is read again when it is written.
func (b *sealing) keepBlob(s sum, size int64) {
	b.head.blobs[s] = headContent{size, func(w io.Writer) error {
		text, ok := b.writer.readHeadBlob(s)
		if !ok {
			return fmt.Errorf("head blob %s: %w", s.digest(), ErrTampered)
		}
		_, err := w.Write(text)
		return err
	}}
}

// addBundleManifest adds the bundle manifest and its parts and returns its descriptor.
func (b *sealing) addBundleManifest(c Contents) (ocispec.Descriptor, error) {
	conf, err := canonicalJSON(config{FormatVersion: FormatVersion, Name: c.Name, Version: c.Version, Complete: true})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	s, n, err := b.head.addStream(b.table.writeTo)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	layers := []ocispec.Descriptor{
		b.addText(MediaTypeLock, c.Lock),
		{MediaType: MediaTypeTable, Digest: s.digest(), Size: n},
	}
	if values := b.table.checkValues(); len(values) > 0 {
		layers = append(layers, b.addText(MediaTypeBlocks, values))
	}
	if len(c.SBOM) > 0 {
		layers = append(layers, b.addText(MediaTypeSBOM, c.SBOM))
	}
	m := newBundleManifest(b.addText(MediaTypeConfig, conf), layers)
	text, err := canonicalJSON(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := b.addText(ocispec.MediaTypeImageManifest, text)
	d.ArtifactType = MediaTypeBundle
	d.Annotations = map[string]string{
		ocispec.AnnotationRefName: bundleRef(c.Name, c.Version),
		AnnotationKind:            KindBundle,
	}
	return d, nil
}

func (b *sealing) addText(mediaType string, text []byte) ocispec.Descriptor {
	s := b.head.addBlob(text)
	return ocispec.Descriptor{MediaType: mediaType, Digest: s.digest(), Size: int64(len(text))}
}

// bundleRef is the reference name of the bundle manifest.
func bundleRef(name, version string) string {
	clean := func(r rune) rune {
		if r < 0x80 && nameByte(byte(r)) && r != '+' {
			return r
		}
		return '_'
	}
	return "bundle.caisson.dev/" + strings.ToLower(strings.Map(clean, name)) + ":" + strings.Map(clean, version)
}
