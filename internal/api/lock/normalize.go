package lock

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/ledger"
)

// Normalize gives the lock its one form: lists in the order their comments
// promise, a pending model layer pinned where another item pins the same
// content, and digest, media type and size of every wrapped item whose manifest
// is known. It changes the lock and what its items point to.
func (l *Lock) Normalize() error {
	l.APIVersion, l.Kind = APIVersion, KindLock
	slices.Sort(l.Platforms)
	for i := range l.Components {
		slices.Sort(l.Components[i].Needs)
		slices.Sort(l.Components[i].After)
		for j := range l.Components[i].Releases {
			slices.Sort(l.Components[i].Releases[j].Facts)
		}
		slices.Sort(l.Components[i].Items)
	}
	for i := range l.Items {
		l.Items[i].normalize()
	}
	slices.SortStableFunc(l.Items, compareItems)
	for i := range l.Drivers {
		l.Drivers[i].normalize()
	}
	slices.SortStableFunc(l.Drivers, compareDrivers)
	slices.SortStableFunc(l.Checks, ledger.Compare)
	l.Checks = slices.Compact(l.Checks)
	l.settleLayers()
	for i := range l.Items {
		if err := l.Items[i].settleManifest(); err != nil {
			return err
		}
	}
	return nil
}

func (it *Item) normalize() {
	slices.Sort(it.Components)
	slices.Sort(it.FoundBy)
	if it.Content != nil {
		it.Content.normalize()
	}
}

func compareItems(a, b Item) int {
	if d := a.Kind.rank() - b.Kind.rank(); d != 0 {
		return d
	}
	return strings.Compare(string(a.Ref), string(b.Ref))
}

// settleManifest fills in the root manifest of a wrapped item that is not pending.
func (it *Item) settleManifest() error {
	if !it.Wrapped() || it.Pending() || it.Digest != "" {
		return nil
	}
	manifest, _, err := it.Wrap(nil)
	if err != nil {
		return err
	}
	it.Digest, it.MediaType, it.Size = digest.FromBytes(manifest), ocispec.MediaTypeImageManifest, int64(len(manifest))
	return nil
}
