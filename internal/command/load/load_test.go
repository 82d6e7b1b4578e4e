package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func options(r *bundletest.Registry, bundles ...*bundletest.Bundle) Options {
	opt := Options{Registry: r.Host + "/site", Push: registry.PushOptions{Backoff: time.Millisecond, Keychain: authn.NewMultiKeychain()}}
	for _, b := range bundles {
		opt.Paths, opt.Keys = append(opt.Paths, b.Dir), append(opt.Keys, b.KeyFile)
	}
	return opt
}

func run(t *testing.T, opt Options) (Result, []event.Event) {
	t.Helper()
	var rec event.Recorder
	res, err := Run(t.Context(), opt, &rec)
	if err != nil {
		t.Fatal(err)
	}
	return res, rec.Events()
}

// pusher reads the registry.
func pusher(t *testing.T, r *bundletest.Registry) *registry.Pusher {
	t.Helper()
	p, err := registry.NewPusher(r.Host+"/site", registry.PushOptions{Attempts: 1, Keychain: authn.NewMultiKeychain()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func at(t *testing.T, p *registry.Pusher, repository, reference string) digest.Digest {
	t.Helper()
	d, err := p.ManifestDigest(t.Context(), repository, reference)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func pull(t *testing.T, r *bundletest.Registry, ref string, opts ...validate.Option) {
	t.Helper()
	n, err := name.ParseReference(r.Host + "/site/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(n, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
	if err != nil {
		t.Fatalf("%s: %v", ref, err)
	}
	if err := validate.Image(img, opts...); err != nil {
		t.Errorf("%s: %v", ref, err)
	}
}

func TestLoadWhereSparseIndexesAreWelcome(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	r := bundletest.NewRegistry(t, true)
	opt := options(r, b)
	res, _ := run(t, opt)
	if len(res.Children) != 0 || res.References != b.References() {
		t.Errorf("%+v", res)
	}
	p := pusher(t, r)
	tag := "sha256-" + b.WebIndex.Encoded()
	for _, c := range []struct {
		repository, reference string
		want                  digest.Digest
	}{
		{"ghcr.io/acme/web", "1.2.3", b.WebIndex},
		{"ghcr.io/acme/web", b.WebAMD64.String(), b.WebAMD64},
		{"ghcr.io/acme/web", tag + ".sig", b.Signature},
		{"ghcr.io/acme/web", b.SBOM.String(), b.SBOM},
		{"quay.io/acme/full", "2.0", b.FullIndex},
	} {
		if got := at(t, p, c.repository, c.reference); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.repository, c.reference, got, c.want)
		}
	}
	repository, commit, _ := strings.Cut(bundletest.Model, ":")
	pack, _, err := p.ReadManifest(t.Context(), repository, commit+"-modelpack")
	if err != nil || !bytes.Contains(pack, []byte("application/vnd.cncf.model.manifest.v1+json")) {
		t.Errorf("ModelPack: %s, %v", pack, err)
	}
	// The referrers tag came as upstream had it.
	raw, _, err := p.ReadManifest(t.Context(), "ghcr.io/acme/web", tag)
	if err != nil || !bytes.Equal(raw, b.Content[digest.FromBytes(raw)]) {
		t.Errorf("referrers tag: %s, %v", raw, err)
	}
	for _, ref := range []string{bundletest.Full, bundletest.Tool, bundletest.Web} {
		pull(t, r, ref)
	}
	pull(t, r, bundletest.Model, validate.Fast)

	// Each blob was sent once and mounted wherever else it is needed.
	c, err := cargo.Bundles{b.Open(t)}.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	places, unique := 0, map[digest.Digest]bool{}
	for _, repo := range c.Repositories {
		places += len(repo.Blobs)
		for d := range repo.Blobs {
			unique[d] = true
		}
	}
	if res.Blobs != len(unique) || res.Blobs+res.Mounted != places || res.Mounted < 1 {
		t.Errorf("%d sent and %d mounted; there are %d blobs in %d places", res.Blobs, res.Mounted, len(unique), places)
	}
	if n := r.Requests(http.MethodPut, "/blobs/uploads/"); n != res.Blobs {
		t.Errorf("%d uploads for %d blobs", n, res.Blobs)
	}

	r.Reset()
	again, _ := run(t, opt)
	if again.Pushed != 0 || again.Blobs != 0 || again.Manifests != 0 {
		t.Errorf("the second run pushed: %+v", again)
	}
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodPatch} {
		if n := r.Requests(method, ""); n != 0 {
			t.Errorf("the second run made %d %s requests", n, method)
		}
	}
	if again.SkippedReferences != again.References {
		t.Errorf("%d of %d references skipped", again.SkippedReferences, again.References)
	}
}

func TestLoadWhereSparseIndexesAreRefused(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	r := bundletest.NewRegistry(t, false)
	opt := options(r, b)
	for i := range 2 {
		res, events := run(t, opt)
		want := registry.Child{Reference: bundletest.Web, Repository: "ghcr.io/acme/web", Tag: "1.2.3", Index: b.WebIndex, Digest: b.WebAMD64,
			Platform: "linux/amd64", Platforms: map[string]digest.Digest{"linux/amd64": b.WebAMD64}}
		if len(res.Children) != 1 || fmt.Sprint(res.Children[0]) != fmt.Sprint(want) {
			t.Fatalf("run %d: %+v", i, res.Children)
		}
		var found []event.Finding
		for _, e := range events {
			if e.Kind == event.FindingKind {
				found = append(found, *e.Finding)
			}
		}
		if len(found) != 1 || found[0].Code != "sparse-index" || found[0].Severity != event.Warn || found[0].Item != bundletest.Web || !strings.Contains(found[0].Hint, "--all-platforms") {
			t.Errorf("run %d: %+v", i, found)
		}
		if i == 1 && (res.Manifests != 0 || res.Pushed != 0) {
			t.Errorf("the second run pushed: %+v", res)
		}
	}
	p := pusher(t, r)
	if got := at(t, p, "ghcr.io/acme/web", "1.2.3"); got != b.WebAMD64 {
		t.Errorf("the tag names %s", got)
	}
	if got := at(t, p, "quay.io/acme/full", "2.0"); got != b.FullIndex {
		t.Errorf("the complete index: %s", got)
	}
	for _, ref := range []string{bundletest.Web, bundletest.Full, bundletest.Tool} {
		pull(t, r, ref)
	}
}

func TestSecondBundleBringsTheDifference(t *testing.T) {
	one := bundletest.Make(t, bundletest.Options{})
	two := bundletest.Make(t, bundletest.Options{Salt: "2", Sequence: 2})
	r := bundletest.NewRegistry(t, true)
	run(t, options(r, one))
	res, _ := run(t, options(r, two))
	// A new layer of 300 KiB with its config, and what is about the image.
	if res.Pushed > 400<<10 || res.Pushed < 300<<10 {
		t.Errorf("%d bytes pushed", res.Pushed)
	}
	if got := at(t, pusher(t, r), "ghcr.io/acme/web", "1.2.3"); got != two.WebIndex {
		t.Errorf("the tag did not move: %s", got)
	}
}

func TestTwoBundlesAtOnce(t *testing.T) {
	one := bundletest.Make(t, bundletest.Options{Name: "one", Sequence: 9})
	two := bundletest.Make(t, bundletest.Options{Name: "two", Salt: "2", Sequence: 2})
	r := bundletest.NewRegistry(t, true)
	_, events := run(t, options(r, one, two))
	if got := at(t, pusher(t, r), "ghcr.io/acme/web", "1.2.3"); got != one.WebIndex {
		t.Errorf("the tag names %s, not the image of the highest sequence", got)
	}
	warned := false
	for _, e := range events {
		warned = warned || e.Kind == event.Warning && strings.Contains(e.Item, "acme/web:1.2.3")
	}
	if !warned {
		t.Error("no warning")
	}
}

// TestInterrupted: whatever request fails, running again ends well and sends
// only what was not taken.
func TestInterrupted(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	r := bundletest.NewRegistry(t, false)
	var left, twice atomic.Int64
	r.Fault = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodGet || req.Method == http.MethodHead {
			return false
		}
		if left.Add(-1) < 0 {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		path, upload, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/blobs/uploads/")
		if req.Method == http.MethodPut && upload != "" && r.Has(path, digest.Digest(req.URL.Query().Get("digest"))) {
			twice.Add(1)
		}
		return false
	}
	opt := options(r, b)
	runs := 0
	for n := int64(1); ; n += 3 {
		left.Store(n)
		_, err := Run(t.Context(), opt, event.Discard)
		r.Idle() // what was cut short may still be taken
		runs++
		if err == nil {
			break
		}
		if refusal := new(registry.RefusedError); !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden {
			t.Fatalf("run %d: %v", runs, err)
		}
	}
	if runs < 4 {
		t.Errorf("only %d runs", runs)
	}
	for _, name := range []string{bundletest.Web, bundletest.Full, bundletest.Tool} {
		pull(t, r, name)
	}
	if twice.Load() != 0 {
		t.Errorf("%d blobs were sent although the registry had them", twice.Load())
	}
}

func TestDamagedBundle(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	volume, _ := b.Damage(t, b.Driver, 4<<20+5)
	r := bundletest.NewRegistry(t, false)
	var leaked atomic.Bool
	bad := bytes.Clone(b.Content[b.Driver][4<<20 : 4<<20+64])
	bad[5] ^= 0x10
	r.Fault = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPut && req.ContentLength == int64(len(b.Content[b.Driver])) {
			raw, _ := io.ReadAll(req.Body)
			leaked.Store(bytes.Contains(raw, bad) || !bytes.HasPrefix(b.Content[b.Driver], raw))
		}
		return false
	}
	var rec event.Recorder
	_, err := Run(t.Context(), options(r, b), &rec)
	if !errors.Is(err, bundle.ErrTampered) {
		t.Fatalf("error %v", err)
	}
	if leaked.Load() {
		t.Error("a wrong byte left")
	}
	var found *event.Finding
	for _, e := range rec.Events() {
		if e.Kind == event.FindingKind {
			found = e.Finding
		}
	}
	if found == nil || found.Code != string(bundle.BadBlock) || !strings.Contains(found.What, volume) || !strings.HasPrefix(found.Item, "files.caisson.dev/gpu/driver.run:") {
		t.Errorf("finding %+v", found)
	}
	if have, err := pusher(t, r).HasBlob(t.Context(), "files.caisson.dev/gpu/driver.run", b.Driver); err != nil || have {
		t.Errorf("the registry has the blob: %v, %v", have, err)
	}
}

// TestRegistryWithReferrers: no referrers tag where the registry has the API.
func TestRegistryWithReferrers(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	r := bundletest.NewRegistry(t, true)
	r.Fault = func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, "/referrers/") {
			return false
		}
		index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: b.SBOM, Size: int64(len(b.Content[b.SBOM]))}}}
		index.SchemaVersion = 2
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		_ = json.NewEncoder(w).Encode(index)
		return true
	}
	run(t, options(r, b))
	if got := at(t, pusher(t, r), "ghcr.io/acme/web", "sha256-"+b.WebIndex.Encoded()); got != "" {
		t.Errorf("a referrers tag was written: %s", got)
	}
}

