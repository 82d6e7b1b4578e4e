package install

import "strings"

// whyUnpulled is the error for what a runtime says of a pull that failed.
func whyUnpulled(trouble string) error {
	for _, sign := range []string{"x509: ", "tls: failed to verify certificate"} {
		if strings.Contains(trouble, sign) {
			return ErrUntrusted
		}
	}
	return ErrPull
}
