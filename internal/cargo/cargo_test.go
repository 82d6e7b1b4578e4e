package cargo_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCheckTerm holds both ends of a statement's time, to the second.
func TestCheckTerm(t *testing.T) {
	const created, expires = "2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z"
	for name, c := range map[string]struct {
		created, expires, now string
		want                  error
	}{
		"a day too early":       {created, expires, "2026-01-01T00:00:00Z", nil},
		"more than a day":       {created, expires, "2025-12-31T23:59:59Z", cargo.ErrClock},
		"last second":           {created, expires, "2026-01-31T23:59:59Z", nil},
		"expiry itself":         {created, expires, expires, cargo.ErrExpired},
		"another zone":          {created, "2026-02-01T00:00:00-01:00", "2026-02-01T00:30:00Z", nil},
		"never expires":         {created, "", "2100-01-01T00:00:00Z", nil},
		"expiry is no time":     {created, "soon", "2026-01-03T00:00:00Z", cargo.ErrExpired},
		"creation is no time":   {"", expires, "2026-01-03T00:00:00Z", sign.ErrPredicate},
		"clock behind, no term": {created, "", "1970-01-01T00:00:00Z", cargo.ErrClock},
	} {
		err := cargo.CheckTerm(bundle.Predicate{Created: c.created, Expires: c.expires}, at(t, c.now))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestOpenHoldsTheClockAgainstTheTerm(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{Expires: "2026-02-01T00:00:00Z"})
	for name, c := range map[string]struct {
		now   string
		allow bool
		want  error
		warn  int
	}{
		"in time":             {"2026-01-31T23:59:59Z", false, nil, 0},
		"expired":             {"2026-02-01T00:00:00Z", false, cargo.ErrExpired, 0},
		"expired and allowed": {"2026-02-01T00:00:00Z", true, nil, 1},
		"not made yet":        {"2025-12-30T00:00:00Z", false, cargo.ErrClock, 0},
		"that is no expiry":   {"2025-12-30T00:00:00Z", true, cargo.ErrClock, 0},
	} {
		var rec event.Recorder
		opt := cargo.Options{Now: at(t, c.now), AllowExpired: c.allow}
		opened, err := cargo.Open(t.Context(), []string{b.Dir}, []string{b.KeyFile}, opt, &rec)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if opened != nil {
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		}
		if got := rec.Events(); len(got) != c.warn || (c.warn > 0 && got[0].Kind != event.Warning) {
			t.Errorf("%s: events %+v", name, got)
		}
	}
}

func TestOpenRefusesALockThatItCannotRead(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{LockText: "kind: Lock\n"})
	_, err := cargo.Open(t.Context(), []string{b.Dir}, []string{b.KeyFile}, cargo.Options{}, event.Discard)
	if !errors.Is(err, bundle.ErrFormat) {
		t.Errorf("error is %v", err)
	}
}

func TestOpenTakesOneBundle(t *testing.T) {
	one := bundletest.Make(t, bundletest.Options{Name: "one"})
	two := bundletest.Make(t, bundletest.Options{Name: "two", Key: one.Key, KeyFile: one.KeyFile})
	keys := []string{one.KeyFile}
	for name, c := range map[string]struct {
		paths []string
		want  error
	}{
		"none":    {[]string{t.TempDir()}, cargo.ErrNoBundle},
		"several": {[]string{one.Dir, two.Dir}, cargo.ErrSeveral},
	} {
		if _, err := cargo.Open(t.Context(), c.paths, keys, cargo.Options{}, event.Discard); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := cargo.Open(t.Context(), []string{one.Dir}, nil, cargo.Options{}, event.Discard); !errors.Is(err, sign.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	all, err := cargo.OpenAll(t.Context(), []string{two.Dir, one.Dir}, keys, cargo.Options{}, event.Discard)
	if err != nil || !slices.Equal(all.Names(), []string{"one", "two"}) {
		t.Fatalf("%v, %v", all.Names(), err)
	}
	index := all[1].IndexDigest()
	kept := all.Keep(index)
	if kept == nil || kept.IndexDigest() != index {
		t.Fatalf("kept %v", kept)
	}
	defer kept.Close()
	if _, _, err := kept.File("files.caisson.dev/gpu/driver.run"); err == nil {
		t.Error("a reference without a tag was found")
	}
}

// TestOpenedBundleGivesWhatTheLockNames reads one thing of each kind.
func TestOpenedBundleGivesWhatTheLockNames(t *testing.T) {
	made := bundletest.Make(t, bundletest.Options{})
	b := made.Open(t)
	chart, dg, err := b.Chart(bundletest.OldChart)
	if err != nil || chart.Metadata().Version != "0.9.0" || dg == "" {
		t.Errorf("chart %v %s, %v", chart, dg, err)
	}
	for _, it := range b.Lock().Items {
		raw, ok := lock.As[*lock.RawFile](&it)
		if !ok {
			continue
		}
		data, dg, err := b.File(it.Ref)
		if err != nil || digest.FromBytes(data) != raw.Digest || dg != raw.Digest {
			t.Errorf("file %s: %d bytes of %s, %v", it.Ref, len(data), dg, err)
		}
	}
	if _, _, err := b.Chart(bundletest.Web); !errors.Is(err, cargo.ErrNotCarried) {
		t.Errorf("an image as a chart: %v", err)
	}
	if _, _, err := b.File("ghcr.io/acme/none:1"); !errors.Is(err, cargo.ErrNotCarried) {
		t.Errorf("nothing as a file: %v", err)
	}
	signers := b.Signers()
	if len(signers) != 1 || signers[0].KeyID != made.Key.Public.ID || !strings.HasPrefix(signers[0].Digest.Encoded(), signers[0].KeyID) {
		t.Errorf("signers %+v", signers)
	}
}

// TestHeadClaims: a signature file that cannot be read is listed with its reason.
func TestHeadClaims(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{Sequence: 7})
	large := filepath.Join(b.Dir, "demo.large.sigstore.json")
	if err := os.WriteFile(large, make([]byte, sign.MaxSignature+1), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := cargo.Find("testing", b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := cargo.ReadHead(found[0])
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, c := range h.Claims() {
		if c.File == large {
			if !errors.As(c.Err, new(*atomicfile.TooLargeError)) {
				t.Errorf("claim %+v", c)
			}
			continue
		}
		if c.Err != nil || c.KeyID != b.Key.Public.ID || c.Statement.Predicate.Sequence != 7 {
			t.Errorf("claim %+v", c)
		}
	}
}
