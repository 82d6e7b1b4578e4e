// Package pack is the verb that turns a lock into a bundle: everything the lock
// names is fetched once, hashed as it passes, and written once at its final
// place; the bundle is sealed only when it is complete, and then signed.
//
// It never resolves a name, never changes the lock, and never leaves anything
// that looks like a whole bundle and is not one. Killed at any moment, it goes
// on where it was when run again.
package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/agent"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/client/kustomize"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
)

const verb = "pack"

// Options ask for a bundle. Lock and Output are required.
type Options struct {
	Lock       string // lock file
	Output     string // directory for the bundle's files; made when absent
	Key        string // private key file; empty: the bundle is not signed
	Password   func() ([]byte, error)
	Upstreams  string        // upstreams file; empty: no rewrites
	VolumeSize int64         // bytes, a multiple of 1 MiB; 0: bundle.DefaultVolumeSize
	Workers    int           // blobs under way at once; 0: by the number of CPUs
	Sequence   int64         // release number of the statement; 0: its creation in Unix seconds
	Expires    time.Duration // how long the statement counts; 0: for ever
	Now        time.Time     // that things are said to be made at; zero: the machine's clock
	Tool       []string      // caisson binaries to put beside the bundle
	Agent      string        // binary of the node agent's image; empty: the running one
	Reuse      []string      // paths that hold older bundles: what they have of the lock is not fetched
	HubToken   string        // for the model hub; empty: none
	Builder    []string      // command line of a process that builds manifests, see kustomize.NewBuilder; nil: none can be built
	Fetch      fetch.Options // retries, limits and waits; Upstreams and Sink are set by Run
}

// Result is what came of a run.
type Result struct {
	Name      string
	Dir       string
	Index     digest.Digest // identity of the bundle
	Payload   int64         // bytes of content in the volumes
	Fetched   int64         // bytes of content fetched by this run
	Reused    int64         // bytes of content taken from older bundles by this run
	Volumes   int
	Wall      time.Duration
	Unchanged bool       // the directory held the sealed bundle already
	Signature *Signature // nil without a key
}

// Run packs. On failure or when ctx ends, what was written stays, and the next
// Run with the same lock, output and volume size goes on from there. The bundle
// counts as such when its head is in place; the ledger and the signature
// follow. Errors are those of bundle.Create (ErrBusy, ErrNoSpace, ErrOtherJob,
// ErrStray), ErrUpstreamChanged, ErrLocalChanged, and those of fetch, registry,
// lock and sign.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	begun := time.Now()
	p, err := prepareInputs(opt, event.Named(sink, verb))
	if err != nil {
		return Result{}, err
	}
	p.sink.Emit(event.Event{Kind: event.Start, Message: p.name, Total: p.payloadSize()})
	result, err := p.runPacking(ctx)
	if err != nil {
		return Result{}, err
	}
	result.Wall = time.Since(begun)
	p.emitResult(result)
	return result, nil
}

// packing is one run.
type packing struct {
	opt   Options
	sink  event.Sink
	name  string
	lock  *lock.Lock
	text  []byte // the lock's own text
	slots []lock.Slot
	key   *sign.PrivateKey // nil: not signed
	fill  *filler
}

// prepareInputs reads all inputs, so that what is wrong with them is known before
// anything is written.
func prepareInputs(opt Options, sink event.Sink) (*packing, error) {
	l, err := lock.Read(opt.Lock)
	if err != nil {
		return nil, err
	}
	p := &packing{opt: opt, sink: sink, lock: l, slots: l.Slots(), name: l.Metadata.Name + "-" + l.Metadata.Version}
	if p.text, err = l.Marshal(); err != nil {
		return nil, err
	}
	if err := p.checkLedger(); err != nil {
		return nil, err
	}
	if opt.Key != "" {
		if p.key, err = sign.LoadPrivateKey(opt.Key, opt.Password); err != nil {
			return nil, err
		}
	}
	p.fill, err = newFiller(opt, sink, p.slots)
	return p, err
}

// checkLedger writes the ledger for nothing: it has the size of the one that
// follows the sealed bundle, whose index is not known yet.
func (p *packing) checkLedger() error {
	index := digest.FromBytes(nil)
	if _, err := makeLedger(p.lock, p.lockDigest(), index, creationTime(p.opt.Now)).Marshal(); err != nil {
		return fmt.Errorf("packing %s: %w", p.opt.Lock, err)
	}
	return nil
}

