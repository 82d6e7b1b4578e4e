package resolve

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
)

// carried lists the platforms of an item's manifests.
func carried(l *lock.Lock, ref imageref.Ref) string {
	for _, it := range l.Items {
		if it.Ref != ref {
			continue
		}
		var out []string
		for _, m := range it.Manifests() {
			out = append(out, m.Platform)
		}
		return strings.Join(out, ",")
	}
	return "no item"
}

func attestationOf(h *shelf, d ocispec.Descriptor) ocispec.Descriptor {
	a := h.image("unknown/unknown", h.blob("application/vnd.in-toto+json", "attests "+string(d.Digest)))
	a.Annotations = map[string]string{annotationReferenceType: attestationManifest, annotationReferenceDigest: string(d.Digest)}
	return a
}

func TestIndexSelection(t *testing.T) {
	s, h := shelfSite(t)
	amd, arm, v7, win := h.image("linux/amd64"), h.image("linux/arm64/v8"), h.image("linux/arm"), h.image("windows/amd64")
	h.index("multi", attestationOf(h, amd), amd, arm, v7, win, attestationOf(h, arm))
	bare := h.image("linux/amd64")
	bare.Platform = nil
	h.index("bare", bare)
	inner := h.index("inner", amd, arm)
	h.index("nested", inner)
	artifact := h.addReferrer(amd, "application/x.thing")
	h.index("artifacts", artifact)
	h.tag("arm", arm)
	tests := []struct{ platforms, tag, want string }{
		{"linux/amd64", "multi", ",attestation,linux/amd64"},
		{"linux/arm64", "multi", ",linux/arm64,attestation"},
		{"linux/arm64/v8", "multi", ",linux/arm64,attestation"},
		{"linux/arm/v7", "multi", ",linux/arm/v7"},
		{"linux/arm", "multi", ",linux/arm/v7"},
		{"linux/arm64, linux/amd64", "multi", ",attestation,linux/amd64,linux/arm64,attestation"},
		{"linux/amd64", "bare", ",linux/amd64"},
		{"linux/amd64", "nested", ",,linux/amd64"},
		{"linux/amd64", "artifacts", ","},
		{"linux/arm64", "arm", "linux/arm64"},
		{"linux/arm64, linux/amd64", "arm", "linux/arm64"},
	}
	for _, test := range tests {
		s.write("stack.yaml", imageStack(test.platforms, "reg.example/a/b:"+test.tag))
		r, _ := s.mustResolve(s.options("l.yaml"))
		if got := carried(r.Lock, imageref.Ref("reg.example/a/b:"+test.tag)); got != test.want {
			t.Errorf("%s of %s: carried %q, want %q", test.platforms, test.tag, got, test.want)
		}
	}
	if !warned(s, "it is for linux/arm64 alone; the stack also has linux/amd64") {
		t.Error("nobody said that a platform of the stack has no image")
	}
}

func TestAllPlatformsCarriesWhatTheStackDoesNotName(t *testing.T) {
	s, h := shelfSite(t)
	amd, arm := h.image("linux/amd64"), h.image("linux/arm64")
	h.index("multi", amd, attestationOf(h, amd), arm, attestationOf(h, arm))
	opt := s.options("l.yaml")
	opt.AllPlatforms = true
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:multi"))
	r, _ := s.mustResolve(opt)
	if got, want := carried(r.Lock, "reg.example/a/b:multi"), ",linux/amd64,attestation,linux/arm64,attestation"; got != want {
		t.Errorf("carried %q, want %q", got, want)
	}
	s.write("stack.yaml", imageStack("linux/s390x", "reg.example/a/b:multi"))
	if _, err := s.resolve(opt); !errors.Is(err, ErrPlatform) {
		t.Errorf("a platform of the stack that no image is for: %v", err)
	}
}

