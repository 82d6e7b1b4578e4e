package lock

import (
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// kindOrder is the order of items in a lock.
var kindOrder = map[Kind]int{Image: 0, Chart: 1, Model: 2, File: 3, Manifest: 4, Referrer: 5}

// Normalize gives the lock its one form: lists in the order their comments
// promise, a pending model layer pinned where another item pins the same
// content, and digest, media type and size of every wrapped item whose manifest
// is known. It changes the lock and what its items point to.
func (l *Lock) Normalize() error {
	l.APIVersion, l.Kind = APIVersion, KindLock
	slices.Sort(l.Platforms)
	for i := range l.Components {
		slices.Sort(l.Components[i].Needs)
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
	l.settleLayers()
	for i := range l.Items {
		if err := l.Items[i].settle(); err != nil {
			return err
		}
	}
	return nil
}

func (it *Item) normalize() {
	slices.Sort(it.Components)
	slices.Sort(it.FoundBy)
	if m := it.HubModel; m != nil {
		sort.Slice(m.Files, func(i, j int) bool { return m.Files[i].Path < m.Files[j].Path })
		if m.Layers == nil {
			m.Layers = ModelLayers(m.Files)
		}
	}
}

func compareItems(a, b Item) int {
	if d := kindOrder[a.Kind] - kindOrder[b.Kind]; d != 0 {
		return d
	}
	return strings.Compare(a.Ref, b.Ref)
}

// settleLayers pins a pending layer whose content another layer pins.
func (l *Lock) settleLayers() {
	known := map[string]digest.Digest{}
	l.eachLayer(func(key string, layer *ModelLayer) {
		if layer.Digest != "" {
			known[key] = layer.Digest
		}
	})
	l.eachLayer(func(key string, layer *ModelLayer) {
		if layer.Digest == "" {
			layer.Digest = known[key]
		}
	})
}

func (l *Lock) eachLayer(do func(key string, layer *ModelLayer)) {
	for i := range l.Items {
		m := l.Items[i].HubModel
		if m == nil {
			continue
		}
		for j := range m.Layers {
			do(m.Key(j), &m.Layers[j])
		}
	}
}

// settle fills in the root manifest of a wrapped item that is not pending.
func (it *Item) settle() error {
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