func newFiller(opt Options, sink event.Sink, slots []lock.Slot) (*filler, error) {
	how := opt.Fetch
	how.Sink = sink
	if how.PerHost == 0 {
		how.PerHost = max(workersOf(opt), fetch.DefaultPerHost)
	}
	if opt.Upstreams != "" {
		ups, err := stack.ReadUpstreams(opt.Upstreams)
		if err != nil {
			return nil, err
		}
		how.Upstreams = ups
	}
	client, err := fetch.New(how)
	if err != nil {
		return nil, err
	}
	models, err := hub.New(client, hub.Options{Token: opt.HubToken})
	if err != nil {
		return nil, err
	}
	older, err := openStock(opt.Reuse)
	if err != nil {
		return nil, err
	}
	return &filler{
		stock: older, client: client, puller: registry.NewPuller(client), hub: models, builder: kustomize.NewBuilder(client, opt.Builder),
		dir: filepath.Dir(opt.Lock), meter: newMeter(sink, slots), sink: sink,
		tool: sync.OnceValues(func() (*agent.Image, error) { return agent.Build(opt.Agent) }),
	}, nil
}

// workersOf is how many blobs are under way at once: enough to hide the latency
// of upstreams, few enough to bound memory.
func workersOf(opt Options) int {
	if opt.Workers > 0 {
		return opt.Workers
	}
	return min(8, max(4, 2*runtime.NumCPU()))
}

func (p *packing) payloadSize() (total int64) {
	for _, s := range p.slots {
		total += s.Size
	}
	return total
}

func (p *packing) runPacking(ctx context.Context) (Result, error) {
	defer p.fill.client.CloseIdle()
	defer p.fill.builder.Close()
	defer p.fill.stock.Close()
	unchanged, err := p.buildVolumes(ctx)
	if err != nil {
		return Result{}, err
	}
	result, err := p.finishBundle(unchanged)
	result.Fetched, result.Reused = p.fill.meter.fetchedBytes(), p.fill.meter.reusedBytes()
	return result, err
}

// buildVolumes makes the head and the volumes. It reports whether they were there.
func (p *packing) buildVolumes(ctx context.Context) (unchanged bool, err error) {
	slots := make([]bundle.Slot, len(p.slots))
	for i, s := range p.slots {
		slots[i] = bundle.Slot{Key: s.Key, Digest: s.Digest, Size: s.Size}
	}
	w, err := bundle.Create(ctx, p.opt.Output, p.name, p.lockDigest(), slots, bundle.WriterOptions{VolumeSize: p.opt.VolumeSize})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := p.fetchContent(ctx, w); err != nil {
		return false, err
	}
	if w.Sealed() {
		return true, w.Flush(ctx)
	}
	contents, err := p.headContents(w)
	if err != nil {
		return false, err
	}
	_, err = w.Seal(ctx, contents)
	return false, err
}

func (p *packing) lockDigest() digest.Digest { return digest.FromBytes(p.text) }

// fetchContent brings in all that the lock names: what the head needs first, because a
// missing manifest should be known early, then payload, largest first, because
// the last worker then ends soonest after the others.
func (p *packing) fetchContent(ctx context.Context, w *bundle.Writer) error {
	g, working := errgroup.WithContext(ctx)
	g.SetLimit(workersOf(p.opt))
	for _, h := range p.lock.HeadBlobs() {
		p.spawnUnlessFailed(working, g, func() error { return p.fill.headBlob(working, w, h) })
	}
	for _, i := range p.largestFirst() {
		p.spawnUnlessFailed(working, g, func() error { return p.fill.fillSlot(working, w, i, p.slots[i]) })
	}
	err := g.Wait()
	if err != nil {
		p.fill.meter.endUnfinished()
	}
	return err
}

// spawnUnlessFailed starts no work after the first failure.
func (p *packing) spawnUnlessFailed(ctx context.Context, g *errgroup.Group, do func() error) {
	g.Go(func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return do()
	})
}

func (p *packing) largestFirst() []int {
	order := make([]int, len(p.slots))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.slots[b].Size, p.slots[a].Size) })
	return order
}

// headContents makes what the head holds beside what was fetched for it.
func (p *packing) headContents(w *bundle.Writer) (bundle.Contents, error) {
	wrapped, err := p.wrapManifests(w)
	if err != nil {
		return bundle.Contents{}, err
	}
	descriptors, err := p.lock.Descriptors(wrapped)
	if err != nil {
		return bundle.Contents{}, err
	}
	bill, err := makeSBOM(p.lock, p.lockDigest(), wrapped)
	if err != nil {
		return bundle.Contents{}, fmt.Errorf("writing the SBOM: %w", err)
	}
	return bundle.Contents{
		Name: p.lock.Metadata.Name, Version: p.lock.Metadata.Version,
		Lock: p.text, SBOM: bill, Descriptors: descriptors,
	}, nil
}

