package sign

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
)

// Signers names in full the keys, of the given files, whose signatures made t
// trusted: the SHA-256 of each one's PKIX encoding, sorted. Its first 16 digits
// are the key's ID.
func Signers(t *bundle.Trusted, keyFiles []string) ([]digest.Digest, error) {
	c, err := LoadChecker(keyFiles)
	if err != nil {
		return nil, err
	}
	var out []digest.Digest
	for _, k := range c.Keys {
		if slices.Contains(t.KeyIDs(), k.ID) {
			out = append(out, digest.SHA256.FromBytes(k.der))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
