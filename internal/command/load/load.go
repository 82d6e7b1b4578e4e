// Package load pushes trusted bundles into a site's own registry: blobs once
// each and mounted everywhere else, manifests after what they name, then tags
// and referrers, and reads back what it wrote.
//
// The registry is asked what it has, so running again continues. Bytes go from
// the volumes to the connection, each block hashed before; nothing is written
// to disk.
package load

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
)

// Verb names this verb in events.
const Verb = "load"

const defaultWorkers = 8

// Options says what to push and where to.
type Options struct {
	Paths     []string // bundle directories or heads
	Keys      []string // public key files
	Registry  string   // HOST[:PORT][/PREFIX]
	PlainHTTP bool     // without TLS; loopback always is
	Workers   int      // requests at once; default 8
	CAFile    string   // PEM certificates that TLS trusts beside the system's; a loopback address has TLS then
	Push      registry.PushOptions

	AllowExpired bool // load a bundle although its statement has expired
}

// Result is what a run did. Sizes are bytes.
type Result struct {
	Registry          string           `json:"registry"`
	References        int              `json:"references"` // of the bundles, all of which the registry now has
	Manifests         int              `json:"manifests"`  // pushed
	Blobs             int              `json:"blobs"`      // sent
	Pushed            int64            `json:"pushed"`     // bytes of blobs sent
	Mounted           int              `json:"mounted"`    // blobs mounted from another repository
	SkippedBlobs      int              `json:"skippedBlobs"`
	SkippedBytes      int64            `json:"skippedBytes"`
	SkippedReferences int              `json:"skippedReferences"` // found complete
	Children          []registry.Child `json:"children,omitempty"`
	Checks            []ledger.Check   `json:"checks,omitempty"` // made before anything was pushed
	Duration          time.Duration    `json:"-"`
}

// Run loads every bundle in opt.Paths. It stops at the first error; what was
// pushed stays, and running again continues from there.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	sink = event.Named(sink, Verb)
	began := time.Now()
	bundles, err := cargo.OpenAll(ctx, opt.Paths, opt.Keys, cargo.Options{AllowExpired: opt.AllowExpired}, sink)
	if err != nil {
		return Result{}, err
	}
	defer bundles.Close()
	l, err := newLoader(bundles, opt, sink)
	if err != nil {
		return Result{}, err
	}
	for _, b := range bundles {
		l.result.Checks = append(l.result.Checks, b.Checks(began)...)
	}
	res, err := l.run(ctx)
	res.Duration = time.Since(began)
	if err != nil {
		l.emitDamage(err)
		return res, err
	}
	sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Message: "loaded", Fields: map[string]any{"result": res}})
	return res, nil
}

// target is a manifest or blob in a repository.
type target struct {
	repository string
	digest     digest.Digest
}

// loader is one run. Its maps are guarded by mu.
type loader struct {
	bundles cargo.Bundles
	catalog *catalog.Catalog
	pusher  *registry.Pusher
	sink    event.Sink
	opt     Options
	refs    func() map[digest.Digest][]string

	aims
	mu       sync.Mutex
	have     map[target]bool // manifests the registry has
	tagged   map[string]digest.Digest
	children map[target]child // indexes that the registry refused
	written  []target         // pushed by digest
	wrote    []tag            // tags pushed
	result   Result
	sent     atomic.Int64
	total    int64
}

func newLoader(bundles cargo.Bundles, opt Options, sink event.Sink) (*loader, error) {
	c, err := bundles.Catalog()
	if err != nil {
		return nil, err
	}
	if opt.Workers <= 0 {
		opt.Workers = defaultWorkers
	}
	l := &loader{
		bundles: bundles, catalog: c, sink: sink, opt: opt, refs: sync.OnceValue(c.References),
		aims: newAims(c), have: map[target]bool{}, tagged: map[string]digest.Digest{}, children: map[target]child{},
	}
	l.result.Registry, l.result.References = opt.Registry, len(c.Entries)
	push := opt.Push
	push.PlainHTTP = push.PlainHTTP || opt.PlainHTTP
	push.Retry = l.emitRetry
	if opt.CAFile != "" {
		if push.RootCAs, err = registry.TrustAlso(opt.CAFile); err != nil {
			return nil, err
		}
	}
	l.pusher, err = registry.NewPusher(opt.Registry, push)
	return l, err
}

