package sign

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	caisson "github.com/caisson/caisson/bundle"
)

// Sentinels of checking.
var (
	ErrNoKey      = errors.New("no key given to trust bundles by")
	ErrUnknownKey = errors.New("the signature is by none of the accepted keys")
	ErrSignature  = errors.New("the signature does not verify")
	ErrPredicate  = errors.New("the signed statement is of another kind")
)

var _ caisson.Checker = Checker{}

// Checker accepts the signatures of its keys. It implements bundle.Checker and
// is safe for concurrent use.
type Checker struct {
	Keys []PublicKey
}

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

// CheckSignature verifies a signature file and returns the statement that it
// signs, and the id of the key. The file must be canonical, name one of the
// keys, verify with it, and sign a bundle statement. Errors: ErrEnvelope,
// ErrUnknownKey, ErrSignature, ErrPredicate.
func (c Checker) CheckSignature(sigstoreBundle []byte) ([]byte, string, error) {
	e, err := parseEnvelope(sigstoreBundle)
	if err != nil {
		return nil, "", err
	}
	key, err := c.chooseKey(e)
	if err != nil {
		return nil, "", err
	}
	if _, err := verifyEntity(sigstoreBundle, key, verify.WithoutArtifactUnsafe()); err != nil {
		return nil, "", err
	}
	if err := checkKind(e.DSSE.Payload); err != nil {
		return nil, "", err
	}
	return e.DSSE.Payload, key.ID, nil
}

func (c Checker) chooseKey(e envelope) (PublicKey, error) {
	for _, k := range c.Keys {
		if k.keyHint() == e.Material.PublicKey.Hint {
			return k, nil
		}
	}
	return PublicKey{}, fmt.Errorf("%w: key %s", ErrUnknownKey, e.claimedID())
}

// checkKind pins the statement and predicate types: a signature by the same key
// over anything else is no statement about a bundle.
func checkKind(payload []byte) error {
	var head struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(payload, &head); err != nil {
		return fmt.Errorf("%w: %v", ErrPredicate, err)
	}
	if head.Type != caisson.StatementType || head.PredicateType != caisson.PredicateType {
		return fmt.Errorf("%w: %q", ErrPredicate, head.PredicateType)
	}
	return nil
}

// verifyEntity checks a Sigstore bundle against one key, offline and without a
// trusted time: a key has no validity period of its own.
func verifyEntity(data []byte, key PublicKey, artifact verify.ArtifactPolicyOption) (*verify.VerificationResult, error) {
	entity := new(bundle.Bundle)
	if err := entity.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrEnvelope, err)
	}
	verifier, err := newVerifier(key)
	if err != nil {
		return nil, err
	}
	result, err := verifier.Verify(entity, verify.NewPolicy(artifact, verify.WithKey()))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrSignature, err)
	}
	return result, nil
}

func newVerifier(key PublicKey) (*verify.Verifier, error) {
	inner, err := signature.LoadVerifier(key.key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKeyFormat, err)
	}
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(inner, time.Time{}, time.Time{}), nil
	})
	return verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
}
