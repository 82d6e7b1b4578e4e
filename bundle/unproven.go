package bundle

import "github.com/opencontainers/go-digest"

// Unproven gives content of a bundle whose signatures nobody asked for. What leaves has
// the check values of the bundle's own table, which may be anybody's: who uses the bytes
// hashes them against a digest that is known from elsewhere, and drops what has another.
type Unproven struct{ content *Trusted }

// UnsafeContent gives content without proof. Closing the bundle closes it.
func (b *Bundle) UnsafeContent() *Unproven {
	t := &Trusted{Bundle: b, rooms: make(rooms, maxRooms), source: newSource(b.files, &b.table.layout)}
	b.file = closers{b.file, t.source}
	return &Unproven{t}
}

// Open is as Trusted.Open.
func (u *Unproven) Open(d digest.Digest) (*Blob, error) { return u.content.Open(d) }
