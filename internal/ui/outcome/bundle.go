// Package outcome says what came of a verb, as a page for people.
//
// It has one function for each result that is shown. It never runs a verb, reads
// a file or knows where the page is shown: the command line and the wizard render
// the same pages.
package outcome

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

// Resolved says what a lock holds.
func Resolved(r resolve.Result) (p output.Page) {
	p.Line(output.Say("%s: %s %s, ", r.Path, r.Lock.Metadata.Name, r.Lock.Metadata.Version),
		output.Name(bytesize.Text(r.Payload)), output.Say(" to carry"))
	if profiles := r.Lock.Metadata.Profiles; len(profiles) > 0 {
		addText(&p, "  ", "of its profiles, %s alone", strings.Join(profiles, ", "))
	}
	var rows [][]string
	for _, k := range lock.Kinds() {
		switch n := r.Counts[k.Kind]; {
		case n == 1:
			rows = append(rows, []string{"1", string(k.Kind)})
		case n > 1:
			rows = append(rows, []string{fmt.Sprint(n), k.Plural})
		}
	}
	p.Add(output.Table{Rows: rows, Right: []int{0}})
	e := r.Evidence
	p.Say("  signatures and attestations: %d found, %d carried, %d missing, %d failed", e.Found, e.Carried, e.Missing, e.Failed)
	p.Next("caisson pack %s -o DIR --signing-key caisson.key", r.Path)
	return p
}

// Packed says what was written, and what signed it: key is the private key's
// file, or empty.
func Packed(r pack.Result, key string) (p output.Page) {
	state := "packed"
	if r.Unchanged {
		state = "unchanged"
	}
	p.Line(output.Name(r.Name), output.Say(" %s in %s", state, r.Dir))
	signed := "no: add a signature with caisson sign " + r.Dir + " --signing-key FILE"
	if s := r.Signature; s != nil {
		signed = "by key " + s.KeyID
	}
	p.Add(output.Facts{
		{Label: "payload", Value: bytesize.Text(r.Payload) + " in " + output.Count(r.Volumes, "volume")},
		{Label: "fetched", Value: bytesize.Text(r.Fetched) + " in " + output.Duration(r.Wall)},
		{Label: "reused", Value: reusedOf(r)},
		{Label: "index", Value: hexOf(r.Index)},
		{Label: "signed", Value: signed},
	})
	p.Next("caisson verify %s --key %s", r.Dir, publicHalf(key))
	return p
}

// reusedOf is what a pack took from older bundles; "" for nothing.
func reusedOf(r pack.Result) string {
	if r.Reused == 0 {
		return ""
	}
	return bytesize.Text(r.Reused) + " of older bundles"
}

// publicHalf guesses where the public half of a key file lies.
func publicHalf(key string) string {
	if base, ok := strings.CutSuffix(key, ".key"); ok {
		return base + ".pub"
	}
	return "FILE.pub"
}

// KeysMade says where a new key pair lies.
func KeysMade(dir, id string) (p output.Page) {
	p.Add(output.Facts{
		{Label: "private", Value: filepath.Join(dir, "caisson.key") + "  (keep it; it signs)"},
		{Label: "public", Value: filepath.Join(dir, "caisson.pub") + "  (give it to the site)"},
		{Label: "key id", Value: id},
	})
	return p
}

// Signed lists signatures, with those that were there before.
func Signed(r pack.SignResult) (p output.Page) {
	for _, s := range r.Signatures {
		how := "signed"
		if s.Kept {
			how = "was signed already"
		}
		p.Say("%s %s by key %s: %s", s.Bundle, how, s.KeyID, s.File)
	}
	return p
}

