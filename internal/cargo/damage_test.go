package cargo_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// damage reads the driver, of which block 1 lies across two volumes, and
// returns what is found.
func damage(t *testing.T, b *bundletest.Bundle) event.Finding {
	t.Helper()
	s := cargo.Bundles{b.Open(t)}
	c, err := s.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(b.Driver, 4<<20, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = r.WriteTo(new(strings.Builder))
	f, ok := c.Damage(err)
	if !ok {
		t.Fatalf("no damage: %v", err)
	}
	return f
}

// TestDamageNamesTheShortVolume: of the volumes that a block lies in, only the
// one that ends early is to be copied again.
func TestDamageNamesTheShortVolume(t *testing.T) {
	for _, which := range []int{0, 1} {
		b := bundletest.Make(t, bundletest.Options{})
		first := across(t, b)
		path := b.Volume(first + which)
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
		short, other := b.Name+fmt.Sprintf(".vol-%05d.tar", first+which), b.Name+fmt.Sprintf(".vol-%05d.tar", first+1-which)
		f := damage(t, b)
		if f.Code != string(bundle.ShortVolume) || f.Volume != short || f.Hint != catalog.CopyAgain(short) || strings.Contains(f.What, other) {
			t.Errorf("%s is short: %+v", short, f)
		}
	}
}

// TestDamageNamesBothVolumes: a wrong block may be wrong in either.
func TestDamageNamesBothVolumes(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	b.Damage(t, b.Driver, 4<<20+5)
	f := damage(t, b)
	if f.Code != string(bundle.BadBlock) || strings.Count(f.Hint, ".vol-") != 2 || strings.Count(f.What, ".vol-") != 2 {
		t.Errorf("finding %+v", f)
	}
	if !strings.HasPrefix(f.Item, "files.caisson.dev/gpu/driver.run:") {
		t.Errorf("item %q", f.Item)
	}
}

// across is the first of the two volumes that hold block 1 of the driver.
func across(t *testing.T, b *bundletest.Bundle) int {
	t.Helper()
	table := b.Open(t).Table()
	for i := range table.Len() {
		if e := table.Entry(i); e.Digest == b.Driver {
			begin := e.Offset + 4<<20
			n := int(begin / table.VolumeSize())
			if end := min(begin+4<<20, e.Offset+e.Size); int((end-1)/table.VolumeSize()) != n+1 {
				t.Fatalf("block 1 of the driver is not in two volumes: bytes %d to %d", begin, end)
			}
			return n
		}
	}
	t.Fatal("the bundle has no driver")
	return 0
}

// TestReferencesAreMadeOnce: a damaged read must not cost a walk of everything.
func TestReferencesAreMadeOnce(t *testing.T) {
	c, err := cargo.Bundles{bundletest.Make(t, bundletest.Options{}).Open(t)}.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	want := c.References()
	if got := testing.AllocsPerRun(10, func() { c.References() }); got != 0 || len(want) == 0 {
		t.Errorf("%v allocations for %d references", got, len(want))
	}
}
