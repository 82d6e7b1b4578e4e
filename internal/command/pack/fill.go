package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/agent"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/client/kustomize"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/manifests"
)

// wrongTries bounds how often one source is asked again after it sent content
// that is not what the lock says.
const wrongTries = 3

// smallPart is the size up to which a model file is read and checked as a whole
// before its first byte is written, so that a wrong one costs only itself.
const smallPart = 1 << 20

// filler fetches content from wherever the lock says it comes from.
type filler struct {
	stock   *stock // older bundles
	client  *fetch.Client
	puller  *registry.Puller
	hub     *hub.Client
	builder *kustomize.Builder
	dir     string // of the lock file: paths are relative to it
	meter   *meter
	sink    event.Sink
	tool    func() (*agent.Image, error) // of the running binary
}

// fillSlot fills one slot of w, unless it is filled already.
func (f *filler) fillSlot(ctx context.Context, w *bundle.Writer, i int, s lock.Slot) error {
	item := ownerOf(s)
	f.meter.beginItem(item)
	err := f.fillOpenSlot(ctx, w, i, s)
	switch {
	case err == nil:
		f.meter.endSlot(item)
	case ctx.Err() == nil:
		f.meter.markFailed(item)
	}
	return err
}

func (f *filler) fillOpenSlot(ctx context.Context, w *bundle.Writer, i int, s lock.Slot) error {
	item := ownerOf(s)
	if w.Finished(i) {
		f.meter.countPresent(item, s.Size)
		return nil
	}
	var sum *assembly
	var observe io.Writer
	if s.Parts != nil {
		sum = newAssembly(s.Parts)
		observe = sum
	}
	sw, err := w.Slot(ctx, i, observe)
	if err != nil {
		return fmt.Errorf("packing %s: %w", item, err)
	}
	f.meter.countPresent(item, sw.Offset())
	err = f.fillContent(ctx, sw, s, sum)
	return errors.Join(err, sw.Close())
}

// fillContent fills a slot from its sources, in their order and again, until one
// gives what the lock says or every one has been asked often enough.
func (f *filler) fillContent(ctx context.Context, sw *bundle.SlotWriter, s lock.Slot, sum *assembly) error {
	a := &attempt{filler: f, slot: s, sum: sum, writer: sw}
	a.dst = &metered{dst: sw, m: f.meter, item: ownerOf(s)}
	if blob := f.stock.find(s); blob != nil {
		if filled, err := a.copyFromStock(ctx, blob); filled || err != nil {
			return err
		}
	}
	for try := 0; ; try++ {
		src := s.Sources[try%len(s.Sources)]
		err := a.fillFrom(ctx, src)
		if err == nil {
			return nil
		}
		if err = a.decideRetry(ctx, err, src, try); err != nil {
			return err
		}
	}
}

// attempt is the filling of one slot.
type attempt struct {
	*filler
	slot   lock.Slot
	sum    *assembly // nil when the blob comes whole
	writer *bundle.SlotWriter
	dst    *metered
}

func (a *attempt) fillFrom(ctx context.Context, src lock.Source) error {
	if err := a.streamBlob(ctx, src); err != nil {
		return err
	}
	_, err := a.writer.Commit()
	if errors.Is(err, bundle.ErrDigestMismatch) { // the slot is empty again
		a.meter.takeBack(ownerOf(a.slot), a.slot.Size)
	}
	return err
}

func (a *attempt) streamBlob(ctx context.Context, src lock.Source) error {
	if a.sum != nil {
		return a.assembleLayer(ctx, src)
	}
	switch src.Kind {
	case lock.FromPath, lock.FromShipped:
		return a.copyLocal(src)
	case lock.FromBuild:
		return a.buildManifest(ctx, src)
	case lock.FromTool:
		return a.writeAgentLayer(src)
	}
	r, err := a.blobRequest(ctx, src)
	if err != nil {
		return err
	}
	return a.client.Stream(ctx, r, a.dst)
}

// blobRequest asks for a whole blob.
func (a *attempt) blobRequest(ctx context.Context, src lock.Source) (fetch.Request, error) {
	r := fetch.Request{URL: src.URL, Size: a.slot.Size}
	if src.Kind == lock.FromRegistry {
		var err error
		if r, err = a.puller.BlobRequest(ctx, src.Repository, src.Digest, a.slot.Size); err != nil {
			return r, err
		}
	}
	r.Item = ownerOf(a.slot)
	return r, nil
}

