package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Types of the signed statement (in-toto Attestation Framework, Statement v1).
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://caisson.dev/bundle/v1"
	PayloadType   = "application/vnd.in-toto+json" // of the DSSE envelope around it
)

// Statement is what a signer says about a bundle: an in-toto Statement whose
// subject is index.json.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject names index.json by its SHA-256, in hex.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Predicate holds what is bound to time or to a signer and thus is not in the
// bundle itself, and repeats what lets a reader refuse a bundle early.
type Predicate struct {
	Name           string                   `json:"name"`
	Version        string                   `json:"version"`
	Sequence       int64                    `json:"sequence"`          // grows with each release of a name
	Created        string                   `json:"created"`           // RFC 3339, UTC
	Expires        string                   `json:"expires,omitempty"` // RFC 3339, UTC
	Format         int                      `json:"format"`
	MinToolVersion string                   `json:"minToolVersion,omitempty"`
	TotalBytes     int64                    `json:"totalBytes"` // head and volumes
	Volumes        StatementVolumes         `json:"volumes"`
	Lock           digest.Digest            `json:"lock"`
	Ledger         digest.Digest            `json:"ledger,omitempty"`      // of NAME.ledger.json
	Policy         digest.Digest            `json:"policy,omitempty"`      // of the trust policy applied when resolving
	TrustedRoot    digest.Digest            `json:"trustedRoot,omitempty"` // of the trusted root used for it
	Binaries       map[string]digest.Digest `json:"binaries,omitempty"`    // file name → digest
	Parent         digest.Digest            `json:"parent,omitempty"`      // index digest of the bundle a delta builds on
}

// StatementVolumes counts the volumes; Size is that of each but the last.
type StatementVolumes struct {
	N    int   `json:"n"`
	Size int64 `json:"size"`
}

// Marshal returns the statement's text: the payload to sign.
func (s Statement) Marshal() ([]byte, error) { return canonicalJSON(s) }

// ParseStatement reads a payload whose signature was checked. Unknown members
// are allowed; other types of statement are ErrFormat.
func ParseStatement(b []byte) (s Statement, err error) {
	if len(b) > maxStatement {
		return s, formatError("statement of %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, formatError("statement: %w", err)
	}
	if s.Type != StatementType || s.PredicateType != PredicateType {
		return s, formatError("statement of type %q about %q", s.Type, s.PredicateType)
	}
	return s, nil
}

// WriteSignature puts a signature beside a bundle as NAME.KEYID.sigstore.json,
// whole or not at all, and returns its path.
func WriteSignature(dir, name, keyID string, signature []byte) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	base := signatureName(name, keyID)
	if !signaturePattern.MatchString(base) || checkName(keyID) != nil {
		return "", formatError("key id %q", keyID)
	}
	path := filepath.Join(dir, base)
	if err := writeFile(path, signature); err != nil {
		return "", fmt.Errorf("writing %s: %w", base, err)
	}
	return path, nil
}

// WriteLedger puts a ledger beside a bundle as NAME.ledger.json, whole or not at
// all, and returns the digest that the statement must name.
func WriteLedger(dir, name string, ledger []byte) (digest.Digest, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if err := writeFile(filepath.Join(dir, ledgerName(name)), ledger); err != nil {
		return "", fmt.Errorf("writing %s: %w", ledgerName(name), err)
	}
	return sumOf(ledger).digest(), nil
}

// writeFile writes a small file: temporary name, sync, rename, sync of the
// directory.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return publishFile(f, path, err)
}

// publishFile ends a write to a temporary file: it takes its name, or is removed.
func publishFile(f *os.File, path string, err error) error {
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
