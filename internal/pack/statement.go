package pack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/sign"
)

// term is what a signer adds to a bundle: when, which release, how long it
// counts, which binaries come with it. Zero fields are left to their defaults.
type term struct {
	created  time.Time
	sequence int64
	expires  time.Duration
	binaries map[string]digest.Digest
}

// now is the time that things are said to be made at: SOURCE_DATE_EPOCH (Unix
// seconds) where it is set, so that a build can be repeated.
func now() (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Now().UTC().Truncate(time.Second), nil
	}
	n, err := strconv.ParseInt(s, 10, 40)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("reading SOURCE_DATE_EPOCH: %q is not a number of seconds", s)
	}
	return time.Unix(n, 0).UTC(), nil
}

// statement says of b what b and its ledger are, under the term.
func (t term) statement(b *bundle.Bundle, ledger digest.Digest) bundle.Statement {
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

// met says whether a statement made earlier already says what t asks for.
func (t term) met(p bundle.Predicate) bool {
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

// signed is a signature that lies beside a bundle.
type signed struct {
	keyID     string
	statement bundle.Statement
	payload   []byte
}

// unverified accepts any signature file for what it claims to be. It serves to
// find statements that agree with a bundle, never to trust one.
type unverified struct{ payloads map[string][]byte }

func (u unverified) CheckSignature(signature []byte) ([]byte, string, error) {
	payload, keyID, err := sign.Peek(signature)
	if err == nil {
		u.payloads[keyID] = payload
	}
	return payload, keyID, err
}

// existing lists the statements beside a bundle that agree with it in every
// respect, and that hold nothing this tool does not know.
func existing(files bundle.Files) ([]signed, error) {
	u := unverified{payloads: map[string][]byte{}}
	var list []signed
	err := trusting(files, u, func(t *bundle.Trusted) {
		for _, s := range t.Signatures() {
			again, err := s.Statement.Marshal()
			if err == nil && string(again) == string(u.payloads[s.KeyID]) {
				list = append(list, signed{s.KeyID, s.Statement, again})
			}
		}
	})
	return list, err
}

// byKey returns the statement that key signed, proven, if there is one that
// agrees with the bundle.
func byKey(files bundle.Files, key sign.PublicKey) (*bundle.Statement, error) {
	var found *bundle.Statement
	err := trusting(files, sign.Checker{Keys: []sign.PublicKey{key}}, func(t *bundle.Trusted) {
		s := t.Statement()
		found = &s
	})
	return found, err
}

// trusting calls do with the bundle when c accepts a signature of it.
func trusting(files bundle.Files, c bundle.Checker, do func(*bundle.Trusted)) error {
	b, err := bundle.Read(files)
	if err != nil {
		return err
	}
	defer b.Close()
	t, err := b.Trust(c)
	if errors.Is(err, bundle.ErrNotTrusted) {
		return nil
	}
	if err != nil {
		return err
	}
	do(t)
	return nil
}

// checkBinaries compares the binaries that a statement names with those that lie
// beside the bundle; absent ones are returned.
func checkBinaries(dir string, binaries map[string]digest.Digest) (absent []string, err error) {
	for name, want := range binaries {
		if filepath.Base(name) != name {
			return nil, fmt.Errorf("%w: it names a binary %q", ErrNoStatement, name)
		}
		got, err := digestFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			absent = append(absent, name)
			continue
		}
		if err != nil {
			return nil, err
		}
		if got != want {
			return nil, fmt.Errorf("%w: it names %s as %s, the file here is %s", ErrNoStatement, name, want, got)
		}
	}
	return absent, nil
}