// readFile reads a file that lies beside the lock or ships with the program.
func (a *attempt) readFile(src lock.Source) ([]byte, error) {
	if name, ours := src.ShippedChart(); ours && src.Kind == lock.FromShipped {
		c, err := helm.OpenOurs(name)
		if err != nil {
			return nil, err
		}
		return c.Archive(), nil
	}
	if name, ours := src.ShippedFile(); ours && src.Kind == lock.FromShipped {
		return fs.ReadFile(manifests.Files(), name)
	}
	return readLocal(filepath.Join(a.dir, filepath.FromSlash(src.Path)), a.slot.Size)
}

// copyLocal copies a file that lies beside the lock, or that ships with the program.
func (a *attempt) copyLocal(src lock.Source) error {
	data, err := a.readFile(src)
	if err != nil {
		return err
	}
	if got := digest.FromBytes(data); got != src.Digest && src.Kind == lock.FromShipped {
		return fmt.Errorf("%w: %s has %s, the lock says %s", ErrOtherProgram, src.Path, got, src.Digest)
	} else if got != src.Digest {
		return &changedFile{path: src.Path, want: string(src.Digest), got: string(got)}
	}
	return a.rewrite(data)
}

// readLocal reads a regular file that must have exactly size bytes.
func readLocal(path string, size int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() != size || size > maxLocal {
		return nil, &changedFile{path: path, want: fmt.Sprintf("%d bytes", size), got: fmt.Sprintf("%d bytes", info.Size())}
	}
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(file, size))
	return b.Bytes(), err
}

const maxLocal = 64 << 20 // plain manifests

// assembleLayer puts a model layer together, part by part, from where the slot stands.
func (a *attempt) assembleLayer(ctx context.Context, src lock.Source) error {
	for !a.sum.isComplete() {
		part := a.sum.currentPart()
		var err error
		switch {
		case part.File == nil:
			err = a.putProven(part.Literal[a.sum.pos:])
		case part.Size <= smallPart:
			err = a.smallFile(ctx, src, *part.File)
		default:
			err = a.largeFile(ctx, src, *part.File)
		}
		if err != nil {
			return err
		}
		if a.sum.bad != nil {
			return a.sum.bad
		}
	}
	return a.sum.bad
}

// putProven writes bytes that are known to be right.
func (a *attempt) putProven(p []byte) error {
	_, _ = a.sum.Write(p)
	_, err := a.dst.Write(p)
	return err
}

func (a *attempt) fileRequest(src lock.Source, file lock.ModelFile) fetch.Request {
	address := file.URL
	if address == "" {
		address = hub.FileURL(src.Repository, src.Commit, file.Path)
	}
	return a.hub.RequestURL(address, file.Size, ownerOf(a.slot)+" "+file.Path)
}

func (a *attempt) smallFile(ctx context.Context, src lock.Source, file lock.ModelFile) error {
	var err error
	for try := 1; try <= wrongTries; try++ {
		var data []byte
		if data, _, err = a.client.Read(ctx, a.fileRequest(src, file), smallPart); err != nil {
			if errors.Is(err, fetch.ErrSize) && try < wrongTries {
				continue
			}
			return err
		}
		got := digest.FromBytes(data)
		if got == file.SHA256 {
			return a.putProven(data[a.sum.pos:])
		}
		err = &wrongContent{what: file.Path, want: string(file.SHA256), got: string(got)}
	}
	return err
}

func (a *attempt) largeFile(ctx context.Context, src lock.Source, file lock.ModelFile) error {
	return a.client.Stream(ctx, a.fileRequest(src, file), newWindow(a.dst, a.sum))
}

// decideRetry decides after a failed attempt: nil means that another one follows.
// Wrong content is discarded; a source that fails otherwise is passed over while
// there are sources that were not asked.
func (a *attempt) decideRetry(ctx context.Context, err error, src lock.Source, try int) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case a.dst.err != nil:
		return fmt.Errorf("packing %s: %w", ownerOf(a.slot), a.dst.err)
	}
	wrong := isWrong(err)
	last := try+1 >= len(a.slot.Sources)
	if wrong {
		last = try+1 >= wrongTries*len(a.slot.Sources)
	}
	if last || errors.Is(err, ErrLocalChanged) || errors.Is(err, ErrOtherProgram) || errors.Is(err, ErrBuiltOtherwise) {
		return a.explainFailure(err, src, wrong)
	}
	a.sink.Emit(event.Event{Kind: event.Retry, Item: ownerOf(a.slot), Message: err.Error(), Fields: map[string]any{"try": try + 1}})
	if !wrong {
		return nil
	}
	return a.discardWrong()
}

