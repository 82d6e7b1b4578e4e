package install

import (
	"errors"
	"testing"
)

func TestWhyUnpulled(t *testing.T) {
	for trouble, want := range map[string]error{
		`ErrImagePull: failed to do request: Head "https://reg.site:5000/v2/x": tls: failed to verify certificate: x509: certificate signed by unknown authority`: ErrUntrusted,
		"x509: certificate is valid for a.site, not reg.site":             ErrUntrusted,
		`Head "https://reg.site:5000/v2/x": dial tcp: connection refused`: ErrPull,
		"": ErrPull,
	} {
		if got := whyUnpulled(trouble); !errors.Is(got, want) {
			t.Errorf("%q: %v, want %v", trouble, got, want)
		}
	}
}
