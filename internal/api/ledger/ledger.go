// Package ledger lists the checks that were made of a stack's items, or that
// were not made although one might expect them: which item, by which rule,
// by whose authority, with which result.
//
// Resolving records what it checks in the lock, packing merges that with checks
// of its own into the file NAME.ledger.json beside the bundle, and the site adds
// what it checks. The package holds the types and the file's text; it never
// makes a check itself.
package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// APIVersion and Kind head every ledger.
const (
	APIVersion = "caisson.dev/v1alpha1"
	Kind       = "Ledger"
)

// Bounds on a ledger.
const (
	MaxBytes  = 64 << 20 // of its text
	MaxChecks = 500_000
	maxText   = 8192 // of one field
)

// ErrTooLarge says that there is more to write than Parse reads.
var ErrTooLarge = errors.New("it is too large")

// Results of a Check.
const (
	Passed     = "passed"
	Failed     = "failed"
	NotChecked = "not-checked"
)

// Signatures is what a check of an item's upstream signatures is about.
const Signatures = "upstream signatures and attestations"

// NoPolicy is the rule by which signatures are left unchecked where nobody said
// which ones count.
const NoPolicy = "no trust policy given"

// Ledger is the file NAME.ledger.json.
type Ledger struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Name       string        `json:"name"`
	Version    string        `json:"version"`
	Created    string        `json:"created"` // RFC 3339, UTC: when the checks were made that have no time of their own
	Index      digest.Digest `json:"index"`
	Lock       digest.Digest `json:"lock"`
	Checks     []Check       `json:"checks"` // in the order of the lock
}

// Check is one thing that was checked, or that was not.
type Check struct {
	Item      string        `json:"item" yaml:"item"`                               // lock reference, or the bundle's name
	What      string        `json:"what" yaml:"what"`                               // which part of it
	Rule      string        `json:"rule" yaml:"rule"`                               // what it was held against
	Authority string        `json:"authority,omitempty" yaml:"authority,omitempty"` // of the policy, whose word counts
	Identity  string        `json:"identity,omitempty" yaml:"identity,omitempty"`   // who vouched: a key id, or the subject of a certificate
	Evidence  digest.Digest `json:"evidence,omitempty" yaml:"evidence,omitempty"`   // of the signature or attestation
	Digest    digest.Digest `json:"digest,omitempty" yaml:"digest,omitempty"`       // of what was checked
	Size      int64         `json:"size,omitempty" yaml:"size,omitempty"`
	Time      string        `json:"time,omitempty" yaml:"time,omitempty"` // RFC 3339, UTC; empty: the ledger's
	Result    string        `json:"result" yaml:"result"`                 // passed, failed or not-checked
	Note      string        `json:"note,omitempty" yaml:"note,omitempty"`
}

// Append adds checks at the end.
func (g *Ledger) Append(checks ...Check) { g.Checks = append(g.Checks, checks...) }

// Count is how many checks have each result.
func (g *Ledger) Count() map[string]int {
	n := map[string]int{}
	for _, c := range g.Checks {
		n[c.Result]++
	}
	return n
}

// Parse reads a ledger: one document, every check valid. Fields that are not
// known are left out, for the ledger may be of a newer caisson than the site's.
// It proves nothing about it. Data may be hostile.
func Parse(data []byte) (*Ledger, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("reading the ledger: it has more than %d bytes", MaxBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var g Ledger
	if err := dec.Decode(&g); err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading the ledger: something follows its end")
	}
	if err := g.validate(); err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	return &g, nil
}

// Marshal is the ledger's text. Equal ledgers give equal bytes, and Parse reads
// them; a ledger that Parse would refuse is an error, ErrTooLarge where it has too
// many checks or too much text.
func (g *Ledger) Marshal() ([]byte, error) {
	if err := g.validate(); err != nil {
		return nil, fmt.Errorf("writing the ledger: %w", err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		return nil, fmt.Errorf("writing the ledger: %w", err)
	}
	if out.Len() > MaxBytes {
		return nil, fmt.Errorf("writing the ledger: %w: more than %d bytes", ErrTooLarge, MaxBytes)
	}
	return out.Bytes(), nil
}

func (g *Ledger) validate() error {
	switch {
	case g.APIVersion != APIVersion || g.Kind != Kind:
		return fmt.Errorf("it is %q of %q, not %s of %s", g.Kind, g.APIVersion, Kind, APIVersion)
	case len(g.Checks) > MaxChecks:
		return fmt.Errorf("%w: more than %d checks", ErrTooLarge, MaxChecks)
	}
	for name, text := range map[string]string{"name": g.Name, "version": g.Version} {
		if err := validText(name, text, true); err != nil {
			return err
		}
	}
	if err := validTime("created", g.Created, true); err != nil {
		return err
	}
	for name, dg := range map[string]digest.Digest{"index": g.Index, "lock": g.Lock} {
		if err := validDigest(name, dg, true); err != nil {
			return err
		}
	}
	for i := range g.Checks {
		if err := g.Checks[i].Validate(); err != nil {
			return fmt.Errorf("check %d: %w", i, err)
		}
	}
	return nil
}

// Validate returns what is wrong with the check, or nil.
func (c *Check) Validate() error {
	for _, f := range []struct {
		name, text string
		required   bool
	}{
		{"item", c.Item, true}, {"what", c.What, true}, {"rule", c.Rule, true},
		{"authority", c.Authority, false}, {"identity", c.Identity, false}, {"note", c.Note, false},
	} {
		if err := validText(f.name, f.text, f.required); err != nil {
			return err
		}
	}
	if err := validDigest("evidence", c.Evidence, false); err != nil {
		return err
	}
	if err := validDigest("digest", c.Digest, false); err != nil {
		return err
	}
	if err := validTime("time", c.Time, false); err != nil {
		return err
	}
	if c.Size < 0 {
		return fmt.Errorf("size: %d is not a number of bytes", c.Size)
	}
	if !slices.Contains([]string{Passed, Failed, NotChecked}, c.Result) {
		return fmt.Errorf("result: %.100q is not %s, %s or %s", c.Result, Passed, Failed, NotChecked)
	}
	return nil
}

// Compare orders checks by item, then by what they say.
func Compare(a, b Check) int {
	return slices.CompareFunc(a.texts(), b.texts(), strings.Compare)
}

func (c *Check) texts() []string {
	return []string{
		c.Item, c.What, c.Rule, c.Authority, c.Identity, string(c.Evidence), string(c.Digest),
		fmt.Sprintf("%020d", c.Size), c.Time, c.Result, c.Note,
	}
}

// validText wants one line.
func validText(field, s string, required bool) error {
	switch {
	case s == "" && required:
		return fmt.Errorf("%s: is missing", field)
	case len(s) > maxText:
		return fmt.Errorf("%s: is longer than %d bytes", field, maxText)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s: holds control characters", field)
	}
	return nil
}

func validDigest(field string, dg digest.Digest, required bool) error {
	if dg == "" && !required {
		return nil
	}
	if dg.Validate() != nil || dg.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%s: %.100q is not sha256: and 64 hex digits", field, string(dg))
	}
	return nil
}

func validTime(field, s string, required bool) error {
	if s == "" && !required {
		return nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UTC().Format(time.RFC3339) != s {
		return fmt.Errorf("%s: %.100q is not a time in UTC, as RFC 3339 writes it", field, s)
	}
	return nil
}
