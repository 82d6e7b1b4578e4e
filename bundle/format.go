// Package bundle is the bundle format: an OCI image layout as one uncompressed
// tar stream, cut into a head and volumes (see FORMAT.md).
//
// It holds the Writer, which lays a bundle out before its first byte and fills
// it in place, and the way back: Scan finds files, Read proves that a head is
// whole, Trust proves who signed it, and only a Trusted bundle hands out
// content, block by block, each hashed before a byte of it leaves.
//
// It never decides whose signature counts, never opens a network connection,
// and never writes a path that an archive names.
package bundle

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Fixed numbers of format version 1.
const (
	FormatVersion     = 1
	BlockSize         = 4 << 20    // bytes of a blob under one check value
	DefaultVolumeSize = 4000 << 20 // stays below FAT32's 4 GiB
	VolumeUnit        = 1 << 20    // volume sizes are multiples of it
)

// Media types of what the format adds to OCI.
const (
	MediaTypeBundle = "application/vnd.caisson.bundle.v1"             // artifactType of the bundle manifest
	MediaTypeConfig = "application/vnd.caisson.bundle.config.v1+json" // its config
	MediaTypeLock   = "application/vnd.caisson.lock.v1+yaml"          // its layers …
	MediaTypeTable  = "application/vnd.caisson.bundle.table.v1+json"
	MediaTypeBlocks = "application/vnd.caisson.bundle.blocks.v1"
	MediaTypeSBOM   = "application/spdx+json"
	MediaTypeFile   = "application/vnd.caisson.file.v1" // artifactType of a wrapped plain file
)

// Annotations of the descriptors in index.json.
const (
	AnnotationKind      = "dev.caisson.kind"
	AnnotationComponent = "dev.caisson.component"
	AnnotationSource    = "dev.caisson.source"
	KindBundle          = "bundle" // AnnotationKind of the bundle manifest
)

// Limits. A bundle beyond one of them is refused by Create and by Read alike.
const (
	MaxMeta         = 4 << 20   // one manifest, index or config in the head
	maxHead         = 512 << 20 // the head
	maxIndex        = 16 << 20  // index.json
	maxReferences   = 100_000   // descriptors in index.json
	maxLock         = 64 << 20
	maxConfig       = 64 << 10 // bundle manifest and its config
	maxSBOM         = 128 << 20
	maxTable        = 256 << 20
	maxEntries      = 1_000_000 // blobs in the volumes
	maxBlocks       = 128 << 20 // check values: 16 TiB of payload
	maxStream       = 1 << 50
	maxVolumes      = 100_000
	maxDepth        = 8       // nesting of image indexes
	maxSignature    = 1 << 20 // a signature file
	maxSignatures   = 64      // signature files of one bundle
	maxStatement    = 1 << 20
	maxLedger       = 64 << 20
	maxScanned      = 1_000_000 // directory entries looked at by Scan
	maxDigestLength = 71        // sha256: + 64
)

// Errors of the format.
var (
	ErrFormat         = errors.New("not a valid bundle")
	ErrVersion        = errors.New("bundle format not supported")
	ErrDelta          = errors.New("delta bundles not supported yet")
	ErrTampered       = errors.New("content differs from its digest")
	ErrMissing        = errors.New("volume missing")
	ErrNotTrusted     = errors.New("bundle not trusted")
	ErrNoLedger       = errors.New("the bundle's ledger file is missing")
	ErrUnknownBlob    = errors.New("blob not in bundle")
	ErrOtherJob       = errors.New("directory holds another job")
	ErrStray          = errors.New("volumes without journal or head")
	ErrBusy           = errors.New("another writer is at work in the directory")
	ErrNoSpace        = errors.New("not enough disk space")
	ErrSize           = errors.New("size differs from the lock")
	ErrDigestMismatch = errors.New("digest differs from the lock")
	ErrUnfinished     = errors.New("slots unfinished")
	ErrDamaged        = errors.New("bundle damaged or incomplete")
	ErrDuplicate      = errors.New("blob occurs twice")
)

// formatError says where a bundle breaks the format.
func formatError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrFormat, fmt.Errorf(format, args...))
}

// parseDigest accepts sha256 alone: the only algorithm of format version 1.
func parseDigest(d digest.Digest) (sum, error) {
	var s sum
	if len(d) > maxDigestLength {
		return s, formatError("digest of %d bytes", len(d))
	}
	if err := d.Validate(); err != nil {
		return s, formatError("digest %q: %w", string(d), err)
	}
	if d.Algorithm() != digest.SHA256 {
		return s, formatError("digest %s: only sha256 is allowed", d)
	}
	s.decode(d.Encoded())
	return s, nil
}