// wrapManifests makes the manifests of charts, models and files, now that the digest of
// every layer is known.
func (p *packing) wrapManifests(w *bundle.Writer) (map[imageref.Ref]ocispec.Descriptor, error) {
	layers := map[string]digest.Digest{}
	for i, s := range p.slots {
		if d, ok := w.SlotDigest(i); ok {
			layers[s.Key] = d
		}
	}
	wrapped := map[imageref.Ref]ocispec.Descriptor{}
	put := func(ref imageref.Ref, wrap wrapping) error {
		manifest, config, err := wrap(func(key string) digest.Digest { return layers[key] })
		if err != nil {
			return err
		}
		w.PutMeta(config)
		wrapped[ref] = ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: w.PutMeta(manifest), Size: int64(len(manifest)),
		}
		return nil
	}
	for i := range p.lock.Items {
		it := &p.lock.Items[i]
		if it.Wrapped() {
			if err := put(it.Ref, it.Wrap); err != nil {
				return nil, err
			}
		}
		if ref := it.PackRef(); ref != "" {
			if err := put(ref, it.WrapPack); err != nil {
				return nil, err
			}
		}
	}
	return wrapped, nil
}

// wrapping makes a manifest and its config, given the digests of layers by key.
type wrapping func(layer func(key string) digest.Digest) (manifest, config []byte, err error)

// finishBundle adds what is bound to time or to a signer: binaries, ledger, signature.
func (p *packing) finishBundle(unchanged bool) (Result, error) {
	files, err := p.findFiles()
	if err != nil {
		return Result{}, err
	}
	h, err := cargo.ReadHead(files)
	if err != nil {
		return Result{}, err
	}
	defer h.Close()
	result := Result{
		Name: p.name, Dir: p.opt.Output, Index: h.IndexDigest(), Payload: p.payloadSize(),
		Volumes: h.Table().Volumes(), Unchanged: unchanged,
	}
	t, err := p.makeTerm()
	if err != nil {
		return result, err
	}
	if err := p.writeLedger(&files, h.IndexDigest(), t.created); err != nil {
		return result, err
	}
	result.Signature, err = p.signBundle(files, t)
	return result, err
}

// findFiles finds the bundle just made.
func (p *packing) findFiles() (bundle.Files, error) {
	found, err := cargo.Find("looking for "+p.name, filepath.Join(p.opt.Output, p.name+".head.tar"))
	if err != nil {
		return bundle.Files{}, err
	}
	return found[0], nil
}

func (p *packing) makeTerm() (term, error) {
	binaries, err := copyTools(p.opt.Tool, p.opt.Output)
	return term{created: creationTime(p.opt.Now), sequence: p.opt.Sequence, expires: p.opt.Expires, binaries: binaries}, err
}

// writeLedger writes the ledger, unless one about this very bundle is there: the
// signatures beside it name its digest.
func (p *packing) writeLedger(files *bundle.Files, index digest.Digest, created time.Time) error {
	if files.Ledger != "" {
		if have, err := readLedger(files.Ledger); err == nil && have.Index == index && have.Lock == p.lockDigest() {
			return nil
		}
	}
	text, err := makeLedger(p.lock, p.lockDigest(), index, created).Marshal()
	if err != nil {
		return err
	}
	if _, err := bundle.WriteLedger(p.opt.Output, p.name, text); err != nil {
		return err
	}
	*files, err = p.findFiles()
	return err
}

func (p *packing) signBundle(files bundle.Files, t term) (*Signature, error) {
	if p.key == nil {
		if len(files.Signatures) == 0 {
			p.sink.Emit(event.Event{Kind: event.Warning, Item: p.name, Message: "the bundle is not signed; nothing at the site will accept it"})
		}
		return nil, nil
	}
	one, err := signer{key: p.key, packed: true, term: t, sink: p.sink}.signBundle(files)
	return &one, err
}

func (p *packing) emitResult(r Result) {
	fields := map[string]any{
		"name": r.Name, "directory": r.Dir, "index": r.Index, "lock": p.lockDigest(), "volumes": r.Volumes,
		"payload": r.Payload, "fetched": r.Fetched, "reused": r.Reused, "seconds": r.Wall.Seconds(), "unchanged": r.Unchanged,
		"rate": float64(r.Fetched) / r.Wall.Seconds(), "items": len(p.lock.Items), "signed": r.Signature != nil,
	}
	if r.Signature != nil {
		fields["keyID"] = r.Signature.KeyID
	}
	p.sink.Emit(event.Event{Kind: event.End, Bytes: r.Payload, Total: r.Payload})
	p.sink.Emit(event.Event{Kind: event.Result, Message: r.Name, Bytes: r.Payload, Total: r.Payload, Fields: fields})
}
