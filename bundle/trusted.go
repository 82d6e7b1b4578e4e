package bundle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Checker decides whether a signature counts: whose keys, which algorithms,
// which transparency evidence. It returns the signed payload and a name for the
// key.
type Checker interface {
	CheckSignature(signature []byte) (payload []byte, keyID string, err error)
}

// Trusted is a bundle with at least one accepted signature that is about it. It
// alone hands out content. It is safe for concurrent use until Close.
type Trusted struct {
	*Bundle
	accepted []Signature
	rejected []error
	ledgers  map[digest.Digest][]byte // those that signed statements name
	source   *source
	rooms    rooms
}

// Signature is an accepted signature.
type Signature struct {
	File      string
	KeyID     string
	Statement Statement
	payload   []byte
}

// compareStrictness orders signatures over one bundle so that which of them counts is
// nobody's choice who carries the files: the higher sequence is first, then
// the earlier expiry (none is the latest, one that is no time the earliest),
// then the lower bytes of the statement.
func compareStrictness(a, b Signature) int {
	p, q := a.Statement.Predicate, b.Statement.Predicate
	return cmp.Or(
		cmp.Compare(q.Sequence, p.Sequence),
		p.expiryTime().Compare(q.expiryTime()),
		bytes.Compare(a.payload, b.payload),
	)
}

// expiryTime is when the statement expires.
func (p Predicate) expiryTime() time.Time {
	if p.Expires == "" {
		return time.Unix(1<<40, 0)
	}
	at, err := time.Parse(time.RFC3339, p.Expires)
	if err != nil {
		return time.Time{}
	}
	return at
}

// Trust asks c about every signature that was found. A signature counts when c
// accepts it and its statement agrees with the bundle: index.json, name,
// version, format, size, volumes, lock, ledger. With none such the error is
// ErrNotTrusted and says why for each; it is ErrNoLedger as well where a signature
// lacks nothing but the ledger's file. Trusted takes the bundle over: closing
// either closes both.
func (b *Bundle) Trust(c Checker) (*Trusted, error) {
	t := &Trusted{Bundle: b, ledgers: map[digest.Digest][]byte{}, rooms: make(rooms, maxRooms)}
	for _, path := range b.files.Signatures {
		s, err := t.checkSignature(c, path)
		if err != nil {
			t.rejected = append(t.rejected, fmt.Errorf("%s: %w", filepath.Base(path), err))
			continue
		}
		t.accepted = append(t.accepted, s)
	}
	if len(t.accepted) == 0 {
		return nil, b.notTrusted(t.rejected)
	}
	slices.SortStableFunc(t.accepted, compareStrictness)
	t.source = newSource(b.files, &b.table.layout)
	b.file = closers{b.file, t.source}
	return t, nil
}

type closers []interface{ Close() error }

func (c closers) Close() (err error) {
	for _, one := range c {
		if e := one.Close(); err == nil {
			err = e
		}
	}
	return err
}

func (b *Bundle) notTrusted(reasons []error) error {
	if len(reasons) == 0 {
		return fmt.Errorf("%s: %w: no signature found", b.files.Name, ErrNotTrusted)
	}
	return fmt.Errorf("%s: %w: %w", b.files.Name, ErrNotTrusted, errors.Join(reasons...))
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Base(path), err)
	}
	if int64(len(b)) > limit {
		return nil, formatError("%s has more than %d bytes", filepath.Base(path), limit)
	}
	return b, nil
}

func (t *Trusted) checkSignature(c Checker, path string) (s Signature, err error) {
	b, err := readBounded(path, maxSignature)
	if err != nil {
		return s, err
	}
	payload, keyID, err := c.CheckSignature(b)
	if err != nil {
		return s, err
	}
	statement, err := ParseStatement(payload)
	if err != nil {
		return s, err
	}
	return Signature{path, keyID, statement, payload}, t.requireAgreement(statement)
}

// requireAgreement requires that a statement is about this bundle in every respect.
func (t *Trusted) requireAgreement(s Statement) error {
	p, table := s.Predicate, t.table
	for _, claim := range []struct {
		what        string
		says, holds any
	}{
		{"subject", bundleSubject(s), t.IndexDigest()},
		{"name", p.Name, t.Name()},
		{"version", p.Version, t.Version()},
		{"format", p.Format, FormatVersion},
		{"number of volumes", p.Volumes.N, table.Volumes()},
		{"volume size", p.Volumes.Size, table.VolumeSize()},
		{"total bytes", p.TotalBytes, t.head.size + table.StreamSize()},
		{"lock", p.Lock, t.LockDigest()},
		{"ledger", p.Ledger, t.ledgerDigest(p.Ledger)},
		{"parent", p.Parent, digest.Digest("")},
	} {
		if claim.says != claim.holds {
			return t.claimError(claim.what, fmt.Sprint(claim.says), fmt.Sprint(claim.holds))
		}
	}
	return nil
}