// TestReferrersTagOfOthersStays: what the site attached itself is kept.
func TestReferrersTagOfOthersStays(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	r := bundletest.NewRegistry(t, true)
	other := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("site's own"), Size: 3}
	p := pusher(t, r)
	if err := p.EnsureReferrers(t.Context(), "ghcr.io/acme/web", b.WebIndex, []ocispec.Descriptor{other}, nil); err != nil {
		t.Fatal(err)
	}
	run(t, options(r, b))
	raw, _, err := p.ReadManifest(t.Context(), "ghcr.io/acme/web", "sha256-"+b.WebIndex.Encoded())
	if err != nil || !bytes.Contains(raw, []byte(other.Digest)) || !bytes.Contains(raw, []byte(b.SBOM)) {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestCancelled(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	r := bundletest.NewRegistry(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	r.Fault = func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPost {
			cancel()
		}
		return false
	}
	if _, err := Run(ctx, options(r, b), event.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestWrongReadBack: a registry that stores something else is caught.
func TestWrongReadBack(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	r := bundletest.NewRegistry(t, true)
	r.Fault = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/tool/manifests/3.1") {
			_, _ = io.WriteString(w, "{}")
			return true
		}
		return false
	}
	if _, err := Run(t.Context(), options(r, b), event.Discard); !errors.Is(err, registry.ErrDigest) || !strings.Contains(err.Error(), "tool:3.1") {
		t.Errorf("%v", err)
	}
}

func TestUntrusted(t *testing.T) {
	b, other := bundletest.Make(t, bundletest.Options{}), bundletest.Make(t, bundletest.Options{Name: "other"})
	r := bundletest.NewRegistry(t, true)
	opt := options(r, b)
	opt.Keys = []string{other.KeyFile}
	if _, err := Run(t.Context(), opt, event.Discard); !errors.Is(err, bundle.ErrNotTrusted) {
		t.Errorf("%v", err)
	}
	if n := r.Requests("", ""); n != 0 {
		t.Errorf("%d requests for a bundle that nobody trusts", n)
	}
}

// TestLoadRefusesALockThatItCannotRead: the lock says which platforms the bundle
// is for, so nothing is pushed without it.
func TestLoadRefusesALockThatItCannotRead(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{LockText: "kind: Lock\n"})
	r := bundletest.NewRegistry(t, true)
	_, err := Run(t.Context(), options(r, b), event.Discard)
	if !errors.Is(err, bundle.ErrFormat) {
		t.Errorf("error is %v", err)
	}
	if n := r.Requests(http.MethodPut, "/"); n != 0 {
		t.Errorf("%d requests wrote to the registry", n)
	}
}
