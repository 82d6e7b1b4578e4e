package preflight

import (
	"context"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// chooseReferences settles how images are found, where the site file leaves that open.
func chooseReferences(ctx context.Context, c *kube.Client, s *decide.Selection, site *plan.Site, f *decide.Facts) error {
	if len(site.References) > 0 {
		return nil
	}
	list, why := decide.Strategies(f.CRDs, nil)
	with := *site
	with.References = list
	lacking, err := c.Denied(ctx, nodeRights(with))
	if err != nil {
		return err
	}
	if len(lacking) > 0 {
		list, why = decide.Strategies(f.CRDs, lacking)
	}
	site.References, site.ReferencesWhy = list, why
	s.SetReferences(list, why)
	return nil
}