func (l *loader) run(ctx context.Context) (Result, error) {
	l.sink.Emit(event.Event{Verb: Verb, Kind: event.Start, Message: "loading into " + l.opt.Registry})
	for _, c := range l.catalog.Clashes {
		l.emitWarning("tag-clash", c.Repository+":"+c.Tag, "the bundles tag different images so; the one with the highest sequence gets the tag: %s, not %s", c.Kept, c.Dropped)
	}
	steps := []func(context.Context) error{l.pusher.Check, l.findExisting, l.sendBlobs, l.pushManifests, l.pushTags, l.listReferrers, l.readBack}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return l.result, err
		}
	}
	l.result.Children = l.listChildren()
	l.sink.Emit(event.Event{Verb: Verb, Kind: event.End, Message: "loaded into " + l.opt.Registry})
	return l.result, nil
}

// each runs do for every element, opt.Workers at once, in order of start.
func each[T any](ctx context.Context, workers int, list []T, do func(context.Context, T) error) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, v := range list {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return do(inner, v) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (l *loader) repositories() []*catalog.Repository {
	out := make([]*catalog.Repository, 0, len(l.catalog.Repositories))
	for _, name := range l.catalog.RepositoryNames() {
		out = append(out, l.catalog.Repositories[name])
	}
	return out
}

// findExisting asks for every tag, then for every manifest that no tag answered for.
// A manifest that the registry has stands for its blobs: registries take none
// without them.
func (l *loader) findExisting(ctx context.Context) error {
	err := each(ctx, l.opt.Workers, l.allTags, func(ctx context.Context, t tag) error {
		d, err := l.pusher.ManifestDigest(ctx, t.repository.Name, t.name)
		if err == nil && d != "" {
			l.noteTag(t, d)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = each(ctx, l.opt.Workers, l.missingManifests(), func(ctx context.Context, p target) error {
		d, err := l.pusher.ManifestDigest(ctx, p.repository, p.digest.String())
		if err == nil && d == p.digest {
			l.notePresent(p)
		}
		return err
	})
	l.countSkipped()
	return err
}

// countSkipped counts the references whose manifests and tag are all in place.
func (l *loader) countSkipped() {
	missing := map[target]bool{}
	for _, p := range l.missingManifests() {
		missing[p] = true
	}
	for _, e := range l.catalog.Entries {
		r := l.catalog.Repositories[e.Repository]
		t, tagged := l.wanted[target{r.Name, e.Descriptor.Digest}]
		if !lacksManifest(r, e.Descriptor.Digest, missing) && (!tagged || l.tagTarget(t) == e.Descriptor.Digest) {
			l.result.SkippedReferences++
		}
	}
}

func lacksManifest(r *catalog.Repository, d digest.Digest, missing map[target]bool) bool {
	m, carried := r.Manifests[d]
	if !carried {
		return false
	}
	for _, c := range m.Children {
		if lacksManifest(r, c.Digest, missing) {
			return true
		}
	}
	return missing[target{r.Name, d}]
}

// tag is a tag of a repository in the catalogue.
type tag struct {
	repository *catalog.Repository
	name       string
}

func (t tag) key() string { return t.repository.Name + ":" + t.name }

func (l *loader) noteTag(t tag, d digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tagged[t.key()] = d
	if _, ours := t.repository.Manifests[d]; ours {
		l.have[target{t.repository.Name, d}] = true
	}
}

func (l *loader) notePresent(p target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have[p] = true
}

// missingManifests lists the manifests that the registry is not known to have, children
// first in each repository.
func (l *loader) missingManifests() []target {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []target
	for _, r := range l.repositories() {
		for _, d := range r.Order {
			if p := (target{r.Name, d}); !l.have[p] && !l.merged[p] {
				out = append(out, p)
			}
		}
	}
	return out
}

// parcel is one blob and where it must go.
type parcel struct {
	blob ocispec.Descriptor
	to   []string // repositories that lack a manifest naming it, at least one
	from string   // a repository that has it; empty: none is known
}

// sendBlobs sends every blob of a missing manifest once and mounts it elsewhere.
func (l *loader) sendBlobs(ctx context.Context) error {
	parcels := l.listParcels()
	for _, p := range parcels {
		l.total += p.blob.Size
	}
	l.emitProgress(0)
	return each(ctx, l.opt.Workers, parcels, l.deliverParcel)
}

// listParcels lists the blobs to move in the bundles' order, which is theirs in the
// volumes.
func (l *loader) listParcels() []*parcel {
	missing := map[target]bool{}
	for _, p := range l.missingManifests() {
		missing[p] = true
	}
	var out []*parcel
	at := map[digest.Digest]*parcel{}
	holder := map[digest.Digest]string{}
	for _, e := range l.catalog.Entries {
		l.parcelsOf(l.catalog.Repositories[e.Repository], e.Descriptor.Digest, missing, holder, func(b ocispec.Descriptor, repository string) {
			p, ok := at[b.Digest]
			if !ok {
				p = &parcel{blob: b}
				at[b.Digest] = p
				out = append(out, p)
			}
			if !slices.Contains(p.to, repository) {
				p.to = append(p.to, repository)
			}
		})
	}
	for _, p := range out {
		p.from = holder[p.blob.Digest]
	}
	return out
}

func (l *loader) parcelsOf(r *catalog.Repository, d digest.Digest, missing map[target]bool, holder map[digest.Digest]string, need func(ocispec.Descriptor, string)) {
	m, ok := r.Manifests[d]
	if !ok {
		return
	}
	for _, c := range m.Children {
		l.parcelsOf(r, c.Digest, missing, holder, need)
	}
	for _, b := range m.Blobs() {
		if missing[target{r.Name, d}] {
			need(b, r.Name)
		} else {
			holder[b.Digest] = r.Name
		}
	}
}

// deliverParcel brings one blob to all its repositories: it is sent to one at most.
func (l *loader) deliverParcel(ctx context.Context, p *parcel) error {
	from := p.from
	for _, to := range p.to { // who has it already can give it to the others
		have, err := l.pusher.HasBlob(ctx, to, p.blob.Digest)
		if err != nil {
			return err
		}
		if have {
			l.countSkippedBlob(p.blob)
			p.to = slices.DeleteFunc(slices.Clone(p.to), func(r string) bool { return r == to })
			from = to
			break
		}
	}
	for _, to := range p.to {
		outcome, err := l.pusher.Upload(ctx, to, from, p.blob, func() (io.ReadCloser, error) { return l.openBlob(p.blob) })
		if err != nil {
			return err
		}
		l.countDelivered(p.blob, outcome)
		from = to
	}
	return nil
}

func (l *loader) countSkippedBlob(b ocispec.Descriptor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.SkippedBlobs++
	l.result.SkippedBytes += b.Size
	l.emitProgress(b.Size)
}

func (l *loader) countDelivered(b ocispec.Descriptor, o registry.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o == registry.Mounted {
		l.result.Mounted++
		return
	}
	l.result.Blobs++
	l.result.Pushed += b.Size
}

// openBlob reads a blob.
func (l *loader) openBlob(b ocispec.Descriptor) (io.ReadCloser, error) {
	r, err := l.bundles.Open(b.Digest, 0, b.Size)
	if err != nil {
		return nil, err
	}
	return &metered{inner: r, loader: l}, nil
}

// metered tells how far a blob has come.
type metered struct {
	inner  io.ReadCloser
	loader *loader
	read   int64
	told   int64
}

const tellEvery = 4 << 20

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.inner.Read(p)
	m.read += int64(n)
	if m.read-m.told >= tellEvery || err != nil {
		m.loader.emitProgress(m.read - m.told)
		m.told = m.read
	}
	return n, err
}

func (m *metered) Close() error { return m.inner.Close() }

func (l *loader) emitProgress(n int64) {
	l.sink.Emit(event.Event{Verb: Verb, Kind: event.Progress, Bytes: min(l.sent.Add(n), l.total), Total: l.total})
}

func (l *loader) emitRetry(what string, attempt int, why error) {
	l.sink.Emit(event.Event{Verb: Verb, Kind: event.Retry, Item: what, Message: why.Error(), Fields: map[string]any{"attempt": attempt}})
}

func (l *loader) emitWarning(code, item, format string, args ...any) {
	l.sink.Emit(event.Event{Verb: Verb, Kind: event.Warning, Item: item, Message: fmt.Sprintf(format, args...), Fields: map[string]any{"code": code}})
}

// emitDamage turns damage that stopped the run into a finding with its place.
func (l *loader) emitDamage(err error) {
	f, ok := l.catalog.Damage(err)
	if !ok {
		return
	}
	l.sink.Emit(event.Event{Verb: Verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
}