// ClaimError is a signature that verifies and says something else than a file
// of the bundle holds. It is an ErrFormat.
type ClaimError struct {
	Claim       string // what it is about: subject, lock, ledger, ...
	File        string // base name of the file: the head or the ledger
	Says, Holds string // Holds is "none" where the file is missing
	missing     bool
}

func (e *ClaimError) Error() string {
	if e.missing {
		return fmt.Sprintf("%v: %s, which the signed statement names as %s", ErrNoLedger, e.File, e.Says)
	}
	return fmt.Sprintf("%v: statement says %s %s, %s has %s", ErrFormat, e.Claim, e.Says, e.File, e.Holds)
}

func (e *ClaimError) Unwrap() error { return ErrFormat }

// Is reports true for ErrNoLedger where the ledger is missing.
func (e *ClaimError) Is(target error) bool { return e.missing && target == ErrNoLedger }

func (t *Trusted) claimError(claim, says, holds string) error {
	e := &ClaimError{Claim: claim, File: filepath.Base(t.files.Head), Says: says, Holds: holds}
	if claim == "ledger" {
		e.File = ledgerName(t.files.Name)
		e.missing = len(t.files.Ledgers) == 0 && says != ""
	}
	if holds == "" {
		e.Holds = "none"
	}
	return e
}

func bundleSubject(s Statement) digest.Digest {
	if len(s.Subject) != 1 {
		return ""
	}
	return digest.NewDigestFromEncoded(digest.SHA256, s.Subject[0].Digest["sha256"])
}

// ledgerDigest is named where one of the ledgers found has that digest, and else
// the digest of the first that can be read. A ledger that no statement names
// does not count.
func (t *Trusted) ledgerDigest(named digest.Digest) (first digest.Digest) {
	if _, ok := t.ledgers[named]; ok || named == "" {
		return named
	}
	for _, path := range t.files.Ledgers {
		raw, err := readBounded(path, maxLedger)
		if err != nil {
			continue // the right one may lie elsewhere
		}
		d := sumOf(raw).digest()
		if d == named {
			t.ledgers[named] = raw
			return named
		}
		first = cmp.Or(first, d)
	}
	return first
}

// Statement is the strictest that an accepted signature makes: that of the
// highest sequence, of those the one that expires first, of those the one
// whose bytes sort first. The names of the signature files do not count.
func (t *Trusted) Statement() Statement { return t.accepted[0].Statement }

// Signatures lists the accepted signatures, that of Statement first; those over
// one statement are in the order of their files.
func (t *Trusted) Signatures() []Signature { return t.accepted }

// KeyIDs lists who signed, in the order of Signatures.
func (t *Trusted) KeyIDs() []string {
	ids := make([]string, len(t.accepted))
	for i, s := range t.accepted {
		ids[i] = s.KeyID
	}
	return ids
}

// Rejected says why the other signatures did not count.
func (t *Trusted) Rejected() []error { return t.rejected }

// Ledger returns the ledger that the statement names; nil when it names none.
func (t *Trusted) Ledger() []byte { return t.ledgers[t.Statement().Predicate.Ledger] }

// Open returns a blob of the head or of the volumes. Opening touches no volume;
// ErrUnknownBlob if the bundle has none such.
func (t *Trusted) Open(d digest.Digest) (*Blob, error) {
	s, err := parseDigest(d)
	if err != nil {
		return nil, err
	}
	if i, ok := t.head.findBlob(s); ok {
		b := &t.head.blobs[i]
		return &Blob{proof: &b.proof, offset: b.offset, stream: headStream{t.head, filepath.Base(t.files.Head)}, rooms: t.rooms}, nil
	}
	if i, ok := t.lookup.find(s); ok {
		return &Blob{proof: &t.table.blobs[i], offset: t.table.layout.offsets[i], stream: t.source, rooms: t.rooms}, nil
	}
	return nil, fmt.Errorf("opening %s: %w", d, ErrUnknownBlob)
}
