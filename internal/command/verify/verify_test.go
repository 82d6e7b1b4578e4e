package verify

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func verify(t *testing.T, b *bundletest.Bundle, paths ...string) (Result, []event.Event, error) {
	t.Helper()
	if len(paths) == 0 {
		paths = []string{b.Dir}
	}
	var rec event.Recorder
	res, err := Run(t.Context(), Options{Paths: paths, Keys: []string{b.KeyFile}}, &rec)
	return res, rec.Events(), err
}

func TestGoodBundle(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	res, events, err := verify(t, b)
	if err != nil || !res.Trusted || len(res.Findings) != 0 {
		t.Fatalf("%v, %+v", err, res)
	}
	got := res.Bundles[0]
	if !got.Intact || got.Name != "demo" || got.Sequence != 1 || len(got.Keys) != 1 || got.Keys[0] != b.Key.Public.ID {
		t.Errorf("%+v", got)
	}
	if want := b.Open(t).Table().StreamSize(); res.Bytes != want {
		t.Errorf("%d bytes were checked of %d", res.Bytes, want)
	}
	last := events[len(events)-1]
	if last.Kind != event.Result || last.Message != "trusted, complete and undamaged" {
		t.Errorf("last event %+v", last)
	}
}

// TestAllFindingsAtOnce: three damaged blobs and a missing volume are four
// findings that name what they concern.
func TestAllFindingsAtOnce(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{VolumeSize: 1 << 20})
	layers := map[string]digest.Digest{}
	for _, it := range b.Lock.Items {
		switch it.Ref {
		case bundletest.Web:
			layers[string(it.Ref)] = it.Manifests()[1].Layers[1].Digest
		case bundletest.OldChart:
			layers[string(it.Ref)] = it.Content.(*lock.HelmChart).Digest
		}
	}
	type place struct {
		volume string
		at     int64
	}
	where := map[string]place{}
	damage := func(ref string, d digest.Digest, offset int64) {
		v, at := b.Damage(t, d, offset)
		where[ref] = place{v, at}
	}
	damage(bundletest.Web, layers[bundletest.Web], 5)
	damage(bundletest.OldChart, layers[bundletest.OldChart], 0)
	driver, _ := b.Damage(t, b.Driver, 5<<20) // second block
	last := b.Open(t).Table().Volumes() - 1
	gone := filepath.Base(b.Volume(last))
	if err := os.Remove(b.Volume(last)); err != nil {
		t.Fatal(err)
	}

	res, _, err := verify(t, b)
	if !errors.Is(err, ErrDamaged) || !res.Trusted || res.Bundles[0].Intact {
		t.Fatalf("%v, %+v", err, res.Bundles)
	}
	seen := map[string]event.Finding{}
	for _, f := range res.Findings {
		if f.Code == string(bundle.MissingVolume) {
			if f.Volume != gone || f.Hint != "copy "+gone+" again from the source medium" || f.Item == "" {
				t.Errorf("missing volume: %+v", f)
			}
			continue
		}
		seen[strings.Split(f.Item, ",")[0]] = f
	}
	for ref, p := range where {
		f := seen[ref]
		if f.Code != string(bundle.BadBlock) || f.Volume != p.volume || p.at < f.Offset || p.at >= f.Offset+f.Length || f.Hint == "" || f.Blob != layers[ref].String() {
			t.Errorf("%s damaged in %+v: %+v", ref, p, f)
		}
	}
	if driver != gone {
		found := false
		for _, f := range res.Findings {
			found = found || strings.HasPrefix(f.Item, "files.caisson.dev/gpu/driver.run:") && f.Blob == b.Driver.String()
		}
		if !found {
			t.Errorf("no finding about the driver in %+v", res.Findings)
		}
	}
}