func (a *attempt) discardWrong() error {
	if a.sum != nil {
		a.sum.resetToStart()
	}
	if err := a.dst.Reset(); err != nil {
		return fmt.Errorf("packing %s: %w", ownerOf(a.slot), err)
	}
	return nil
}

// isWrong says whether the content differs from the lock, as against not
// coming at all.
func isWrong(err error) bool {
	return errors.Is(err, bundle.ErrDigestMismatch) || errors.Is(err, bundle.ErrSize) ||
		errors.Is(err, fetch.ErrSize) || errors.Is(err, ErrUpstreamChanged)
}

// explainFailure names item and upstream. What was wrong is taken back, so that a
// later run starts the slot over instead of meeting it again.
func (a *attempt) explainFailure(err error, src lock.Source, wrong bool) error {
	if !wrong {
		return fmt.Errorf("packing %s: %w", ownerOf(a.slot), err)
	}
	if e := a.discardWrong(); e != nil {
		return e
	}
	return &UpstreamError{
		Item: ownerOf(a.slot), Upstream: a.upstreamOf(src), Blob: string(a.slot.Digest), Size: a.slot.Size,
		Stack: a.isStackDigest(src), Err: err,
	}
}

// isStackDigest says whether the stack itself names the slot's digest, as it does of files.
func (a *attempt) isStackDigest(src lock.Source) bool {
	ofFile := strings.HasPrefix(ownerOf(a.slot), lock.FilesHost) && a.slot.MediaType != lock.MediaTypeManifest
	return src.Kind == lock.FromURL && ofFile
}

// upstreamOf is where a source really is, without secrets.
func (f *filler) upstreamOf(src lock.Source) string {
	switch src.Kind {
	case lock.FromRegistry:
		return fetch.Redact(f.client.URL(src.Repository)) + "@" + string(src.Digest)
	case lock.FromHub:
		return fetch.Redact(f.client.URL(hub.FileURL(src.Repository, src.Commit, "")))
	case lock.FromURL, lock.FromBuild:
		return fetch.Redact(f.client.URL(src.URL))
	case lock.FromTool:
		return ownBinary
	}
	return src.Path
}

// headBlob returns a manifest or config, from an earlier run or from its
// registry, and checks that it is what the lock describes.
func (f *filler) headBlob(ctx context.Context, w *bundle.Writer, h lock.HeadBlob) error {
	if _, ok := w.Meta(h.Digest); ok {
		return nil
	}
	if data := f.stock.head(h); data != nil {
		w.PutMeta(data)
		return nil
	}
	data, err := f.fetchHead(ctx, h)
	if err != nil {
		return fmt.Errorf("packing %s@%s: %w", h.Source.Repository, h.Digest, err)
	}
	if int64(len(data)) != h.Size {
		return &UpstreamError{
			Item: h.Source.Repository + "@" + string(h.Digest), Upstream: f.upstreamOf(h.Source), Blob: string(h.Digest), Size: h.Size,
			Err: &wrongContent{what: "the manifest or config", want: fmt.Sprintf("%d bytes", h.Size), got: fmt.Sprintf("%d bytes", len(data))},
		}
	}
	w.PutMeta(data)
	return nil
}

func (f *filler) fetchHead(ctx context.Context, h lock.HeadBlob) ([]byte, error) {
	if h.Source.Kind == lock.FromTool {
		return f.ownHead(h.Source)
	}
	if !registry.IsManifest(h.MediaType) {
		return f.puller.Blob(ctx, h.Source.Repository, h.Digest, h.Size)
	}
	m, err := f.puller.Manifest(ctx, h.Source.Repository, h.Digest)
	if err != nil {
		return nil, err
	}
	if m.MediaType != h.MediaType {
		return nil, &wrongContent{what: "the manifest's media type", want: h.MediaType, got: m.MediaType}
	}
	return m.Bytes, nil
}
