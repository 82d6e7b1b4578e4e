// Package inspect shows what a bundle says it is.
//
// It reads heads and locks alone: no volume is opened. It holds two verbs, Run
// (inspect) and Compare (diff). What it shows is proven only where a key was
// given and fits, and it says which.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
)

// Verb names inspect in events.
const Verb = "inspect"

// Options say what to look at.
type Options struct {
	Paths []string // directories or heads
	Keys  []string // public key files; none: nothing is verified
}

// Result is what was found, one entry for each bundle.
type Result struct {
	Bundles []Bundle `json:"bundles"`
}

// Bundle is what one head says. Sizes are bytes.
type Bundle struct {
	Name      string        `json:"name"`
	Version   string        `json:"version"`
	Head      string        `json:"head"` // its path
	Index     digest.Digest `json:"index"`
	Lock      digest.Digest `json:"lock"`
	Verified  bool          `json:"verified"` // signed by a key that was given, and about this head
	Keys      []string      `json:"keys,omitempty"`
	Signers   []Signer      `json:"signers"`
	Profiles  []string      `json:"profiles,omitempty"` // of the stack, that alone are here
	Platforms []string      `json:"platforms"`
	Parts     []string      `json:"components"` // names, in the stack's order
	HeadSize  int64         `json:"headSize"`
	Payload   int64         `json:"payload"` // content of the volumes
	Stream    int64         `json:"stream"`  // all volumes
	Blobs     int           `json:"blobs"`
	Volumes   Volumes       `json:"volumes"`
	SBOM      bool          `json:"sbom"`
	// Checks counts what the signed ledger lists, by result.
	Checks map[string]int `json:"checks,omitempty"`
	// LedgerProblem says why the signed ledger cannot be read.
	LedgerProblem string `json:"ledgerProblem,omitempty"`
	Items         []Item `json:"items"`
}

// Volumes counts the volume files.
type Volumes struct {
	Count   int      `json:"count"`
	Size    int64    `json:"size"` // of each but the last
	Found   int      `json:"found"`
	Missing []string `json:"missing,omitempty"` // file names, at most 100
}

// Signer is one signature file and what it claims.
type Signer struct {
	File     string `json:"file"`
	KeyID    string `json:"keyID,omitempty"`
	Sequence int64  `json:"sequence,omitempty"`
	Created  string `json:"created,omitempty"`
	Expires  string `json:"expires,omitempty"`
	Verified bool   `json:"verified"`
	Problem  string `json:"problem,omitempty"` // why the claim cannot be read
}

