package inspect

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
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

// Compare says what changed from the bundle or lock file at the path older to
// that at newer. Signatures are not checked.
func Compare(ctx context.Context, older, newer string, sink event.Sink) (Comparison, error) {
	var c Comparison
	a, err := readSide(older, &c.Old)
	if err != nil {
		return c, err
	}
	b, err := readSide(newer, &c.New)
	if err != nil {
		return c, err
	}
	c.Changes = lock.Diff(a, b)
	sink.Emit(event.Event{Verb: VerbDiff, Kind: event.Result, Message: "compared", Bytes: c.Changes.AddedBytes, Fields: c.fields()})
	return c, ctx.Err()
}

// readSide reads one of the two locks and says in side what it is.
func readSide(path string, side *Side) (*lock.Lock, error) {
	l, fromBundle, err := readLock(path)
	if err != nil {
		return nil, err
	}
	*side = Side{Path: path, Name: l.Metadata.Name, Version: l.Metadata.Version, Bundle: fromBundle}
	return l, nil
}

func readLock(path string) (l *lock.Lock, fromBundle bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	if !info.IsDir() && !strings.HasSuffix(path, ".head.tar") {
		l, err = lock.Read(path)
		return l, false, err
	}
	l, err = readBundleLock(path)
	return l, true, err
}

func readBundleLock(path string) (*lock.Lock, error) {
	found, err := cargo.Find("looking in "+path, path)
	if err != nil {
		return nil, err
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("looking in %s: %w: %s and %s", path, cargo.ErrSeveral, found[0].Name, found[1].Name)
	}
	h, err := cargo.ReadHead(found[0])
	if err != nil {
		return nil, err
	}
	defer h.Close()
	l, err := h.Lock()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return l, nil
}

func (c Comparison) fields() map[string]any {
	return map[string]any{
		"old": c.Old, "new": c.New,
		"added": changeFields(c.Changes.Added), "removed": changeFields(c.Changes.Removed), "changed": changeFields(c.Changes.Changed),
		"unchanged": c.Changes.Unchanged,
		"oldBytes":  c.Changes.OldBytes, "newBytes": c.Changes.NewBytes,
		"addedBytes": c.Changes.AddedBytes, "removedBytes": c.Changes.RemovedBytes,
	}
}

func changeFields(list []lock.Change) []map[string]any {
	out := make([]map[string]any, 0, len(list))
	for _, c := range list {
		out = append(out, map[string]any{
			"kind": c.Kind, "components": c.Components, "old": c.Old, "new": c.New,
			"oldSize": c.OldSize, "newSize": c.NewSize, "newBytes": c.NewBytes,
		})
	}
	return out
}
