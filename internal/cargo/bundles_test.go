package cargo_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func TestCatalogOfABundle(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	c, err := cargo.Bundles{b.Open(t)}.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Entries) != b.References() {
		t.Errorf("%d entries for %d references", len(c.Entries), b.References())
	}
	web := c.Repositories["ghcr.io/acme/web"]
	if web == nil || web.Tags["1.2.3"] != b.WebIndex || len(web.Referrers[b.WebIndex]) != 1 || web.Referrers[b.WebIndex][0].Digest != b.SBOM {
		t.Fatalf("%+v", web)
	}
	if slices.Index(web.Order, b.WebAMD64) > slices.Index(web.Order, b.WebIndex) || slices.Index(web.Order, b.WebAMD64) < 0 {
		t.Errorf("order %v", web.Order)
	}
	refs := c.References()
	base := b.Lock.Items[slices.IndexFunc(b.Lock.Items, func(it lock.Item) bool { return it.Ref == bundletest.Tool })].Manifests()[0].Layers[0].Digest
	if got := refs[base]; !slices.Equal(got, []string{bundletest.Tool, bundletest.Web}) {
		t.Errorf("the shared layer is needed by %v", got)
	}
	for d := range b.Content {
		if len(refs[d]) == 0 {
			t.Errorf("nothing needs %s", d)
		}
	}
}

// TestBundlesGoOn: a reader turns to the next copy in the middle of a blob.
func TestBundlesGoOn(t *testing.T) {
	one := bundletest.Make(t, bundletest.Options{Name: "one"})
	two := bundletest.Make(t, bundletest.Options{Name: "two"})
	want := one.Content[one.Driver]
	one.Damage(t, one.Driver, 4<<20+9) // the second block
	two.Damage(t, two.Driver, 9)       // the first
	s := cargo.Bundles{one.Open(t), two.Open(t)}
	read := func(offset, length int64) ([]byte, error) {
		r, err := s.Open(one.Driver, offset, length)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var out strings.Builder
		_, err = r.WriteTo(&out)
		return []byte(out.String()), err
	}
	if got, err := read(0, int64(len(want))); err != nil || string(got) != string(want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	r, err := s.Open(one.Driver, 100, 5<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := bundletest.ReadAll(t, r); string(got) != string(want[100:5<<20+7]) {
		t.Errorf("Read gave %d bytes", len(got))
	}
	two.Damage(t, two.Driver, 4<<20+77) // now no copy of the second block is good
	got, err := read(4<<20-10, 100)
	if err == nil || string(got) != string(want[4<<20-10:4<<20]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := s.Open(digest.FromString("x"), 0, 1); err == nil {
		t.Error("opened what is not there")
	}
}
