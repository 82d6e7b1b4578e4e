// Package bundletest makes small, real, signed bundles for tests: images of
// every kind that registries hold, charts, a model, a file, a manifest, a
// signature and an SBOM. Content follows from constants and Options alone.
//
// It is for tests; the product never imports it.
package bundletest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
)

// References of the bundle's items.
const (
	Web      = "ghcr.io/acme/web:1.2.3"               // sparse index: linux/amd64 of linux/amd64 and linux/arm64; signed, with an SBOM referrer
	Full     = "quay.io/acme/full:2.0"                // index whose two platforms are both carried
	Tool     = "docker.io/library/tool:3.1"           // Docker v2s2 manifest without an index; shares a layer with Web
	OCIChart = "ghcr.io/acme/charts/web:1.2.3"        // chart from a registry
	OldChart = "charts.acme.example/stable/old:0.9.0" // chart from an HTTP repository, with provenance
	Commit   = "0123456789abcdef0123456789abcdef01234567"
	Model    = "huggingface.co/acme/tiny-llm:" + Commit // acme/Tiny-LLM
	ModelID  = "acme/Tiny-LLM"
)

// Options vary the bundle. The zero value works.
type Options struct {
	Name       string // default: demo
	Version    string // default: 1.0.0
	Sequence   int64  // default: 1
	VolumeSize int64  // default: 4 MiB, so that blocks lie across volumes
	Salt       string // changes the web image's content and nothing else
	Expires    string // RFC 3339; default: never
	LockText   string // what stands in the bundle as its lock; default: the lock
	LedgerText string // ledger that the signed statement names; default: none
	Key        *sign.PrivateKey
	KeyFile    string // public half of Key, as a file; made when empty
}

// Bundle is what Make made.
type Bundle struct {
	Dir, Name string
	Key       *sign.PrivateKey
	KeyFile   string
	Lock      *lock.Lock
	Content   map[digest.Digest][]byte // every blob: manifests, configs, layers
	Files     map[string][]byte        // the model's files by path
	WebIndex  digest.Digest
	WebAMD64  digest.Digest // its carried platform manifest
	FullIndex digest.Digest
	SBOM      digest.Digest // referrer of WebIndex
	Signature digest.Digest // manifest of the cosign tag of WebIndex
	Driver    digest.Digest // content of file gpu/driver.run
}

// Make builds, seals and signs a bundle in a temporary directory.
func Make(tb testing.TB, opt Options) *Bundle {
	tb.Helper()
	b := &Bundle{Dir: tb.TempDir(), Name: cmp.Or(opt.Name, "demo"), Key: opt.Key, KeyFile: opt.KeyFile, Content: map[digest.Digest][]byte{}, Files: map[string][]byte{}}
	b.Lock = (&builder{Bundle: b, salt: opt.Salt}).makeLock(b.Name, cmp.Or(opt.Version, "1.0.0"))
	b.makeKeys(tb)
	b.sealBundle(tb, opt)
	return b
}

