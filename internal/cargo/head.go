package cargo

import (
	"errors"
	"fmt"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/client/sign"
)

// Errors of finding bundles.
var (
	ErrNoBundle = errors.New("no bundle found")
	ErrSeveral  = errors.New("more than one bundle")
)

// Find lists the bundles in paths, see bundle.Scan. Where there is none the
// error is ErrNoBundle, and doing says in it what the bundle was wanted for.
func Find(doing string, paths ...string) ([]bundle.Files, error) {
	found, err := bundle.Scan(paths...)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", doing, ErrNoBundle)
	}
	return found, nil
}

// Head is the head of a bundle, read and whole in itself. What it says is not
// proven by anybody's signature, and it gives no content.
type Head struct {
	*bundle.Bundle
}

// ReadHead reads the head of files, see bundle.Read. The caller closes it.
func ReadHead(files bundle.Files) (*Head, error) {
	b, err := bundle.Read(files)
	if err != nil {
		return nil, err
	}
	return &Head{b}, nil
}

// Lock reads the lock that the head holds. Where it cannot be read the error
// wraps bundle.ErrFormat and those of lock.Parse.
func (h *Head) Lock() (*lock.Lock, error) { return parseLock(h.Bundle) }

func parseLock(b *bundle.Bundle) (*lock.Lock, error) {
	l, err := lock.Parse(b.Lock())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", bundle.ErrFormat, err)
	}
	return l, nil
}

// Catalog shows the head as a registry would.
func (h *Head) Catalog() (*catalog.Catalog, error) {
	return catalog.Read(catalog.Source{Head: h.Bundle})
}

// Statements are those that c accepts and that agree with the head, the
// strictest first; none where it accepts no signature.
func (h *Head) Statements(c bundle.Checker) ([]bundle.Signature, error) {
	t, err := h.Trust(c)
	if errors.Is(err, bundle.ErrNotTrusted) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t.Signatures(), nil
}

// Claim is what a signature file says. Nothing of it is proven, not even that it
// is about the bundle that it lies beside.
type Claim struct {
	File      string
	KeyID     string
	Statement bundle.Statement
	Err       error // why the file cannot be read
}

// Claims reads what the signature files beside the head say.
func (h *Head) Claims() []Claim {
	files := h.Files().Signatures
	out := make([]Claim, len(files))
	for i, path := range files {
		out[i] = readClaim(path)
	}
	return out
}

func readClaim(path string) Claim {
	c := Claim{File: path}
	var data []byte
	if data, c.Err = atomicfile.ReadFile(path, sign.MaxSignature); c.Err == nil {
		c.Statement, c.KeyID, c.Err = peek(data)
	}
	return c
}

func peek(signature []byte) (bundle.Statement, string, error) {
	payload, keyID, err := sign.Peek(signature)
	if err != nil {
		return bundle.Statement{}, "", err
	}
	statement, err := bundle.ParseStatement(payload)
	return statement, keyID, err
}
