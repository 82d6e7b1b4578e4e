package install

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/event"
)

const pruneVerb = "prune"

// PruneOptions are the inputs of prune.
type PruneOptions struct {
	Target
	Remove bool // else only say what would go
}

// PruneResult is what nothing needs any more.
type PruneResult struct {
	Stack     string             `json:"stack"`
	Documents []archive.Document `json:"documents"` // kept in the cluster for past runs
	// Images are those that only past runs needed, by the site's names. They are
	// not removed: other things at the site may use them.
	Images  []string `json:"images"`
	Removed bool     `json:"removed"`
}

// Prune finds, and removes where Remove asks for it, what the cluster keeps of
// generations that nothing can go back to. The journal itself stays.
func Prune(ctx context.Context, opt PruneOptions, sink event.Sink) (PruneResult, error) {
	sink.Emit(event.Event{Verb: pruneVerb, Kind: event.Start})
	r, err := runPrune(ctx, opt, sink)
	end := event.Event{Verb: pruneVerb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
	}
	sink.Emit(end)
	if err == nil {
		sink.Emit(event.Event{Verb: pruneVerb, Kind: event.Result, Message: r.Stack, Fields: map[string]any{"documents": r.Documents, "images": r.Images, "removed": r.Removed}})
	}
	return r, err
}

func runPrune(ctx context.Context, opt PruneOptions, sink event.Sink) (r PruneResult, _ error) {
	s, err := openSession(ctx, opt.Target, pruneVerb, sink)
	if err != nil {
		return r, err
	}
	if !opt.Remove {
		if err := s.loadJournal(ctx, false); err != nil {
			return r, err
		}
		return s.findPrunable(ctx)
	}
	_, err = s.changeUnderLease(ctx, func(ctx context.Context) (err error) {
		if r, err = s.findPrunable(ctx); err != nil {
			return err
		}
		r.Removed = true
		return s.store.Remove(ctx, r.Documents)
	})
	return r, err
}

func (s *session) findPrunable(ctx context.Context) (PruneResult, error) {
	r := PruneResult{Stack: s.stack}
	var err error
	if r.Documents, err = s.store.Unreachable(ctx, s.journal); err != nil {
		return r, err
	}
	needed := map[string]bool{}
	for _, c := range s.journal.Installed {
		s.imagesOf(ctx, c.Plan, func(site string) { needed[site] = true })
		for f := range c.Formers() {
			s.imagesOf(ctx, f.Plan, func(site string) { needed[site] = true })
		}
	}
	for _, d := range r.Documents {
		if d.Kind == "plan" {
			s.imagesOf(ctx, d.Digest, func(site string) {
				if !needed[site] && !slices.Contains(r.Images, site) {
					r.Images = append(r.Images, site)
				}
			})
		}
	}
	slices.Sort(r.Images)
	return r, ctx.Err()
}

// imagesOf tells the site's names of a kept plan's images; of a plan that cannot
// be read there are none.
func (s *session) imagesOf(ctx context.Context, d digest.Digest, report func(site string)) {
	data, err := s.store.Plan(ctx, d)
	if err != nil {
		return
	}
	p, err := plan.Parse(data)
	if err != nil {
		return
	}
	for _, i := range p.Images {
		report(string(i.Site))
	}
}