// Item is one entry of the lock. Size is its payload, blobs that it shares with
// others included.
type Item struct {
	Ref        imageref.Ref  `json:"ref"`
	Kind       lock.Kind     `json:"kind"`
	Components []string      `json:"components"`
	Source     string        `json:"source"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	License    string        `json:"license,omitempty"`
	Notes      []string      `json:"notes,omitempty"` // what else its lock says of it
}

// Run reads the head of every bundle in opt.Paths. Without keys every bundle is
// shown, unverified. With keys, one whose signatures do not count is shown too,
// and the error is bundle.ErrNotTrusted.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	checker, err := loadChecker(opt.Keys)
	if err != nil {
		return Result{}, err
	}
	found, err := cargo.Find("looking in "+strings.Join(opt.Paths, ", "), opt.Paths...)
	if err != nil {
		return Result{}, err
	}
	var result Result
	var refused error
	for _, files := range found {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		b, err := inspectHead(files, checker)
		if err != nil && !errors.Is(err, bundle.ErrNotTrusted) {
			return result, err
		}
		refused = errors.Join(refused, err)
		result.Bundles = append(result.Bundles, b)
	}
	sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Message: "read", Fields: map[string]any{"bundles": result.Bundles}})
	return result, refused
}

func loadChecker(keys []string) (*sign.Checker, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	c, err := sign.LoadChecker(keys)
	return &c, err
}

// inspectHead reads one head. With ErrNotTrusted the result is complete
// nonetheless.
func inspectHead(files bundle.Files, checker *sign.Checker) (Bundle, error) {
	h, err := cargo.ReadHead(files)
	if err != nil {
		return Bundle{}, err
	}
	defer h.Close()
	out, err := summarizeHead(h)
	if err != nil {
		return out, fmt.Errorf("reading %s: %w", files.Head, err)
	}
	if checker == nil {
		return out, nil
	}
	t, err := h.Trust(*checker)
	if err != nil {
		return out, err
	}
	out.Verified, out.Keys = true, t.KeyIDs()
	markSigners(out.Signers, t.Signatures())
	out.readLedger(t.Ledger())
	return out, nil
}

// readLedger counts the checks of the signed ledger, where there is one.
func (b *Bundle) readLedger(text []byte) {
	if len(text) == 0 {
		return
	}
	g, err := ledger.Parse(text)
	if err != nil {
		b.LedgerProblem = err.Error()
		return
	}
	b.Checks = g.Count()
}

func summarizeHead(h *cargo.Head) (Bundle, error) {
	l, err := h.Lock()
	if err != nil {
		return Bundle{}, err
	}
	table := h.Table()
	return Bundle{
		Name: h.Name(), Version: h.Version(), Head: h.Files().Head,
		Index: h.IndexDigest(), Lock: h.LockDigest(),
		Signers:  listSigners(h.Claims()),
		Profiles: l.Metadata.Profiles, Platforms: l.Platforms, HeadSize: h.HeadSize(),
		Payload: table.ContentSize(), Stream: table.StreamSize(), Blobs: table.Len(),
		Parts: componentNames(l.Components), Volumes: countVolumes(h), SBOM: hasSBOM(h), Items: listItems(h, l),
	}, nil
}

func componentNames(components []lock.Component) []string {
	out := make([]string, 0, len(components))
	for _, c := range components {
		out = append(out, c.Name)
	}
	return out
}

func hasSBOM(h *cargo.Head) bool {
	text, err := h.SBOM()
	return err == nil && len(text) > 0
}

const maxListed = 100

func countVolumes(h *cargo.Head) Volumes {
	table, files := h.Table(), h.Files()
	v := Volumes{Count: table.Volumes(), Size: table.VolumeSize()}
	for n := range v.Count {
		if len(files.Volumes[n]) > 0 {
			v.Found++
		} else if len(v.Missing) < maxListed {
			v.Missing = append(v.Missing, fmt.Sprintf("%s.vol-%05d.tar", files.Name, n))
		}
	}
	return v
}

func listItems(h *cargo.Head, l *lock.Lock) []Item {
	sizes := map[imageref.Ref]int64{}
	for _, s := range l.Slots() {
		for _, ref := range s.Items {
			sizes[ref] += s.Size
		}
	}
	out := make([]Item, 0, len(l.Items))
	for _, it := range l.Items {
		d, _ := h.Find(string(it.Ref))
		said := it.Describe(d.Digest)
		out = append(out, Item{
			Ref: it.Ref, Kind: it.Kind, Components: it.Components, Source: it.Source,
			Digest: d.Digest, Size: sizes[it.Ref], License: said.License(), Notes: said.Notes,
		})
	}
	return out
}

// listSigners lists what the signature files claim. Nothing of it is proven.
func listSigners(claims []cargo.Claim) []Signer {
	out := make([]Signer, len(claims))
	for i, c := range claims {
		out[i] = Signer{File: c.File}
		if c.Err != nil {
			out[i].Problem = c.Err.Error()
			continue
		}
		p := c.Statement.Predicate
		out[i].KeyID, out[i].Sequence, out[i].Created, out[i].Expires = c.KeyID, p.Sequence, p.Created, p.Expires
	}
	return out
}

func markSigners(all []Signer, accepted []bundle.Signature) {
	for i := range all {
		all[i].Verified = slices.ContainsFunc(accepted, func(s bundle.Signature) bool { return s.File == all[i].File })
	}
}
