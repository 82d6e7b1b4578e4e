package lock

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/atomicfile"
)

// MaxBytes bounds the size of a lock file. A model of 100 000 files takes 25 MB.
const MaxBytes = 32 << 20

// ErrTooLarge says that a lock has more text than Parse reads.
var ErrTooLarge = errors.New("it is too large")

// Read reads and checks the lock file at path; errors are as Parse's.
func Read(path string) (*Lock, error) {
	doc, err := yamlfile.ReadFile(path, KindLock, MaxBytes)
	if err != nil {
		return nil, err
	}
	return decodeLock(doc)
}

// Parse reads and checks a lock. The error is a *yamlfile.Error that lists every
// problem with its line, or yamlfile.ErrNoDocument. Data may be hostile.
func Parse(data []byte) (*Lock, error) {
	if err := yamlfile.CheckSize("lock", data, MaxBytes); err != nil {
		return nil, err
	}
	doc, err := yamlfile.Parse("lock", data, KindLock)
	if err != nil {
		return nil, err
	}
	return decodeLock(doc)
}

func decodeLock(doc *yamlfile.Document) (*Lock, error) {
	var l Lock
	doc.Decode(&l)
	if !doc.Failed() {
		newChecker(&l, doc.Problemf).checkLock()
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return &l, nil
}

// Marshal returns the lock's text: Normalize applied to a copy, two spaces of
// indent, keys in the order of the types. Equal locks give equal bytes, and what
// Marshal writes Parse reads. A lock that Parse would refuse is an error, ErrTooLarge
// where it has too much text.
func (l *Lock) Marshal() ([]byte, error) {
	c := l.clone()
	if err := c.Normalize(); err != nil {
		return nil, err
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	text, err := c.encode()
	if err != nil {
		return nil, err
	}
	if err := yamlfile.CheckBounds("the lock", text, MaxBytes); err != nil {
		return nil, fmt.Errorf("writing the lock: %w: %v", ErrTooLarge, err)
	}
	return text, nil
}

// encode writes the lock as it is.
func (l *Lock) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("writing the lock: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("writing the lock: %w", err)
	}
	return b.Bytes(), nil
}

// clone copies what Normalize changes.
func (l *Lock) clone() *Lock {
	c := *l
	c.Platforms = slices.Clone(l.Platforms)
	c.Components = slices.Clone(l.Components)
	for i := range c.Components {
		comp := &c.Components[i]
		comp.Needs, comp.After, comp.Items = slices.Clone(comp.Needs), slices.Clone(comp.After), slices.Clone(comp.Items)
	}
	c.Drivers = slices.Clone(l.Drivers)
	for i := range c.Drivers {
		d := &c.Drivers[i]
		d.Kernels, d.Packages = slices.Clone(d.Kernels), slices.Clone(d.Packages)
	}
	c.Checks = slices.Clone(l.Checks)
	c.Items = slices.Clone(l.Items)
	for i := range c.Items {
		c.Items[i].unshareContent()
	}
	return &c
}

func (it *Item) unshareContent() {
	it.Components, it.FoundBy = slices.Clone(it.Components), slices.Clone(it.FoundBy)
	if it.Content != nil {
		it.Content = it.Content.clone()
	}
}

// Digest is the digest of the lock's text, or "" where it has none.
func (l *Lock) Digest() digest.Digest {
	b, err := l.Marshal()
	if err != nil {
		return ""
	}
	return digest.FromBytes(b)
}

// Write puts the lock's text at path, in one step: after a failure or a crash
// the file there is the old one or the new one.
func Write(path string, l *Lock) error {
	data, err := l.Marshal()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, data, 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