func warned(s *site, text string) bool {
	for _, e := range s.events.Events() {
		if e.Kind == event.Warning && strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

func TestImageRefusals(t *testing.T) {
	s, h := shelfSite(t)
	amd := h.image("linux/amd64")
	h.index("multi", amd, h.image("linux/arm64"))
	h.index("empty")
	h.index("unknown", h.image("unknown/unknown"))
	h.tag("single", amd)
	lie := amd
	lie.Size++
	h.index("size", lie)
	foreign := h.blob(ocispec.MediaTypeImageLayerGzip, "x")
	foreign.URLs = []string{"https://evil.example/x"}
	h.tag("urls", h.image("linux/s390x", foreign))
	nondist := h.blob("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "y")
	h.tag("foreign", h.image("linux/s390x", nondist))
	gone := amd
	gone.Digest = digest.FromString("gone")
	gone.Platform = nil
	h.index("child-gone", gone)
	deep := h.index("d0", amd)
	for i := range maxIndexDepth {
		deep = h.index(fmt.Sprint("deep", i), deep)
	}
	tests := []struct{ platforms, tag, want string }{
		{"linux/s390x", "multi", "linux/s390x missing, there: linux/amd64, linux/arm64"},
		{"linux/amd64, linux/ppc64le", "multi", "linux/ppc64le missing"},
		{"linux/amd64", "empty", "nothing that can be carried"},
		{"linux/amd64", "unknown", "nothing that can be carried"},
		{"linux/arm64", "single", "it is for linux/amd64, the stack for linux/arm64"},
		{"linux/amd64", "size", "its descriptor says"},
		{"linux/s390x", "urls", ErrForeign.Error()},
		{"linux/s390x", "foreign", ErrForeign.Error()},
		{"linux/amd64", "child-gone", registry.ErrNotFound.Error()},
		{"linux/amd64", "deep3", "nested more than 4 deep"},
	}
	for _, test := range tests {
		s.write("stack.yaml", imageStack(test.platforms, "reg.example/a/b:"+test.tag))
		_, err := s.resolve(s.options("l.yaml"))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "stack.yaml:8: component c: image reg.example/a/b:"+test.tag+": ") {
			t.Errorf("%s of %s: %v, want %q", test.platforms, test.tag, err, test.want)
		}
	}
}

// TestADigestThatTheUpstreamDoesNotHave: the tag beside it leads to something else, and
// nobody can tell which of the two is right.
func TestADigestThatTheUpstreamDoesNotHave(t *testing.T) {
	s, h := shelfSite(t)
	there := h.image("linux/amd64")
	h.tag("one", there)
	wrong := digest.FromString("never pushed")
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:one@"+wrong.String()))
	_, err := s.resolve(s.options("l.yaml"))
	want := "the stack says " + wrong.String() + ", the upstream gives " + there.Digest.String() + ": do not use it before asking"
	if !errors.Is(err, stack.ErrDiffers) || !strings.Contains(err.Error(), want) {
		t.Errorf("with a tag: %v", err)
	}
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b@"+wrong.String()))
	if _, err := s.resolve(s.options("l.yaml")); !errors.Is(err, registry.ErrNotFound) || errors.Is(err, stack.ErrDiffers) {
		t.Errorf("without a tag: %v", err)
	}
}

func TestAllMissingImagesAreReported(t *testing.T) {
	s, h := shelfSite(t)
	h.tag("here", h.image("linux/amd64"))
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:one", "reg.example/a/b:here", "reg.example/a/b:two"))
	_, err := s.resolve(s.options("l.yaml"))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 2 || !errors.Is(err, registry.ErrNotFound) {
		t.Fatalf("problems: %v", err)
	}
	if problems[0].Line != 8 || problems[1].Line != 10 || !strings.HasPrefix(problems[1].Error(), "stack.yaml:10: component c: image reg.example/a/b:two: ") {
		t.Errorf("problems: %v", problems)
	}
}

func TestTagAndDigestStayTwoItems(t *testing.T) {
	s, h := shelfSite(t)
	old, now := h.image("linux/amd64", h.blob("text/plain", "old")), h.image("linux/amd64", h.blob("text/plain", "now"))
	h.tag("v1", now)
	both := "reg.example/a/b:v1@" + string(old.Digest)
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:v1", both, "reg.example/a/b@"+string(now.Digest), "reg.example/a/b@"+string(old.Digest), "reg.example/c/b:v1"))
	r, _ := s.mustResolve(s.options("l.yaml"))
	want := map[string]digest.Digest{
		"reg.example/a/b:v1": now.Digest, both: old.Digest, "reg.example/a/b@" + string(now.Digest): now.Digest,
		"reg.example/a/b@" + string(old.Digest): old.Digest, "reg.example/c/b:v1": now.Digest,
	}
	for _, it := range r.Lock.Items {
		if want[string(it.Ref)] != it.Digest {
			t.Errorf("%s is %s", it.Ref, it.Digest)
		}
		delete(want, string(it.Ref))
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
	if !warned(s, "is now "+string(now.Digest)+" upstream") {
		t.Error("nobody said that the tag moved")
	}
	if n := h.asked["/v2/a/b/referrers/"+string(now.Digest)]; n != 1 {
		t.Errorf("referrers of one image asked for %d times", n)
	}
}

func TestEvidence(t *testing.T) {
	s, h := shelfSite(t)
	amd, arm := h.image("linux/amd64"), h.image("linux/arm64")
	root := h.index("v1", amd, arm)
	onRoot, onChild := h.addReferrer(root, "application/x.sbom"), h.addReferrer(amd, "application/x.signature")
	onOther := h.addReferrer(arm, "application/x.signature")
	second := h.addReferrer(onRoot, "application/x.signature")
	h.list(root, onRoot) // listed twice
	stray := h.addReferrer(arm, "application/x.stray")
	h.list(root, stray) // refers to something else
	vanished := stray
	vanished.Digest = digest.FromString("vanished")
	h.list(root, vanished)
	tag := registry.FallbackTag(root.Digest) + ".att"
	h.tag(tag, h.image("linux/amd64", h.blob("application/vnd.dsse.envelope.v1+json", "{}")))
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:v1"))
	r, _ := s.mustResolve(s.options("l.yaml"))

	want := map[string]digest.Digest{
		"reg.example/a/b@" + string(onRoot.Digest):  root.Digest,
		"reg.example/a/b@" + string(onChild.Digest): amd.Digest,
		"reg.example/a/b@" + string(second.Digest):  onRoot.Digest,
		"reg.example/a/b:" + tag:                    root.Digest,
	}
	for _, it := range r.Lock.Items {
		if it.Kind != lock.Referrer {
			continue
		}
		if want[string(it.Ref)] != it.Subject || len(it.Components) != 1 {
			t.Errorf("%s refers to %q for %v", it.Ref, it.Subject, it.Components)
		}
		delete(want, string(it.Ref))
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
	if got := (Evidence{Found: 6, Carried: 4, Missing: 1, Failed: 1}); r.Evidence != got {
		t.Errorf("counted %+v, want %+v", r.Evidence, got)
	}
	if !warned(s, "does not name it as its subject") || !warned(s, "listed and not there") {
		t.Error("nobody said what is wrong with the referrers")
	}
	if n := h.asked["/v2/a/b/referrers/"+string(onOther.Digest)]; n != 0 {
		t.Error("looked at what refers to a platform that is not carried")
	}
	end := endOf(s, "reg.example/a/b:v1")
	if end.Fields["found"] != 6 || end.Fields["carried"] != 4 || end.Fields["missing"] != 1 || end.Fields["failed"] != 1 {
		t.Errorf("the item's end says %v", end.Fields)
	}
}

func endOf(s *site, item string) event.Event {
	for _, e := range s.events.Events() {
		if e.Kind == event.End && e.Item == item {
			return e
		}
	}
	s.Errorf("no end of %s", item)
	return event.Event{}
}

func TestEvidenceDepth(t *testing.T) {
	s, h := shelfSite(t)
	at := h.image("linux/amd64")
	h.tag("v1", at)
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:v1"))
	for range maxEvidenceDepth {
		at = h.addReferrer(at, "application/x.signature")
	}
	if r, _ := s.mustResolve(s.options("l.yaml")); r.Counts[lock.Referrer] != maxEvidenceDepth {
		t.Errorf("carried %d referrers", r.Counts[lock.Referrer])
	}
	h.addReferrer(at, "application/x.signature")
	if _, err := s.resolve(s.options("l.yaml")); err == nil || !strings.Contains(err.Error(), "more than 4 deep") {
		t.Errorf("one more: %v", err)
	}
}

func TestEvidenceIsNeverSkipped(t *testing.T) {
	for name, path := range map[string]string{
		"referrers": "/v2/a/b/referrers/%s", "signature tag": "/v2/a/b/manifests/%t.sig", "attestation tag": "/v2/a/b/manifests/%t.att", "referrer": "/v2/a/b/manifests/%r",
	} {
		for _, status := range []int{http.StatusInternalServerError, http.StatusForbidden, http.StatusUnauthorized} {
			s, h := shelfSite(t)
			d := h.image("linux/amd64")
			h.tag("v1", d)
			ref := h.addReferrer(d, "application/x.signature")
			path := strings.NewReplacer("%s", string(d.Digest), "%t", registry.FallbackTag(d.Digest), "%r", string(ref.Digest)).Replace(path)
			h.status[path] = status
			s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:v1"))
			if _, err := s.resolve(s.options("l.yaml")); err == nil || !strings.Contains(err.Error(), "looking for signatures") {
				t.Errorf("%s answers %d: %v", name, status, err)
			}
		}
	}
}

func TestPlatforms(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/amd64/v1": "linux/amd64", "Linux/AMD64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"linux/aarch64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7", "linux/arm/v6": "linux/arm/v6", "linux/armhf": "linux/arm/v7",
	} {
		if p, err := parsePlatform(in); err != nil || p.String() != want {
			t.Errorf("%s is %s, %v; want %s", in, p, err, want)
		}
	}
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "a/b/c/d", "linux//v7"} {
		if _, err := parsePlatform(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
