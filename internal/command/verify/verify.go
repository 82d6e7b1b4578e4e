// Package verify proves what arrived: the signature first, then that the set of
// files is complete, then every byte, on all cores. It reports everything it
// finds and not only the first.
//
// Of a bundle that is not trusted it says what the head alone can tell, and
// never that it is good. It writes nothing.
package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
)

// Verb names this verb in events.
const Verb = "verify"

// Outcomes other than success. Run returns the first that holds.
var (
	ErrNotTrusted = fmt.Errorf("not every bundle counts: %w", bundle.ErrNotTrusted)
	ErrOutOfTerm  = errors.New("not every bundle counts now") // and cargo.ErrExpired or cargo.ErrClock
	ErrDamaged    = fmt.Errorf("not every bundle is whole: %w", bundle.ErrDamaged)
)

// Options says what to verify. Keys are public key files.
type Options struct {
	Paths   []string
	Keys    []string
	Workers int       // default: one per core
	Now     time.Time // the clock that terms are held against; default: the machine's
}

// Result is what was found. Bytes counts those of volumes that were read and
// proven or found wanting.
type Result struct {
	Trusted  bool            `json:"trusted"` // every bundle is
	Findings []event.Finding `json:"findings"`
	Bytes    int64           `json:"bytes"`
	Bundles  []Bundle        `json:"bundles"`
}

// Bundle is one bundle's outcome.
type Bundle struct {
	Name     string        `json:"name"`
	Version  string        `json:"version,omitempty"`
	Index    digest.Digest `json:"index,omitempty"`
	Keys     []string      `json:"keys,omitempty"` // ids of the keys whose signatures count
	Sequence int64         `json:"sequence,omitempty"`
	Trusted  bool          `json:"trusted"`
	NoLedger bool          `json:"noLedger,omitempty"` // it is signed, and the ledger that the signature names is missing
	Stale    bool          `json:"stale,omitempty"`    // expired, or the clock says that it is not made yet
	Intact   bool          `json:"intact"`             // trusted, not stale, complete and every byte proven
}

// Run verifies every bundle in opt.Paths. The result is complete whenever the
// error is nil, ErrNotTrusted, ErrOutOfTerm or ErrDamaged.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	checker, err := sign.LoadChecker(opt.Keys)
	if err != nil {
		return Result{}, err
	}
	found, err := cargo.Find(fmt.Sprintf("verifying %q", opt.Paths), opt.Paths...)
	if err != nil {
		return Result{}, err
	}
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	r := &run{opt: opt, sink: sink, checker: checker, result: Result{Trusted: true, Findings: []event.Finding{}}}
	for _, files := range found {
		if err := r.verifyBundle(ctx, files); err != nil {
			return r.result, err
		}
	}
	return r.finish()
}

// run gathers findings, from many goroutines.
type run struct {
	opt     Options
	sink    event.Sink
	checker sign.Checker
	mu      sync.Mutex
	result  Result
	errors  int   // findings of that severity
	term    error // why a trusted bundle does not count now
	fake    bool  // a bundle was read and nobody whose key counts signed it
}

func (r *run) finish() (Result, error) {
	r.sink.Emit(event.Event{
		Verb: Verb, Kind: event.Result, Message: r.summarize(), Bytes: r.result.Bytes,
		Fields: map[string]any{
			"trusted":  r.result.Trusted,
			"findings": len(r.result.Findings),
			"bundles":  r.result.Bundles,
		},
	})
	switch {
	case r.fake:
		return r.result, ErrNotTrusted
	case r.term != nil:
		return r.result, fmt.Errorf("%w: %w", ErrOutOfTerm, r.term)
	case r.errors > 0:
		return r.result, ErrDamaged
	}
	return r.result, nil
}

func (r *run) summarize() string {
	switch {
	case r.fake:
		return "not trusted"
	case r.term != nil:
		return "expired, or the clock is wrong"
	case r.errors > 0:
		return "damaged or incomplete"
	}
	return "trusted, complete and undamaged"
}

