package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/command/inspect"
	"github.com/caisson/caisson/internal/command/load"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/resolve"
	"github.com/caisson/caisson/internal/command/verify"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/output"
)

// next leads to the command that usually follows.
func (p *page) next(format string, args ...any) {
	p.line("%s %s", p.style.Bold("next:"), fmt.Sprintf(format, args...))
}

func (p *page) resolved(r resolve.Result) {
	p.line("%s: %s %s, %s to carry", r.Path, r.Lock.Metadata.Name, r.Lock.Metadata.Version, p.style.Bold(bytesize.Text(r.Payload)))
	var rows [][]string
	for _, k := range []lock.Kind{lock.Image, lock.Chart, lock.Model, lock.File, lock.Manifest, lock.Referrer} {
		if n := r.Counts[k]; n > 0 {
			rows = append(rows, []string{fmt.Sprint(n), plural(string(k), n)})
		}
	}
	p.table(rows, 0)
	e := r.Evidence
	p.line("  signatures and attestations: %d found, %d carried, %d missing, %d failed", e.Found, e.Carried, e.Missing, e.Failed)
	p.next("caisson pack %s -o DIR --key caisson.key", r.Path)
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// publicOf guesses where the public half of a key file lies.
func publicOf(key string) string {
	if base, ok := strings.CutSuffix(key, ".key"); ok {
		return base + ".pub"
	}
	return "FILE.pub"
}

func (p *page) packed(r pack.Result, key string) {
	state := "packed"
	if r.Unchanged {
		state = "unchanged"
	}
	p.line("%s %s in %s", p.style.Bold(r.Name), state, r.Dir)
	signed := "no: add a signature with caisson sign " + r.Dir + " --key FILE"
	if s := r.Signature; s != nil {
		signed = "by key " + s.KeyID
	}
	p.facts(
		[2]string{"payload", bytesize.Text(r.Payload) + " in " + output.Count(r.Volumes, "volume")},
		[2]string{"fetched", bytesize.Text(r.Fetched) + " in " + output.Duration(r.Wall)},
		[2]string{"index", hex(r.Index)},
		[2]string{"signed", signed},
	)
	p.next("caisson verify %s --key %s", r.Dir, publicOf(key))
}

func (p *page) keysMade(dir, id string) {
	p.facts(
		[2]string{"private", filepath.Join(dir, "caisson.key") + "  (keep it; it signs)"},
		[2]string{"public", filepath.Join(dir, "caisson.pub") + "  (give it to the site)"},
		[2]string{"key id", id},
	)
}

func (p *page) signed(r pack.SignResult) {
	for _, s := range r.Signatures {
		how := "signed"
		if s.Kept {
			how = "was signed already"
		}
		p.line("%s %s by key %s: %s", s.Bundle, how, s.KeyID, s.File)
	}
}

func (p *page) verified(r verify.Result) {
	errors := 0
	for _, f := range r.Findings {
		if f.Severity == event.Error {
			errors++
		}
	}
	for _, b := range r.Bundles {
		verdict := p.style.Green("trusted, complete and undamaged")
		switch {
		case !b.Trusted:
			verdict = p.style.Red("NOT TRUSTED")
		case b.Stale:
			verdict = p.style.Red("EXPIRED, OR THE CLOCK IS WRONG")
		case !b.Intact:
			verdict = p.style.Red("DAMAGED OR INCOMPLETE")
		}
		p.line("%s: %s", strings.TrimSpace(output.Clean(b.Name)), verdict)
		p.facts([2]string{"signed by", strings.Join(b.Keys, ", ")}, [2]string{"sequence", nonZero(b.Sequence)}, [2]string{"index", hex(b.Index)})
	}
	p.line("%s read, %s", bytesize.Text(r.Bytes), output.Count(errors, "error"))
}

// hex is a digest without its algorithm, which is always sha256.
func hex(d digest.Digest) string {
	return strings.TrimPrefix(string(d), "sha256:")
}

func nonZero(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (p *page) loaded(r load.Result, opt load.Options) {
	p.line("%s has all %s", p.style.Bold(r.Registry), output.Count(r.References, "reference"))
	p.facts(
		[2]string{"sent", fmt.Sprintf("%s in %s, %s", bytesize.Text(r.Pushed), output.Count(r.Blobs, "blob"), output.Duration(r.Duration))},
		[2]string{"there already", alreadyThere(r)},
		[2]string{"mounted", nonZero(int64(r.Mounted))},
	)
	p.next("caisson plan %s --key %s --site SITE.yaml -o PLAN.json", strings.Join(opt.Paths, " "), strings.Join(opt.Keys, " --key "))
}

// alreadyThere is what load did not have to send: whole references, and single
// blobs of the others.
func alreadyThere(r load.Result) string {
	text := output.Count(r.SkippedReferences, "whole reference")
	if r.SkippedBlobs > 0 {
		text += fmt.Sprintf(", %s in %s", bytesize.Text(r.SkippedBytes), output.Count(r.SkippedBlobs, "other blob"))
	}
	return text
}

func (p *page) inspected(r inspect.Result, asked bool) {
	for i, b := range r.Bundles {
		if i > 0 {
			p.blank()
		}
		p.bundle(b, asked)
	}
}

func (p *page) bundle(b inspect.Bundle, asked bool) {
	p.line("%s", p.style.Bold(output.Clean(b.Name)))
	p.line("  %s", p.trust(b, asked))
	p.facts(
		[2]string{"version", b.Version},
		[2]string{"index", hex(b.Index)},
		[2]string{"platforms", strings.Join(b.Platforms, ", ")},
		[2]string{"payload", fmt.Sprintf("%s in %s", bytesize.Text(b.Payload), output.Count(b.Blobs, "blob"))},
		[2]string{"head", bytesize.Text(b.HeadSize)},
		[2]string{"volumes", volumesLine(b.Volumes)},
	)
	for _, s := range b.Signers {
		p.line("  signature  %s", output.Clean(signerLine(s)))
	}
	for _, name := range b.Volumes.Missing {
		p.line("  %s %s", p.style.Red("missing"), output.Clean(name))
	}
	for _, c := range byComponent(b.Items, b.Parts) {
		p.blank()
		p.line("%s", p.style.Bold(output.Clean(c.name)))
		p.table(c.rows, 2)
	}
}

func (p *page) trust(b inspect.Bundle, asked bool) string {
	switch {
	case b.Verified:
		return p.style.Green("verified: signed by " + strings.Join(b.Keys, ", ") + "; volumes not read")
	case asked:
		return p.style.Red("NOT TRUSTED: no signature by the given key")
	}
	return p.style.Red("NOT VERIFIED: no --key given, all below is the bundle's own claim")
}

func volumesLine(v inspect.Volumes) string {
	s := fmt.Sprintf("%d of up to %s", v.Count, bytesize.Text(v.Size))
	if v.Found == v.Count {
		return s + ", all here"
	}
	return fmt.Sprintf("%s, %d here", s, v.Found)
}

func signerLine(s inspect.Signer) string {
	if s.Problem != "" {
		return filepath.Base(s.File) + ": " + s.Problem
	}
	parts := []string{s.KeyID, fmt.Sprintf("sequence %d", s.Sequence), s.Created}
	if s.Expires != "" {
		parts = append(parts, "expires "+s.Expires)
	}
	return strings.Join(parts, ", ")
}

// section is the items of one component as table rows.
type section struct {
	name string
	rows [][]string
}

// byComponent groups items by their components, in the stack's order; what
// several share comes with the first of them, and what nobody names comes last.
func byComponent(items []inspect.Item, order []string) []section {
	var out []section
	at := map[string]int{}
	rank := map[string]int{}
	for _, it := range items {
		name, first := "no component", len(order)
		if len(it.Components) > 0 {
			name, first = strings.Join(it.Components, ", "), slices.Index(order, it.Components[0])
		}
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name], rank[name] = i, first
			out = append(out, section{name: name})
		}
		out[i].rows = append(out[i].rows, []string{it.Ref, string(it.Kind), bytesize.Text(it.Size)})
	}
	slices.SortStableFunc(out, func(a, b section) int { return rank[a.name] - rank[b.name] })
	return out
}

