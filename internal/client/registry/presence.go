package registry

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
)

// questions is how many are asked at once.
const questions = 8

// Presence says which manifests a registry holds. *Pusher is one.
type Presence interface {
	// Check asks whether the registry answers at all.
	Check(ctx context.Context) error
	// ManifestDigest returns the digest of the manifest under a tag or digest
	// in repository, a path below the registry's base, or "" if there is none.
	ManifestDigest(ctx context.Context, repository, reference string) (digest.Digest, error)
}

// DialSite prepares to ask the registry of a site. Nothing is asked yet.
// Credentials come from the Docker configuration.
func DialSite(reg site.Registry) (Presence, error) {
	opt, err := siteOptions(reg)
	if err != nil {
		return nil, err
	}
	return NewPusher(reg.Base(), opt)
}

// siteOptions are how a site's registry is spoken to.
func siteOptions(reg site.Registry) (PushOptions, error) {
	opt := PushOptions{PlainHTTP: reg.PlainHTTP, Attempts: 2}
	if reg.CAFile == "" {
		return opt, nil
	}
	t, err := trustingTransport(reg.CAFile)
	if err == nil {
		opt.Transport = t
	}
	return opt, err
}

// AskPresence asks for every manifest and returns, by REPOSITORY@DIGEST, which
// are there. The first error ends it.
func AskPresence(ctx context.Context, r Presence, checks []plan.Check) (map[string]bool, error) {
	if err := r.Check(ctx); err != nil {
		return nil, err
	}
	has := map[string]bool{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(questions)
	for _, c := range checks {
		g.Go(func() error {
			d, err := r.ManifestDigest(ctx, c.Repository, c.Digest.String())
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			has[c.Repository+"@"+c.Digest.String()] = d == c.Digest
			return nil
		})
	}
	return has, g.Wait()
}

// trustingTransport also trusts the certificates of a PEM file.
func trustingTransport(caFile string) (*http.Transport, error) {
	pool, err := TrustAlso(caFile)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	t.MaxIdleConnsPerHost = questions
	return t, nil
}
