package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
)

// VerbDiff names diff in events.
const VerbDiff = "diff"

// Side is one of two things compared.
type Side struct {
	Path    string `json:"path"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Bundle  bool   `json:"bundle"` // a bundle's head; else a lock file
}

// Comparison is what lies between two sides.
type Comparison struct {
	Old, New Side
	Changes  lock.Changes
}

// ErrSeveral says that a path holds more than the one bundle wanted.
var ErrSeveral = errors.New("more than one bundle")

// Compare says what changed from the bundle or lock file at the path older to
// that at newer. Signatures are not checked.
func Compare(ctx context.Context, older, newer string, sink event.Sink) (Comparison, error) {
	var c Comparison
	a, err := load(older, &c.Old)
	if err != nil {
		return c, err
	}
	b, err := load(newer, &c.New)
	if err != nil {
		return c, err
	}
	c.Changes = lock.Diff(a, b)
	sink.Emit(event.Event{Verb: VerbDiff, Kind: event.Result, Message: "compared", Bytes: c.Changes.AddedBytes, Fields: c.fields()})
	return c, ctx.Err()
}

func load(path string, side *Side) (*lock.Lock, error) {
	l, fromBundle, err := loadLock(path)
	if err != nil {
		return nil, err
	}
	*side = Side{Path: path, Name: l.Metadata.Name, Version: l.Metadata.Version, Bundle: fromBundle}
	return l, nil
}

func loadLock(path string) (l *lock.Lock, fromBundle bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	if !info.IsDir() && !strings.HasSuffix(path, ".head.tar") {
		l, err = lock.Read(path)
		return l, false, err
	}
	l, err = lockOfBundle(path)
	return l, true, err
}

func lockOfBundle(path string) (*lock.Lock, error) {
	found, err := bundle.Scan(path)
	if err != nil {
		return nil, err
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("looking in %s: %w", path, sign.ErrNoBundle)
	case len(found) > 1:
		return nil, fmt.Errorf("looking in %s: %w: %s and %s", path, ErrSeveral, found[0].Name, found[1].Name)
	}
	b, err := bundle.Read(found[0])
	if err != nil {
		return nil, err
	}
	defer b.Close()
	l, err := lock.Parse(b.Lock())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w: %w", path, bundle.ErrFormat, err)
	}
	return l, nil
}

func (c Comparison) fields() map[string]any {
	return map[string]any{
		"old": c.Old, "new": c.New,
		"added": changes(c.Changes.Added), "removed": changes(c.Changes.Removed), "changed": changes(c.Changes.Changed),
		"unchanged": c.Changes.Unchanged,
		"oldBytes":  c.Changes.OldBytes, "newBytes": c.Changes.NewBytes,
		"addedBytes": c.Changes.AddedBytes, "removedBytes": c.Changes.RemovedBytes,
	}
}

func changes(list []lock.Change) []map[string]any {
	out := make([]map[string]any, 0, len(list))
	for _, c := range list {
		out = append(out, map[string]any{
			"kind": c.Kind, "components": c.Components, "old": c.Old, "new": c.New,
			"oldSize": c.OldSize, "newSize": c.NewSize, "newBytes": c.NewBytes,
		})
	}
	return out
}