func (p *page) compared(c inspect.Comparison) {
	ch := c.Changes
	p.line("%s %s > %s %s", c.Old.Name, c.Old.Version, c.New.Name, c.New.Version)
	var rows [][]string
	for _, x := range ch.Added {
		rows = append(rows, []string{x.New, "added", "+" + bytesize.Text(x.NewBytes)})
	}
	for _, x := range ch.Changed {
		rows = append(rows, []string{renamed(x), "changed", "+" + bytesize.Text(x.NewBytes)})
	}
	for _, x := range ch.Removed {
		rows = append(rows, []string{x.Old, "removed", "-" + bytesize.Text(x.OldSize)})
	}
	p.table(rows, 2)
	p.line("%d added, %d changed, %d removed, %d unchanged", len(ch.Added), len(ch.Changed), len(ch.Removed), ch.Unchanged)
	p.facts(
		[2]string{"to carry", bytesize.Text(ch.AddedBytes) + " that the older one does not have"},
		[2]string{"no longer", bytesize.Text(ch.RemovedBytes)},
		[2]string{"in all", bytesize.Text(ch.OldBytes) + " before, " + bytesize.Text(ch.NewBytes) + " now"},
	)
}

// renamed shows what a reference became: NAME:1 > 2 where only the end differs.
func renamed(c lock.Change) string {
	if c.Old == c.New {
		return c.New
	}
	repository, _, _ := lock.SplitReference(c.Old)
	if rest, ok := strings.CutPrefix(c.New, repository); ok {
		return c.Old + " > " + strings.TrimLeft(rest, ":@")
	}
	return c.Old + " > " + c.New
}