func (r *run) report(f event.Finding) {
	r.mu.Lock()
	if f.Severity == event.Error {
		r.errors++
	}
	r.result.Findings = append(r.result.Findings, f)
	r.mu.Unlock()
	r.sink.Emit(event.Event{Verb: Verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
}

// verifyBundle verifies one bundle. Only what keeps from going on is an error.
func (r *run) verifyBundle(ctx context.Context, files bundle.Files) error {
	r.sink.Emit(event.Event{Verb: Verb, Kind: event.Start, Item: files.Name, Message: "verifying " + files.Name})
	out := Bundle{Name: files.Name}
	before := r.errors
	err := r.verifyHead(ctx, files, &out)
	out.Intact = out.Trusted && err == nil && r.errors == before
	r.result.Bundles = append(r.result.Bundles, out)
	r.result.Trusted = r.result.Trusted && out.Trusted
	r.sink.Emit(event.Event{
		Verb: Verb, Kind: event.End, Item: files.Name,
		Fields: map[string]any{"trusted": out.Trusted, "intact": out.Intact},
	})
	return err
}

// verifyHead proves the head and what follows from it: of a trusted bundle every
// byte, of another which volumes are there.
func (r *run) verifyHead(ctx context.Context, files bundle.Files, out *Bundle) error {
	h, err := cargo.ReadHead(files)
	if err != nil {
		r.report(headFinding(files, err))
		return nil
	}
	defer h.Close()
	out.Version, out.Index = h.Version(), h.IndexDigest()
	t, err := h.Trust(r.checker)
	if err != nil {
		r.report(trustFinding(files, err))
		out.NoLedger = errors.Is(err, bundle.ErrNoLedger)
		r.fake = r.fake || !out.NoLedger
		r.checkVolumes(h)
		return nil
	}
	out.Trusted, out.Keys, out.Sequence = true, t.KeyIDs(), t.Statement().Predicate.Sequence
	r.reportRejected(t)
	out.Stale = r.checkTerm(t)
	return r.checkContent(ctx, t, newItems(h))
}

func headFinding(files bundle.Files, err error) event.Finding {
	head := filepath.Base(files.Head)
	f := event.Finding{
		Severity: event.Error, Code: event.CodeHeadInvalid, Volume: head,
		What: err.Error(),
		Hint: catalog.CopyAgain(head),
	}
	switch {
	case errors.Is(err, bundle.ErrVersion), errors.Is(err, bundle.ErrDelta):
		f.Hint = "use a newer caisson"
	case errors.Is(err, os.ErrPermission):
		f.Hint = "make " + files.Head + " readable"
	}
	return f
}

// trustFinding says why a bundle is not trusted and which file is to blame, as
// far as can be told: one that a good signature contradicts, else the signature.
func trustFinding(files bundle.Files, err error) event.Finding {
	f := event.Finding{
		Severity: event.Error, Code: event.CodeNotTrusted,
		What: err.Error(),
		Why:  "nothing in a bundle counts before a key that you trust has signed it",
	}
	var signatures []string
	for _, path := range files.Signatures {
		signatures = append(signatures, filepath.Base(path))
	}
	if len(signatures) == 1 {
		f.Volume = signatures[0]
	}
	var claim *bundle.ClaimError
	switch {
	case errors.Is(err, bundle.ErrNoLedger) && errors.As(err, &claim):
		f.Code, f.Volume = event.CodeMissingLedger, claim.File
		f.What = "the ledger file " + claim.File + " is missing"
		f.Why = "the signed statement names it: it tells what was checked before the bundle was packed"
		f.Hint = catalog.CopyAgain(claim.File) + ", to where the head lies"
	case errors.As(err, &claim):
		f.Volume = claim.File
		f.Hint = catalog.CopyAgain(append([]string{claim.File}, signatures...)...) + ": they do not belong together"
	case len(signatures) == 0:
		f.Hint = "copy the .sigstore.json file from the source medium, or ask the sender for a signature"
	case errors.Is(err, sign.ErrUnknownKey):
		f.Hint = "name the key of the bundle's signer with --key, after asking the signer for it by another way; " +
			"if it is named, " + catalog.CopyAgain(signatures...)
	default:
		f.Hint = catalog.CopyAgain(signatures...) + ", or ask the sender for a signature"
	}
	return f
}

// reportRejected says which signatures did not count.
func (r *run) reportRejected(t *bundle.Trusted) {
	for _, why := range t.Rejected() {
		r.report(event.Finding{Severity: event.Notice, Code: event.CodeSignatureIgnored, What: "a signature was not counted: " + why.Error()})
	}
}

// checkTerm says whether the statement does not count now.
func (r *run) checkTerm(t *bundle.Trusted) (stale bool) {
	err := cargo.CheckTerm(t.Statement().Predicate, r.opt.Now)
	if err == nil {
		return false
	}
	f := event.Finding{
		Severity: event.Error, Code: event.CodeExpired,
		What: t.Name() + ": " + err.Error(),
		Why:  "its signer did not want it used after that",
		Hint: "ask for a newer bundle, or check this machine's clock",
	}
	if !errors.Is(err, cargo.ErrExpired) {
		f.Code, f.Why = event.CodeClock, "a wrong clock cannot tell whether a bundle has expired"
		f.Hint = "set this machine's clock"
	}
	r.term = err
	r.report(f)
	return true
}

// checkVolumes says which volumes are missing or have another size. It does not
// ask who needs them: nobody has vouched for the manifests that would tell.
func (r *run) checkVolumes(h *cargo.Head) {
	files, table := h.Files(), h.Table()
	for n := range table.Volumes() {
		if f, bad := volumeFinding(files, table, n); bad {
			r.report(f)
		}
	}
}

func volumeFinding(files bundle.Files, table *bundle.Table, n int) (f event.Finding, bad bool) {
	name, want := fmt.Sprintf("%s.vol-%05d.tar", files.Name, n), table.VolumeLength(n)
	f = event.Finding{Severity: event.Error, Volume: name, Length: want, Hint: catalog.CopyAgain(name)}
	size := int64(-1)
	for _, p := range files.Volumes[n] {
		if info, err := os.Stat(p); err == nil && info.Size() == want {
			return f, false
		} else if err == nil {
			size = max(size, info.Size())
		}
	}
	f.What = fmt.Sprintf("%s has %d bytes, it should have %d", name, size, want)
	switch {
	case size < 0:
		f.Code, f.What = string(bundle.MissingVolume), name+" is missing"
	case size < want:
		f.Code, f.Offset, f.Length = string(bundle.ShortVolume), size, want-size
	default:
		f.Code, f.Offset, f.Length = string(bundle.LongVolume), want, size-want
	}
	return f, true
}

// checkContent checks every byte of a trusted bundle.
func (r *run) checkContent(ctx context.Context, t *bundle.Trusted, items *items) error {
	var done atomic.Int64
	total := t.Table().StreamSize()
	opt := bundle.CheckOptions{Workers: r.opt.Workers, Progress: func(n int64) {
		r.sink.Emit(event.Event{Verb: Verb, Kind: event.Progress, Item: t.Name(), Bytes: done.Add(n), Total: total})
	}}
	err := t.Check(ctx, opt, func(f bundle.Finding) { r.report(items.explainFinding(t.Table(), f)) })
	r.result.Bytes += done.Load()
	if errors.Is(err, bundle.ErrDamaged) {
		return nil // all of it was reported
	}
	return err
}

// items names the references that need a blob.
type items struct{ refs map[digest.Digest][]string }

func newItems(h *cargo.Head) *items {
	c, err := h.Catalog()
	if err != nil {
		return &items{} // the head is whole; findings lack their items then
	}
	return &items{c.References()}
}

// using names, in byte order, the references that need one of the blobs.
func (i *items) using(blobs ...digest.Digest) string {
	var all []string
	for _, d := range blobs {
		all = append(all, i.refs[d]...)
	}
	slices.Sort(all)
	return listing.Some(slices.Compact(all), 5)
}

// inVolume names what needs a range of a volume.
func (i *items) inVolume(table *bundle.Table, n int, offset, length int64) string {
	start := int64(n)*table.VolumeSize() + offset
	end := start + length
	var blobs []digest.Digest
	for k := range table.Len() {
		if e := table.Entry(k); e.Offset < end && e.Offset+e.Size > start {
			blobs = append(blobs, e.Digest)
		}
	}
	return i.using(blobs...)
}

// explainFinding says what a finding of the volumes means for the references.
func (i *items) explainFinding(table *bundle.Table, f bundle.Finding) event.Finding {
	out := event.Finding{
		Severity: event.Error, Code: string(f.Code), What: f.Message, Blob: string(f.Blob),
		Volume: f.Volume, Offset: f.Offset, Length: f.Length, Hint: catalog.CopyAgain(f.Volume),
	}
	switch {
	case f.Harmless():
		out.Severity = event.Warn
	case f.Code == bundle.Unreadable:
		out.Hint += "; look after the disk if it happens again"
	}
	if f.Blob != "" {
		out.Item = i.using(f.Blob)
	} else if f.Blobs > 0 {
		out.Item = i.inVolume(table, f.VolumeIndex, f.Offset, f.Length)
	}
	return out
}