func TestNotTrusted(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	other := bundletest.Make(t, bundletest.Options{Name: "other"})
	if err := os.Truncate(b.Volume(1), 100); err != nil {
		t.Fatal(err)
	}
	var rec event.Recorder
	res, err := Run(t.Context(), Options{Paths: []string{b.Dir}, Keys: []string{other.KeyFile}}, &rec)
	if !errors.Is(err, ErrNotTrusted) || !errors.Is(err, bundle.ErrNotTrusted) || errors.Is(err, ErrDamaged) || res.Trusted || res.Bytes != 0 {
		t.Fatalf("%v, %+v", err, res)
	}
	codes := map[string]event.Finding{}
	for _, f := range res.Findings {
		codes[f.Code] = f
	}
	if f := codes[event.CodeNotTrusted]; !strings.Contains(f.Hint, "--key") {
		t.Errorf("trust: %+v", f)
	}
	if f := codes[string(bundle.ShortVolume)]; f.Volume != "demo.vol-00001.tar" || f.Offset != 100 || f.Item != "" {
		t.Errorf("completeness: %+v", f)
	}
}

func TestUnsigned(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	if err := os.Remove(filepath.Join(b.Dir, "demo."+b.Key.Public.ID+".sigstore.json")); err != nil {
		t.Fatal(err)
	}
	if res, _, err := verify(t, b); !errors.Is(err, ErrNotTrusted) || len(res.Findings) != 1 {
		t.Errorf("%v, %+v", err, res.Findings)
	}
}

func TestDamagedHead(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	head := filepath.Join(b.Dir, "demo.head.tar")
	raw, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(head, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	res, _, err := verify(t, b)
	if !errors.Is(err, ErrDamaged) || res.Trusted || res.Findings[0].Code != event.CodeHeadInvalid || !strings.Contains(res.Findings[0].Hint, "demo.head.tar") {
		t.Errorf("%v, %+v", err, res)
	}
}

func TestNoBundleAndNoKey(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	if _, _, err := verify(t, b, t.TempDir()); !errors.Is(err, cargo.ErrNoBundle) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Run(t.Context(), Options{Paths: []string{b.Dir}}, event.Discard); !errors.Is(err, sign.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
}

// TestSplitOverDirectories: head, signature and volumes may lie anywhere.
func TestSplitOverDirectories(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	other := t.TempDir()
	if err := os.Rename(b.Volume(2), filepath.Join(other, filepath.Base(b.Volume(2)))); err != nil {
		t.Fatal(err)
	}
	if res, _, err := verify(t, b, b.Dir, other); err != nil {
		t.Errorf("%v, %+v", err, res.Findings)
	}
	if _, _, err := verify(t, b, b.Dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("without the second directory: %v", err)
	}
}

func TestExpired(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{Expires: "2026-02-01T00:00:00Z"})
	opt := Options{Paths: []string{b.Dir}, Keys: []string{b.KeyFile}, Now: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
	if res, err := Run(t.Context(), opt, event.Discard); err != nil || len(res.Findings) != 0 {
		t.Errorf("before: %v, %+v", err, res.Findings)
	}
	opt.Now = opt.Now.AddDate(0, 0, 1)
	res, err := Run(t.Context(), opt, event.Discard)
	if !errors.Is(err, cargo.ErrExpired) || len(res.Findings) != 1 || res.Findings[0].Code != event.CodeExpired || res.Findings[0].Severity != event.Error {
		t.Errorf("after: %v, %+v", err, res.Findings)
	}
	if got := res.Bundles[0]; !got.Trusted || !got.Stale || got.Intact || res.Bytes == 0 {
		t.Errorf("after: %+v", res)
	}
	opt.Now = time.Date(2025, 12, 30, 0, 0, 0, 0, time.UTC)
	res, err = Run(t.Context(), opt, event.Discard)
	if !errors.Is(err, cargo.ErrClock) || len(res.Findings) != 1 || res.Findings[0].Code != event.CodeClock || res.Findings[0].Severity != event.Error {
		t.Errorf("not made yet: %v, %+v", err, res.Findings)
	}
}
