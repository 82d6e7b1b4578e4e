package preflight

import (
	"context"

	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
)

// preflightVerb is how preflight calls itself in events.
const preflightVerb = "preflight"

// Checked is what a preflight came to.
type Checked struct {
	Stack, Version string
	Site           string
	Server         string
	Errors         int
	Warnings       int
	Notices        int
}

// Preflight looks at everything that Run looks at and writes nothing. All
// findings are emitted; with an error among them the error is
// plan.ErrPreflight, and the outcome is there all the same.
func Preflight(ctx context.Context, opt Options, sink event.Sink) (Checked, error) {
	sink = event.Named(sink, preflightVerb)
	sink.Emit(event.Event{Verb: preflightVerb, Kind: event.Start})
	c, err := runPreflight(ctx, opt, sink)
	end := event.Event{Verb: preflightVerb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
	}
	sink.Emit(end)
	if c.Stack != "" {
		sink.Emit(event.Event{Verb: preflightVerb, Kind: event.Result, Message: c.Stack + " " + c.Version, Fields: map[string]any{
			"errors": c.Errors, "warnings": c.Warnings, "notices": c.Notices, "met": c.Errors == 0,
		}})
	}
	return c, err
}

func runPreflight(ctx context.Context, opt Options, sink event.Sink) (Checked, error) {
	b, err := cargo.Open(ctx, opt.Paths, opt.Keys, cargo.Options{AllowExpired: opt.AllowExpired}, sink)
	if err != nil {
		return Checked{}, err
	}
	defer b.Close()
	chosen, nodes, err := readSite(opt)
	if err != nil {
		return Checked{}, err
	}
	p, found, err := makePlan(ctx, opt, b, chosen, nodes, &stages{sink: sink})
	if err != nil {
		return Checked{}, err
	}
	about := b.Lock().Metadata
	c := Checked{Stack: about.Name, Version: about.Version, Site: chosen.Name}
	if p != nil {
		c.Server = p.Cluster.Server
	}
	c.emitFindings(found, sink)
	if decide.HasErrors(found) {
		return c, preflightError("checking the site", found)
	}
	return c, nil
}

// emitFindings emits and counts findings.
func (c *Checked) emitFindings(found []event.Finding, sink event.Sink) {
	for _, f := range found {
		switch f.Severity {
		case event.Error:
			c.Errors++
		case event.Warn:
			c.Warnings++
		default:
			c.Notices++
		}
		sink.Emit(event.Event{Verb: preflightVerb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
	}
}