// Verified gives a verdict on each bundle.
func Verified(r verify.Result) (p output.Page) {
	errors := 0
	for _, f := range r.Findings {
		if f.Severity == event.Error {
			errors++
		}
	}
	for _, b := range r.Bundles {
		p.Line(output.Say("%s: ", strings.TrimSpace(output.Clean(b.Name))), verdict(b))
		p.Add(output.Facts{
			{Label: "signed by", Value: strings.Join(b.Keys, ", ")},
			{Label: "sequence", Value: figure(int(b.Sequence), "%d")},
			{Label: "index", Value: hexOf(b.Index)},
		})
	}
	p.Say("%s read, %s", bytesize.Text(r.Bytes), output.Count(errors, "error"))
	return p
}

func verdict(b verify.Bundle) output.Span {
	switch {
	case b.NoLedger:
		return output.Span{Text: "INCOMPLETE: ITS LEDGER FILE IS MISSING", Look: output.Bad}
	case !b.Trusted:
		return output.Span{Text: "NOT TRUSTED", Look: output.Bad}
	case b.Stale:
		return output.Span{Text: "EXPIRED, OR THE CLOCK IS WRONG", Look: output.Bad}
	case !b.Intact:
		return output.Span{Text: "DAMAGED OR INCOMPLETE", Look: output.Bad}
	}
	return output.Span{Text: "trusted, complete and undamaged", Look: output.Good}
}

// hexOf is a digest without its algorithm, which is always sha256.
func hexOf(d digest.Digest) string { return strings.TrimPrefix(string(d), "sha256:") }

