package install

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
)

const statusVerb = "status"

// StatusResult is how a stack is.
type StatusResult struct {
	Stack      string            `json:"stack"`
	Version    string            `json:"version"`
	Generation int               `json:"generation"`
	Components []ComponentStatus `json:"components"`
}

// ComponentStatus is how one component is.
type ComponentStatus struct {
	Name    string   `json:"name"`
	Ready   bool     `json:"ready"`
	Drifted bool     `json:"drifted"`
	Version string   `json:"version"` // of the stack it comes from
	Why     []string `json:"why,omitempty"`
	Objects int      `json:"objects"`         // looked at
	Drift   []Drift  `json:"drift,omitempty"` // by object
}

// Drift is one object that is not as it was applied.
type Drift struct {
	Object   object.Ref        `json:"object"`
	Missing  bool              `json:"missing,omitempty"`
	Replaced bool              `json:"replaced,omitempty"` // by another of the same name
	Fields   []kube.Difference `json:"fields,omitempty"`
	Images   []string          `json:"images,omitempty"` // that are not the bundle's
}

// Status compares what is installed with what was installed. The result is
// whole even when the error is ErrDrift or ErrNotReady.
func Status(ctx context.Context, target Target, sink event.Sink) (StatusResult, error) {
	sink.Emit(event.Event{Verb: statusVerb, Kind: event.Start})
	r, err := runStatus(ctx, target, sink)
	end := event.Event{Verb: statusVerb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
	}
	sink.Emit(end)
	if len(r.Components) > 0 {
		sink.Emit(event.Event{Verb: statusVerb, Kind: event.Result, Message: r.Stack + " " + r.Version, Fields: map[string]any{"generation": r.Generation, "components": r.Components}})
	}
	return r, err
}

func runStatus(ctx context.Context, target Target, sink event.Sink) (StatusResult, error) {
	s, err := openSession(ctx, target, statusVerb, sink)
	if err != nil {
		return StatusResult{}, err
	}
	if err := s.loadJournal(ctx, false); err != nil {
		return StatusResult{}, err
	}
	r := StatusResult{Stack: s.stack}
	if last := s.journal.Last(); last != nil {
		r.Generation = last.Generation
	}
	if len(s.journal.Installed) == 0 {
		return r, fmt.Errorf("looking at stack %s: %w", s.stack, journal.ErrNone)
	}
	var drifted, unready []string
	from := s.allowedSources(ctx)
	for i := range s.journal.Installed {
		c := &s.journal.Installed[i]
		look, err := s.examine(ctx, c, from)
		if err != nil {
			return r, err
		}
		r.Version = c.Version
		r.Components = append(r.Components, look)
		if look.Drifted {
			drifted = append(drifted, c.Name)
		}
		if !look.Ready {
			unready = append(unready, c.Name)
		}
	}
	switch {
	case len(drifted) > 0:
		return r, fmt.Errorf("looking at stack %s: %w: %q", s.stack, ErrDrift, drifted)
	case len(unready) > 0:
		return r, fmt.Errorf("looking at stack %s: %w: %q", s.stack, ErrNotReady, unready)
	}
	return r, nil
}

// Entry is one line of history.
type Entry struct {
	Generation int           `json:"generation"`
	Verb       journal.Verb  `json:"verb"`
	State      journal.State `json:"state"`
	Version    string        `json:"version,omitempty"`
	Began      time.Time     `json:"began"`
	Ended      time.Time     `json:"ended,omitzero"`
	Operator   string        `json:"operator,omitempty"`
	Index      digest.Digest `json:"index,omitempty"`
	Overrides  []string      `json:"overrides,omitempty"` // checks that the operator overruled
	Error      string        `json:"error,omitempty"`
}

// HistoryResult is what was done to a stack, oldest first.
type HistoryResult struct {
	Stack   string  `json:"stack"`
	Entries []Entry `json:"entries"`
}

// History reads the journal.
func History(ctx context.Context, target Target, sink event.Sink) (HistoryResult, error) {
	s, err := openSession(ctx, target, "history", sink)
	if err != nil {
		return HistoryResult{}, err
	}
	if err := s.loadJournal(ctx, false); err != nil {
		return HistoryResult{}, err
	}
	h := HistoryResult{Stack: s.stack}
	for _, r := range s.journal.Runs {
		h.Entries = append(h.Entries, Entry{
			Generation: r.Generation, Verb: r.Verb, State: r.State, Version: r.Version, Began: r.Began, Ended: r.Ended,
			Operator: r.Operator.User, Index: r.Index, Overrides: r.Overrides, Error: r.Error,
		})
	}
	sink.Emit(event.Event{Verb: "history", Kind: event.Result, Message: h.Stack, Fields: map[string]any{"entries": h.Entries}})
	return h, nil
}
