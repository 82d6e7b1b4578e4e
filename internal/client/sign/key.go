// Package sign makes and checks the signatures of bundles: key files as cosign
// writes them, in-toto statements in DSSE envelopes in Sigstore bundles, and
// the checker that turns a bundle that was read into one that is trusted.
//
// The package never looks at the clock, never asks a network or a transparency
// log, never keeps a password, and never overwrites a key.
package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/caisson/caisson/internal/atomicfile"
)

// File names of a key pair.
const (
	PrivateKeyFile = "caisson.key"
	PublicKeyFile  = "caisson.pub"
)

// PEM types: what cosign 2 writes, what cosign 1 wrote, and plain keys.
const (
	pemSigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign   = "ENCRYPTED COSIGN PRIVATE KEY"
	pemPKCS8    = "PRIVATE KEY"
	pemEC       = "EC PRIVATE KEY"
	pemPublic   = "PUBLIC KEY"
)

const (
	maxKeyFile = 64 << 10
	minRSABits = 2048
)

// Sentinels of keys.
var (
	ErrKeyFormat = errors.New("not a key this tool can use")
	ErrPassword  = errors.New("the password does not open the key")
)

// PublicKey is a key that signatures are checked with.
type PublicKey struct {
	// ID is the first 16 hexadecimal digits of the SHA-256 of the PKIX encoding.
	ID  string
	key crypto.PublicKey
	der []byte
}

// keyHint is the form in which Sigstore bundles name a key: base64 of the SHA-256
// of the PKIX encoding.
func (k PublicKey) keyHint() string {
	sum := sha256.Sum256(k.der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Digest names the key in full: the SHA-256 of its PKIX encoding.
func (k PublicKey) Digest() digest.Digest { return digest.SHA256.FromBytes(k.der) }

// PEM is the public key file's content.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: k.der})
}

// PrivateKey signs. It is safe for concurrent use.
type PrivateKey struct {
	Public PublicKey
	signer crypto.Signer
}

// KeyPair is the content of a key pair's two files.
type KeyPair struct {
	Public  PublicKey
	Private []byte // PEM, encrypted with the password
}

// GenerateKeyPair makes an ECDSA P-256 key. The private half is encrypted with
// password (scrypt and NaCl secretbox, as cosign does), which may be empty.
func GenerateKeyPair(password []byte) (KeyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, fmt.Errorf("generating a key: %w", err)
	}
	public, err := newPublicKey(key.Public())
	if err != nil {
		return KeyPair{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return KeyPair{}, fmt.Errorf("encoding the private key: %w", err)
	}
	sealed, err := encrypted.Encrypt(der, password)
	if err != nil {
		return KeyPair{}, fmt.Errorf("encrypting the private key: %w", err)
	}
	return KeyPair{Public: public, Private: pem.EncodeToMemory(&pem.Block{Type: pemSigstore, Bytes: sealed})}, nil
}

// WriteKeyPair writes caisson.key (mode 0600) and caisson.pub into dir, which is
// made when absent. A file that exists is left alone and is an error
// (fs.ErrExist), whichever of the two it is.
func WriteKeyPair(dir string, pair KeyPair) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the key pair: %w", err)
	}
	private, public := filepath.Join(dir, PrivateKeyFile), filepath.Join(dir, PublicKeyFile)
	if _, err := os.Lstat(public); err == nil {
		return fmt.Errorf("writing the key pair: %w", &os.PathError{Op: "create", Path: public, Err: os.ErrExist})
	}
	if err := writeNew(private, pair.Private, 0o600); err != nil {
		return fmt.Errorf("writing the key pair: %w", err)
	}
	if err := writeNew(public, pair.Public.PEM(), 0o644); err != nil {
		return fmt.Errorf("writing the key pair: %w", err)
	}
	return nil
}

func writeNew(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// LoadPrivateKey reads a key file: cosign's encrypted form, old or new, or an
// unencrypted PKCS#8 or SEC 1 one. password is called only for an encrypted
// key; nil means the empty password. Errors: ErrKeyFormat, ErrPassword.
func LoadPrivateKey(path string, password func() ([]byte, error)) (*PrivateKey, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading private key %s: %w", path, err)
	}
	key, err := parsePrivateKey(data, password)
	if err != nil {
		return nil, fmt.Errorf("reading private key %s: %w", path, err)
	}
	return key, nil
}

func readKeyFile(path string) ([]byte, error) {
	data, err := atomicfile.ReadFile(path, maxKeyFile)
	if errors.As(err, new(*atomicfile.TooLargeError)) {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrKeyFormat, maxKeyFile)
	}
	return data, err
}

func parsePrivateKey(data []byte, password func() ([]byte, error)) (*PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%w: no PEM block", ErrKeyFormat)
	}
	der := block.Bytes
	switch block.Type {
	case pemSigstore, pemCosign:
		plain, err := decryptKey(der, password)
		if err != nil {
			return nil, err
		}
		return newPrivateKey(x509.ParsePKCS8PrivateKey(plain))
	case pemPKCS8:
		return newPrivateKey(x509.ParsePKCS8PrivateKey(der))
	case pemEC:
		return newPrivateKey(x509.ParseECPrivateKey(der))
	}
	return nil, fmt.Errorf("%w: PEM type %q", ErrKeyFormat, block.Type)
}

func decryptKey(sealed []byte, password func() ([]byte, error)) ([]byte, error) {
	var word []byte
	if password != nil {
		var err error
		if word, err = password(); err != nil {
			return nil, err
		}
	}
	plain, err := encrypted.Decrypt(sealed, word)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrPassword, err)
	}
	return plain, nil
}

func newPrivateKey(key any, err error) (*PrivateKey, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKeyFormat, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrKeyFormat, key)
	}
	public, err := newPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{Public: public, signer: signer}, nil
}

// LoadPublicKey reads a PEM public key file.
func LoadPublicKey(path string) (PublicKey, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading public key %s: %w", path, err)
	}
	key, err := ParsePublicKey(data)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading public key %s: %w", path, err)
	}
	return key, nil
}

// ParsePublicKey reads a PEM public key: ECDSA P-256, RSA of 2048 bits or more,
// or Ed25519. Anything after the block is an error, so that a file says one
// thing.
func ParsePublicKey(data []byte) (PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemPublic {
		return PublicKey{}, fmt.Errorf("%w: no PEM block of type %q", ErrKeyFormat, pemPublic)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return PublicKey{}, fmt.Errorf("%w: more than one key in the file", ErrKeyFormat)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %v", ErrKeyFormat, err)
	}
	return newPublicKey(key)
}

func newPublicKey(key crypto.PublicKey) (PublicKey, error) {
	if err := checkUsable(key); err != nil {
		return PublicKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %v", ErrKeyFormat, err)
	}
	return PublicKey{ID: keyID(der), key: key, der: der}, nil
}

func keyID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

// checkUsable accepts the keys that verify with SHA-256 in every reader.
func checkUsable(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("%w: ECDSA on %s, not P-256", ErrKeyFormat, k.Curve.Params().Name)
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return nil
		}
		return fmt.Errorf("%w: RSA of %d bits", ErrKeyFormat, k.N.BitLen())
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("%w: %T", ErrKeyFormat, key)
}

// signBytes signs message with the key's usual scheme: SHA-256 for ECDSA and
// RSA (PKCS #1 v1.5), pure Ed25519.
func (k *PrivateKey) signBytes(message []byte) ([]byte, error) {
	if _, pure := k.Public.key.(ed25519.PublicKey); pure {
		return k.signer.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
}