// figure formats a number that is left out where it is zero.
func figure(n int, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// Loaded says what a registry got from the bundles in paths, which were trusted by
// keys.
func Loaded(r load.Result, paths, keys []string) (p output.Page) {
	p.Line(output.Name(r.Registry), output.Say(" has all %s", output.Count(r.References, "reference")))
	p.Add(output.Facts{
		{Label: "sent", Value: fmt.Sprintf("%s in %s, %s",
			bytesize.Text(r.Pushed), output.Count(r.Blobs, "blob"), output.Duration(r.Duration))},
		{Label: "there already", Value: alreadyThere(r)},
		{Label: "mounted", Value: figure(r.Mounted, "%d")},
	})
	p.Next("caisson plan %s --key %s --site SITE.yaml -o PLAN.json",
		strings.Join(paths, " "), strings.Join(keys, " --key "))
	return p
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

// Inspected shows what bundles say they are; keyGiven says whether a key was given
// to trust them by.
func Inspected(r inspect.Result, keyGiven bool) (p output.Page) {
	for i, b := range r.Bundles {
		if i > 0 {
			p.Line()
		}
		addBundle(&p, b, keyGiven)
	}
	return p
}

func addBundle(p *output.Page, b inspect.Bundle, keyGiven bool) {
	p.Line(output.Name(output.Clean(b.Name)))
	p.Line(output.Say("  "), trustOf(b, keyGiven))
	p.Add(output.Facts{
		{Label: "version", Value: b.Version},
		{Label: "profiles", Value: output.Clean(strings.Join(b.Profiles, ", "))},
		{Label: "index", Value: hexOf(b.Index)},
		{Label: "platforms", Value: strings.Join(b.Platforms, ", ")},
		{Label: "payload", Value: fmt.Sprintf("%s in %s", bytesize.Text(b.Payload), output.Count(b.Blobs, "blob"))},
		{Label: "head", Value: bytesize.Text(b.HeadSize)},
		{Label: "volumes", Value: describeVolumes(b.Volumes)},
	})
	for _, s := range b.Signers {
		p.Say("  signature  %s", output.Clean(describeSigner(s)))
	}
	if b.LedgerProblem != "" {
		p.Line(output.Say("  "), output.Span{Text: "ledger", Look: output.Bad}, output.Say("     %s", output.Clean(b.LedgerProblem)))
	}
	for _, name := range b.Volumes.Missing {
		p.Line(output.Say("  "), output.Span{Text: "missing", Look: output.Bad}, output.Say(" %s", output.Clean(name)))
	}
	for _, c := range groupByComponent(b.Items, b.Parts) {
		p.Heading(output.Clean(c.name))
		p.Add(output.Table{Rows: c.rows, Right: []int{2}})
		for _, note := range c.notes {
			addNote(p, note)
		}
	}
}

// noteWidth leaves room for the indent in a narrow terminal.
const noteWidth = 74

// addNote writes a note over as many lines as it takes.
func addNote(p *output.Page, note string) {
	for i, line := range output.Wrap(output.Clean(note), noteWidth) {
		indent := "  "
		if i > 0 {
			indent = "    "
		}
		p.Say("%s%s", indent, line)
	}
}

func trustOf(b inspect.Bundle, keyGiven bool) output.Span {
	switch {
	case b.Verified:
		return output.Span{Text: "verified: signed by " + strings.Join(b.Keys, ", ") + "; volumes not read", Look: output.Good}
	case keyGiven:
		return output.Span{Text: "NOT TRUSTED: no signature by the given key counts", Look: output.Bad}
	}
	return output.Span{Text: "NOT VERIFIED: no --key given, all below is the bundle's own claim", Look: output.Bad}
}

func describeVolumes(v inspect.Volumes) string {
	s := fmt.Sprintf("%d of up to %s", v.Count, bytesize.Text(v.Size))
	if v.Found == v.Count {
		return s + ", all here"
	}
	return fmt.Sprintf("%s, %d here", s, v.Found)
}

func describeSigner(s inspect.Signer) string {
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
	name  string
	rows  [][]string
	notes []string // about models, each with its name
}

// groupByComponent groups items by their components, in the stack's order; what
// several share comes with the first of them, and what nobody names comes last.
func groupByComponent(items []inspect.Item, order []string) []section {
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
		out[i].rows = append(out[i].rows, []string{string(it.Ref), string(it.Kind), bytesize.Text(it.Size)})
		out[i].notes = append(out[i].notes, notesOf(it)...)
	}
	slices.SortStableFunc(out, func(a, b section) int { return rank[a.name] - rank[b.name] })
	return out
}

// notesOf says under what licence an item is, and what else its lock says of it.
func notesOf(it inspect.Item) (notes []string) {
	name := it.Ref.Repository()
	if it.License != "" {
		notes = append(notes, name+": licence "+it.License)
	}
	for _, n := range it.Notes {
		notes = append(notes, name+": "+n)
	}
	return notes
}

// Compared lists what changed between two bundles.
func Compared(c inspect.Comparison) (p output.Page) {
	ch := c.Changes
	p.Say("%s %s > %s %s", c.Old.Name, c.Old.Version, c.New.Name, c.New.Version)
	var rows [][]string
	for _, x := range ch.Added {
		rows = append(rows, []string{string(x.New), "added", "+" + bytesize.Text(x.NewBytes)})
	}
	for _, x := range ch.Changed {
		rows = append(rows, []string{renamed(x), "changed", "+" + bytesize.Text(x.NewBytes)})
	}
	for _, x := range ch.Removed {
		rows = append(rows, []string{string(x.Old), "removed", "-" + bytesize.Text(x.OldSize)})
	}
	p.Add(output.Table{Rows: rows, Right: []int{2}})
	p.Say("%d added, %d changed, %d removed, %d unchanged", len(ch.Added), len(ch.Changed), len(ch.Removed), ch.Unchanged)
	p.Add(output.Facts{
		{Label: "to carry", Value: bytesize.Text(ch.AddedBytes) + " that the older one does not have"},
		{Label: "no longer", Value: bytesize.Text(ch.RemovedBytes)},
		{Label: "in all", Value: bytesize.Text(ch.OldBytes) + " before, " + bytesize.Text(ch.NewBytes) + " now"},
	})
	return p
}

// renamed shows what a reference became: NAME:1 > 2 where only the end differs.
func renamed(c lock.Change) string {
	if c.Old == c.New {
		return string(c.New)
	}
	if rest, ok := strings.CutPrefix(string(c.New), c.Old.Repository()); ok {
		return string(c.Old) + " > " + strings.TrimLeft(rest, ":@")
	}
	return string(c.Old + " > " + c.New)
}
