package sign

import (
	"errors"
	"fmt"

	"github.com/caisson/caisson/bundle"
)

// Errors of Open beside those of bundle.
var (
	ErrNoBundle = errors.New("no bundle found")
	ErrNoKey    = errors.New("no key given to trust bundles by")
)

// LoadChecker makes a checker of public key files.
func LoadChecker(keyFiles []string) (Checker, error) {
	if len(keyFiles) == 0 {
		return Checker{}, ErrNoKey
	}
	var c Checker
	for _, path := range keyFiles {
		key, err := LoadPublicKey(path)
		if err != nil {
			return Checker{}, err
		}
		c.Keys = append(c.Keys, key)
	}
	return c, nil
}

// Open finds the bundles in paths, reads their heads and requires of each a
// signature by one of the keys (public key files). All or none: when one bundle
// is not trusted, nothing is opened. The caller closes each bundle.
func Open(paths []string, keyFiles []string) ([]*bundle.Trusted, error) {
	checker, err := LoadChecker(keyFiles)
	if err != nil {
		return nil, err
	}
	found, err := bundle.Scan(paths...)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("opening %q: %w", paths, ErrNoBundle)
	}
	var opened []*bundle.Trusted
	for _, files := range found {
		t, err := openOne(files, checker)
		if err != nil {
			closeAll(opened)
			return nil, err
		}
		opened = append(opened, t)
	}
	return opened, nil
}

func openOne(files bundle.Files, checker Checker) (*bundle.Trusted, error) {
	b, err := bundle.Read(files)
	if err != nil {
		return nil, err
	}
	t, err := b.Trust(checker)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return t, nil
}

func closeAll(opened []*bundle.Trusted) {
	for _, t := range opened {
		_ = t.Close()
	}
}
