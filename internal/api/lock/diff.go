package lock

import "github.com/caisson/caisson/internal/api/imageref"

// Changes is what lies between two locks, in items and in bytes.
type Changes struct {
	Added     []Change
	Removed   []Change
	Changed   []Change // the same reference, or the same name at another version
	Unchanged int      // items

	OldBytes     int64 // payload of the older lock
	NewBytes     int64 // payload of the newer one
	AddedBytes   int64 // payload only the newer one has: what must cross
	RemovedBytes int64 // payload only the older one has
}

// Change is one item that differs.
type Change struct {
	Kind       Kind
	Components []string
	Old, New   imageref.Ref // one is empty for an item added or removed
	OldSize    int64        // payload of the item, blobs shared with others included
	NewSize    int64
	NewBytes   int64 // payload that only the newer lock has
}

// Diff compares two locks, a the older. Items go by reference; those left over
// are paired by kind and repository where that is unambiguous.
func Diff(a, b *Lock) Changes {
	d := differ{older: payloadOf(a), newer: payloadOf(b)}
	d.countBytes()
	var removed, added []*Item
	newer := byRef(b)
	for i := range a.Items {
		it := &a.Items[i]
		if other, ok := newer[it.Ref]; ok {
			d.comparePair(it, other)
			delete(newer, it.Ref)
		} else {
			removed = append(removed, it)
		}
	}
	for i := range b.Items {
		if _, left := newer[b.Items[i].Ref]; left {
			added = append(added, &b.Items[i])
		}
	}
	d.leftOver(removed, added)
	return d.Changes
}

func byRef(l *Lock) map[imageref.Ref]*Item {
	m := make(map[imageref.Ref]*Item, len(l.Items))
	for i := range l.Items {
		m[l.Items[i].Ref] = &l.Items[i]
	}
	return m
}

// contents is the payload of a lock: sizes by key, and keys by item.
type contents struct {
	size map[string]int64
	of   map[imageref.Ref][]string
}

func payloadOf(l *Lock) contents {
	c := contents{size: map[string]int64{}, of: map[imageref.Ref][]string{}}
	for _, s := range l.Slots() {
		c.size[s.Key] = s.Size
		for _, ref := range s.Items {
			c.of[ref] = append(c.of[ref], s.Key)
		}
	}
	return c
}

func (c contents) totalSize(ref imageref.Ref) int64 {
	var n int64
	for _, k := range c.of[ref] {
		n += c.size[k]
	}
	return n
}

// sizeBeyond sums what the item ref has and other has not.
func (c contents) sizeBeyond(ref imageref.Ref, other contents) int64 {
	var n int64
	for _, k := range c.of[ref] {
		if _, ok := other.size[k]; !ok {
			n += c.size[k]
		}
	}
	return n
}

type differ struct {
	older, newer contents
	Changes
}

func (d *differ) countBytes() {
	for k, n := range d.older.size {
		d.OldBytes += n
		if _, ok := d.newer.size[k]; !ok {
			d.RemovedBytes += n
		}
	}
	for k, n := range d.newer.size {
		d.NewBytes += n
		if _, ok := d.older.size[k]; !ok {
			d.AddedBytes += n
		}
	}
}

func (d *differ) comparePair(older, newer *Item) {
	if sameContent(older, newer) {
		d.Unchanged++
		return
	}
	d.Changed = append(d.Changed, d.changeOf(older, newer))
}

// sameContent compares root digests, or the layers of a pending model.
func sameContent(a, b *Item) bool {
	if a.Digest != "" || b.Digest != "" {
		return a.Digest == b.Digest
	}
	d, ok := a.Content.(deferred)
	return ok && d.sameAs(b.Content)
}

func (d *differ) changeOf(older, newer *Item) Change {
	var c Change
	if older != nil {
		c.Kind, c.Components, c.Old = older.Kind, older.Components, older.Ref
		c.OldSize = d.older.totalSize(older.Ref)
	}
	if newer != nil {
		c.Kind, c.Components, c.New = newer.Kind, newer.Components, newer.Ref
		c.NewSize, c.NewBytes = d.newer.totalSize(newer.Ref), d.newer.sizeBeyond(newer.Ref, d.older)
	}
	return c
}

// leftOver pairs what kept its name and lists the rest.
func (d *differ) leftOver(removed, added []*Item) {
	was, is := byName(removed), byName(added)
	for _, it := range removed {
		n := nameOf(it)
		if len(was[n]) == 1 && len(is[n]) == 1 {
			d.Changed = append(d.Changed, d.changeOf(it, is[n][0]))
		} else {
			d.Removed = append(d.Removed, d.changeOf(it, nil))
		}
	}
	for _, it := range added {
		if n := nameOf(it); len(was[n]) != 1 || len(is[n]) != 1 {
			d.Added = append(d.Added, d.changeOf(nil, it))
		}
	}
}

func nameOf(it *Item) string {
	return string(it.Kind) + " " + it.Ref.Repository()
}

func byName(items []*Item) map[string][]*Item {
	m := map[string][]*Item{}
	for _, it := range items {
		m[nameOf(it)] = append(m[nameOf(it)], it)
	}
	return m
}
