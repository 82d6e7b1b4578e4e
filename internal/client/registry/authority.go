package registry

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/caisson/caisson/internal/atomicfile"
)

// maxAuthorities bounds a file of CA certificates that this machine trusts, in
// bytes. Those of a whole operating system have half a megabyte.
const maxAuthorities = 4 << 20

// MaxNodeAuthorities bounds, in bytes, a file of CA certificates that goes to
// every node.
const MaxNodeAuthorities = 256 << 10

// ReadAuthorities reads a file of CA certificates, which may have limit bytes.
// What it holds is the caller's to check.
func ReadAuthorities(file string, limit int64) ([]byte, error) {
	text, err := atomicfile.ReadFile(file, limit)
	if errors.As(err, new(*atomicfile.TooLargeError)) {
		return nil, fmt.Errorf("reading CA certificates: %s: %w", file, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading CA certificates: %w", err)
	}
	return text, nil
}

// TrustAlso is a pool of the system's authorities and those of a PEM file.
func TrustAlso(file string) (*x509.CertPool, error) {
	text, err := ReadAuthorities(file, maxAuthorities)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading CA certificates: %s holds none", file)
	}
	return pool, nil
}
