package pack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/sign"
)

// term is what a signer adds to a bundle: when, which release, how long it
// counts, which binaries come with it. Zero fields are left to their defaults.
type term struct {
	created  time.Time
	sequence int64
	expires  time.Duration
	binaries map[string]digest.Digest
}

// creationTime is the time that things are said to be made at: the given one, so that
// a build can be repeated, or the present.
func creationTime(given time.Time) time.Time {
	if given.IsZero() {
		given = time.Now()
	}
	return given.UTC().Truncate(time.Second)
}

// makeStatement says of b what b and its ledger are, under the term.
func (t term) makeStatement(b *bundle.Bundle, ledger digest.Digest) bundle.Statement {
	p := bundle.Predicate{
		Name: b.Name(), Version: b.Version(),
		Sequence:   t.sequence,
		Created:    t.created.Format(time.RFC3339),
		Format:     bundle.FormatVersion,
		TotalBytes: b.HeadSize() + b.Table().StreamSize(),
		Volumes:    bundle.StatementVolumes{N: b.Table().Volumes(), Size: b.Table().VolumeSize()},
		Lock:       b.LockDigest(),
		Ledger:     ledger,
		Binaries:   t.binaries,
	}
	if p.Sequence == 0 {
		p.Sequence = t.created.Unix()
	}
	if t.expires > 0 {
		p.Expires = t.created.Add(t.expires).Format(time.RFC3339)
	}
	return bundle.Statement{
		Type:          bundle.StatementType,
		Subject:       []bundle.Subject{{Name: "index.json", Digest: map[string]string{"sha256": b.IndexDigest().Encoded()}}},
		PredicateType: bundle.PredicateType,
		Predicate:     p,
	}
}

// isMetBy says whether a statement made earlier already says what t asks for.
func (t term) isMetBy(p bundle.Predicate) bool {
	if t.sequence != 0 && p.Sequence != t.sequence {
		return false
	}
	if t.expires != 0 {
		created, err := time.Parse(time.RFC3339, p.Created)
		if err != nil || p.Expires != created.Add(t.expires).Format(time.RFC3339) {
			return false
		}
	}
	for name, d := range t.binaries {
		if p.Binaries[name] != d {
			return false
		}
	}
	return true
}

// provenBy lists the statements beside a bundle that one of the keys signed and
// that agree with it in every respect, the strictest first.
func provenBy(h *cargo.Head, keys ...sign.PublicKey) ([]bundle.Statement, error) {
	accepted, err := h.Statements(known{sign.Checker{Keys: keys}})
	if err != nil {
		return nil, err
	}
	var list []bundle.Statement
	for _, s := range accepted {
		list = append(list, s.Statement)
	}
	return list, nil
}

// known accepts what its checker accepts, unless the statement holds something
// that this tool does not know and thus cannot vouch for.
type known struct{ bundle.Checker }

func (k known) CheckSignature(signature []byte) ([]byte, string, error) {
	payload, keyID, err := k.Checker.CheckSignature(signature)
	if err != nil {
		return nil, "", err
	}
	s, err := bundle.ParseStatement(payload)
	if err != nil {
		return nil, "", err
	}
	if again, err := s.Marshal(); err != nil || !bytes.Equal(again, payload) {
		return nil, "", fmt.Errorf("%w: it says more than this tool knows", ErrNoStatement)
	}
	return payload, keyID, nil
}

// claimedKeys lists the keys that signatures about the bundle claim to be by.
func claimedKeys(h *cargo.Head) (keyIDs []string, err error) {
	accepted, err := h.Statements(unverified{})
	if err != nil {
		return nil, err
	}
	for _, s := range accepted {
		keyIDs = append(keyIDs, s.KeyID)
	}
	return keyIDs, nil
}

// unverified accepts any signature file for what it claims to be. It serves to
// tell that somebody claims something, never to take a word of it.
type unverified struct{}

func (unverified) CheckSignature(signature []byte) ([]byte, string, error) {
	return sign.Peek(signature)
}

// checkBinaries requires that the binaries that a statement names lie beside the
// bundle and are what it says.
func checkBinaries(dir string, binaries map[string]digest.Digest) error {
	for name, want := range binaries {
		if filepath.Base(name) != name {
			return fmt.Errorf("%w: it names a binary %q", ErrNoStatement, name)
		}
		got, err := digestFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: it names %s, which is not here", ErrNoStatement, name)
		}
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%w: it names %s as %s, the file here is %s", ErrNoStatement, name, want, got)
		}
	}
	return nil
}