func (b *Bundle) makeKeys(tb testing.TB) {
	tb.Helper()
	if b.Key != nil && b.KeyFile != "" {
		return
	}
	// A key without a password spares each bundle the cost of scrypt.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	requireNoError(tb, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	requireNoError(tb, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	requireNoError(tb, err)
	dir := tb.TempDir()
	b.KeyFile = filepath.Join(dir, sign.PublicKeyFile)
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	requireNoError(tb, os.WriteFile(b.KeyFile, text, 0o644))
	file := filepath.Join(dir, sign.PrivateKeyFile)
	requireNoError(tb, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	b.Key, err = sign.LoadPrivateKey(file, nil)
	requireNoError(tb, err)
}

func requireNoError(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// sealBundle writes the volumes and the head and signs.
func (b *Bundle) sealBundle(tb testing.TB, opt Options) {
	tb.Helper()
	ctx := context.Background()
	text, err := b.Lock.Marshal()
	requireNoError(tb, err)
	if opt.LockText != "" {
		text = []byte(opt.LockText)
	}
	var slots []bundle.Slot
	for _, s := range b.Lock.Slots() {
		slots = append(slots, bundle.Slot{Key: s.Key, Digest: s.Digest, Size: s.Size})
	}
	size := opt.VolumeSize
	if size == 0 {
		size = 4 << 20
	}
	w, err := bundle.Create(ctx, b.Dir, b.Name, digest.FromBytes(text), slots, bundle.WriterOptions{VolumeSize: size, NoSync: true})
	requireNoError(tb, err)
	defer w.Close()
	pending := b.fillSlots(ctx, tb, w)
	descriptors := b.wrapItems(tb, w, pending)
	sealed, err := w.Seal(ctx, bundle.Contents{Name: b.Name, Version: b.Lock.Metadata.Version, Lock: text, SBOM: []byte(`{"spdxVersion":"SPDX-2.3"}`), Descriptors: descriptors})
	requireNoError(tb, err)
	statement := sealed.Statement()
	statement.Predicate.Sequence = max(opt.Sequence, 1)
	statement.Predicate.Created = "2026-01-01T00:00:00Z"
	statement.Predicate.Expires = opt.Expires
	if opt.LedgerText != "" {
		statement.Predicate.Ledger, err = bundle.WriteLedger(b.Dir, b.Name, []byte(opt.LedgerText))
		requireNoError(tb, err)
	}
	payload, err := statement.Marshal()
	requireNoError(tb, err)
	signature, err := b.Key.SignStatement(payload)
	requireNoError(tb, err)
	_, err = bundle.WriteSignature(b.Dir, b.Name, b.Key.Public.ID, signature)
	requireNoError(tb, err)
}

// fillSlots writes every slot and returns the digests of pending ones by key.
func (b *Bundle) fillSlots(ctx context.Context, tb testing.TB, w *bundle.Writer) map[string]digest.Digest {
	tb.Helper()
	pending := map[string]digest.Digest{}
	for i, s := range b.Lock.Slots() {
		data := b.Content[s.Digest]
		if s.Parts != nil {
			data = b.layerOf(s.Parts)
		}
		sw, err := w.Slot(ctx, i, nil)
		requireNoError(tb, err)
		_, err = sw.Write(data)
		requireNoError(tb, err)
		d, err := sw.Commit()
		requireNoError(tb, err)
		b.Content[d] = data
		pending[s.Key] = d
	}
	return pending
}

func (b *Bundle) layerOf(parts []lock.Part) []byte {
	var out bytes.Buffer
	for _, p := range parts {
		if p.File != nil {
			out.Write(b.Files[p.File.Path])
		} else {
			out.Write(p.Literal)
		}
	}
	return out.Bytes()
}

// References is how many references the bundle's index has: one for each item, and
// for a model the one of its ModelPack manifest.
func (b *Bundle) References() int {
	n := len(b.Lock.Items)
	for i := range b.Lock.Items {
		if b.Lock.Items[i].PackRef() != "" {
			n++
		}
	}
	return n
}

// wrapItems puts manifests and configs into the head and describes every item.
func (b *Bundle) wrapItems(tb testing.TB, w *bundle.Writer, pending map[string]digest.Digest) []ocispec.Descriptor {
	tb.Helper()
	for _, h := range b.Lock.HeadBlobs() {
		b.putMeta(w, b.Content[h.Digest])
	}
	wrapped := map[imageref.Ref]ocispec.Descriptor{}
	for i := range b.Lock.Items {
		it := &b.Lock.Items[i]
		if !it.Wrapped() {
			continue
		}
		manifest, config, err := it.Wrap(func(key string) digest.Digest { return pending[key] })
		requireNoError(tb, err)
		b.putMeta(w, config)
		wrapped[it.Ref] = ocispec.Descriptor{Digest: b.putMeta(w, manifest), Size: int64(len(manifest))}
		if it.PackRef() == "" {
			continue
		}
		manifest, config, err = it.WrapPack(func(key string) digest.Digest { return pending[key] })
		requireNoError(tb, err)
		b.putMeta(w, config)
		wrapped[it.PackRef()] = ocispec.Descriptor{Digest: b.putMeta(w, manifest), Size: int64(len(manifest))}
	}
	descriptors, err := b.Lock.Descriptors(wrapped)
	requireNoError(tb, err)
	return descriptors
}

func (b *Bundle) putMeta(w *bundle.Writer, data []byte) digest.Digest {
	d := w.PutMeta(data)
	b.Content[d] = data
	return d
}

// Open returns the bundle, trusted by its own key and closed with the test.
func (b *Bundle) Open(tb testing.TB) *cargo.Bundle {
	tb.Helper()
	opened, err := cargo.Open(context.Background(), []string{b.Dir}, []string{b.KeyFile}, cargo.Options{AllowExpired: true}, event.Discard)
	requireNoError(tb, err)
	tb.Cleanup(func() { _ = opened.Close() })
	return opened
}

// Volume is the path of volume n.
func (b *Bundle) Volume(n int) string {
	return filepath.Join(b.Dir, volumeName(b.Name, n))
}

// Damage flips a bit of the first byte of a blob's content at offset, and says
// in which volume and where in it that is.
func (b *Bundle) Damage(tb testing.TB, d digest.Digest, offset int64) (volume string, at int64) {
	tb.Helper()
	data := b.Content[d]
	window := data[offset:min(offset+64, int64(len(data)))]
	for n := 0; ; n++ {
		raw, err := os.ReadFile(b.Volume(n))
		if errors.Is(err, os.ErrNotExist) {
			tb.Fatalf("blob %s at %d is in no volume", d, offset)
		}
		requireNoError(tb, err)
		if i := bytes.Index(raw, window); i >= 0 {
			raw[i] ^= 0x10
			requireNoError(tb, os.WriteFile(b.Volume(n), raw, 0o644))
			return filepath.Base(b.Volume(n)), int64(i)
		}
	}
}

// ReadAll reads r and closes it.
func ReadAll(tb testing.TB, r io.ReadCloser) []byte {
	tb.Helper()
	data, err := io.ReadAll(r)
	requireNoError(tb, errors.Join(err, r.Close()))
	return data
}
