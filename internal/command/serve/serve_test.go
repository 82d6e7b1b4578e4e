package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	ocicontent "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	orasremote "oras.land/oras-go/v2/registry/remote"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// site is a handler behind a real connection.
type site struct {
	*testing.T
	url  string
	host string
	rec  *event.Recorder
}

func newSite(t *testing.T, bundles ...*bundletest.Bundle) *site {
	t.Helper()
	s := &site{T: t, rec: &event.Recorder{}}
	var list cargo.Bundles
	for _, b := range bundles {
		list = append(list, b.Open(t))
	}
	h, err := New(list, s.rec)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s.url, s.host = srv.URL, strings.TrimPrefix(srv.URL, "http://")
	return s
}

type answer struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// do makes a request with header lines "Name: value".
func (s *site) do(method, path string, headers ...string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, body, err}
}

func (s *site) get(path string, headers ...string) answer {
	s.Helper()
	return s.do(http.MethodGet, path, headers...)
}

// expect requires a status and returns the answer.
func (a answer) expect(t *testing.T, status int) answer {
	t.Helper()
	if a.err != nil || a.StatusCode != status {
		t.Fatalf("%v, %+v; want status %d", a.err, a.Response, status)
	}
	return a
}

func (a answer) json(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

func (a answer) ociCode(t *testing.T) string {
	t.Helper()
	var doc struct{ Errors []struct{ Code string } }
	a.json(t, &doc)
	if len(doc.Errors) != 1 {
		t.Fatalf("%s", a.body)
	}
	return doc.Errors[0].Code
}

func TestStockClientPullsImages(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	// validate reads every layer as gzip, which a model's layers are not.
	for ref, how := range map[string][]validate.Option{bundletest.Full: nil, bundletest.Tool: nil, bundletest.Web: nil, bundletest.Model: {validate.Fast}} {
		r, err := name.ParseReference(s.host + "/" + ref)
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(r, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		if err := validate.Image(img, how...); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	r, _ := name.ParseReference(s.host + "/" + bundletest.Full)
	idx, err := remote.Index(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	if d, _ := idx.Digest(); d.String() != b.FullIndex.String() {
		t.Errorf("digest %s", d)
	}
}

// TestModelPackReadersPullTheModel pulls the model by the tag that readers of
// ModelPack take: other types, the same layers.
func TestModelPackReadersPullTheModel(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	repository, tag, _ := strings.Cut(bundletest.Model, ":")
	repo, err := orasremote.NewRepository(s.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	layers := map[string][]ocispec.Descriptor{}
	for _, name := range []string{tag, tag + "-modelpack"} {
		dst := memory.New()
		d, err := oras.Copy(t.Context(), repo, name, dst, name, oras.DefaultCopyOptions)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw, err := ocicontent.FetchAll(t.Context(), dst, d)
		if err != nil {
			t.Fatal(err)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		layers[m.ArtifactType] = m.Layers
	}
	image, pack := layers[""], layers["application/vnd.cncf.model.manifest.v1+json"]
	if len(image) == 0 || len(image) != len(pack) {
		t.Fatalf("layers %+v", layers)
	}
	for i := range image {
		if image[i].Digest != pack[i].Digest || !strings.HasPrefix(pack[i].MediaType, "application/vnd.cncf.model.") {
			t.Errorf("layer %d: %+v and %+v", i, image[i], pack[i])
		}
	}
}

func TestOrasCopiesWithReferrers(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	repo, err := orasremote.NewRepository(s.host + "/ghcr.io/acme/web")
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	dst := memory.New()
	opts := oras.DefaultCopyOptions
	opts.WithTargetPlatform(&ocispec.Platform{OS: "linux", Architecture: "amd64"})
	d, err := oras.Copy(t.Context(), repo, "1.2.3", dst, "1.2.3", opts)
	if err != nil || d.Digest != b.WebAMD64 {
		t.Fatalf("copied %s, %v", d.Digest, err)
	}
	var found []digest.Digest
	err = repo.Referrers(t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: b.WebIndex, Size: 1}, "application/spdx+json", func(list []ocispec.Descriptor) error {
		for _, d := range list {
			found = append(found, d.Digest)
		}
		return nil
	})
	if err != nil || len(found) != 1 || found[0] != b.SBOM {
		t.Errorf("referrers %v, %v", found, err)
	}
	chart, err := orasremote.NewRepository(s.host + "/ghcr.io/acme/charts/web")
	if err != nil {
		t.Fatal(err)
	}
	chart.PlainHTTP = true
	if _, err := oras.Copy(t.Context(), chart, "1.2.3", memory.New(), "", oras.DefaultCopyOptions); err != nil {
		t.Error(err)
	}
}

func TestOwnPullerReadsBack(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	p, err := registry.NewPusher(s.host, registry.PushOptions{Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := p.ManifestDigest(t.Context(), "ghcr.io/acme/web", "1.2.3"); err != nil || d != b.WebIndex {
		t.Errorf("%s, %v", d, err)
	}
	err = p.PutManifest(t.Context(), "ghcr.io/acme/web", "new", ocispec.MediaTypeImageIndex, []byte("{}"))
	if refusal := new(registry.RefusedError); !errors.As(err, &refusal) || refusal.Status != http.StatusMethodNotAllowed || refusal.Codes[0] != "UNSUPPORTED" {
		t.Errorf("push: %v", err)
	}
}

func TestDistributionAPI(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	layer := b.Lock.Items[0]
	for _, it := range b.Lock.Items {
		if it.Ref == bundletest.Web {
			layer = it
		}
	}
	base := layer.Manifests()[1].Layers[0]
	manifest := "/v2/ghcr.io/acme/web/manifests/"
	blob := "/v2/ghcr.io/acme/web/blobs/"

	root := s.get("/v2/").expect(t, 200)
	if root.Header.Get("Docker-Distribution-API-Version") != "registry/2.0" {
		t.Error("no API version")
	}
	s.get("/v2").expect(t, 200)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, ref := range []string{"1.2.3", b.WebIndex.String()} {
			a := s.do(method, manifest+ref, "Accept: text/nonsense").expect(t, 200)
			if a.Header.Get("Docker-Content-Digest") != b.WebIndex.String() || a.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex || a.ContentLength != int64(len(b.Content[b.WebIndex])) {
				t.Errorf("%s %s: %v", method, ref, a.Header)
			}
			if method == http.MethodGet && !bytes.Equal(a.body, b.Content[b.WebIndex]) || method == http.MethodHead && len(a.body) != 0 {
				t.Errorf("%s %s: wrong body", method, ref)
			}
		}
	}
	s.get(manifest+"1.2.3", `If-None-Match: "`+b.WebIndex.String()+`"`).expect(t, 304)
	// containerd's mirror form: no host in the path.
	s.get("/v2/acme/web/manifests/1.2.3?ns=ghcr.io").expect(t, 200)
	s.get("/v2/library/tool/manifests/3.1?ns=docker.io").expect(t, 200)
	s.get("/v2/ghcr.io/acme/web/manifests/1.2.3?ns=ghcr.io").expect(t, 200)
	s.get("/v2/acme/web/manifests/1.2.3").expect(t, 404)

	for path, want := range map[string]string{
		manifest + "9.9.9":                         "404 MANIFEST_UNKNOWN",
		manifest + digest.FromString("x").String(): "404 MANIFEST_UNKNOWN",
		manifest + b.FullIndex.String():            "404 MANIFEST_UNKNOWN", // of another repository
		manifest + "sha256:zz":                     "400 DIGEST_INVALID",
		blob + "sha256:zz":                         "400 DIGEST_INVALID",
		blob + digest.FromString("x").String():     "404 BLOB_UNKNOWN",
		blob + b.Driver.String():                   "404 BLOB_UNKNOWN", // of another repository
		"/v2/no/such/manifests/x":                  "404 NAME_UNKNOWN",
		"/v2/no/such/tags/list":                    "404 NAME_UNKNOWN",
		"/v2/ghcr.io/acme/web/referrers/nonsense":  "400 DIGEST_INVALID",
		"/v2/ghcr.io/acme/web/nonsense/x":          "404 UNSUPPORTED",
		"/v2/_catalog?n=-1":                        "400 PAGINATION_NUMBER_INVALID",
	} {
		a := s.get(path)
		if a.err != nil {
			t.Fatal(a.err)
		}
		if got := fmt.Sprint(a.StatusCode, " ", a.ociCode(t)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		a := s.do(method, "/v2/ghcr.io/acme/web/blobs/uploads/").expect(t, 405)
		if a.ociCode(t) != "UNSUPPORTED" || a.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %v %s", method, a.Header, a.body)
		}
	}

	content := b.Content[base.Digest]
	if a := s.get(blob+base.Digest.String()).expect(t, 200); !bytes.Equal(a.body, content) {
		t.Error("the blob came otherwise")
	}
	head := s.do(http.MethodHead, blob+base.Digest.String()).expect(t, 200)
	if head.ContentLength != base.Size || head.Header.Get("Accept-Ranges") != "bytes" || head.Header.Get("Docker-Content-Digest") != base.Digest.String() {
		t.Errorf("HEAD: %v", head.Header)
	}
	size := len(content)
	for spec, want := range map[string][2]int{
		"bytes=0-0":             {0, 1},
		"bytes=5-":              {5, size},
		"bytes=-7":              {size - 7, size},
		"bytes=-99999999999":    {0, size},
		"bytes=4194300-4194310": {4194300, 4194311}, // across blocks
		"bytes=100-99999999999": {100, size},
	} {
		a := s.get(blob+base.Digest.String(), "Range: "+spec).expect(t, 206)
		if !bytes.Equal(a.body, content[want[0]:want[1]]) || a.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, size) {
			t.Errorf("%s: %d bytes, %v", spec, len(a.body), a.Header)
		}
	}
	etag := head.Header.Get("ETag")
	s.get(blob+base.Digest.String(), "Range: bytes=0-3", "If-Range: "+etag).expect(t, 206)
	s.get(blob+base.Digest.String(), "Range: bytes=0-3", `If-Range: "other"`).expect(t, 200)
	s.get(blob+base.Digest.String(), "Range: bytes=0-3,9-12").expect(t, 200)
	s.get(blob+base.Digest.String(), "Range: lines=0-3").expect(t, 200)
	a := s.get(blob+base.Digest.String(), fmt.Sprintf("Range: bytes=%d-", size)).expect(t, 416)
	if a.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
		t.Errorf("416: %v", a.Header)
	}
}

func TestListings(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	var tags struct {
		Name string
		Tags []string
	}
	fallback := "sha256-" + b.WebIndex.Encoded()
	s.get("/v2/ghcr.io/acme/web/tags/list").expect(t, 200).json(t, &tags)
	if want := []string{"1.2.3", fallback, fallback + ".sig"}; tags.Name != "ghcr.io/acme/web" || !equal(tags.Tags, want) {
		t.Errorf("tags %+v", tags)
	}
	var names []string
	for path := "/v2/_catalog?n=2"; path != ""; {
		a := s.get(path).expect(t, 200)
		var page struct{ Repositories []string }
		a.json(t, &page)
		names = append(names, page.Repositories...)
		path, _, _ = strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
	}
	want := []string{"charts.acme.example/stable/old", "docker.io/library/tool", "files.caisson.dev/gpu/driver.run", "files.caisson.dev/web/extra.yaml",
		"ghcr.io/acme/charts/web", "ghcr.io/acme/web", "huggingface.co/acme/tiny-llm", "quay.io/acme/full"}
	if !equal(names, want) {
		t.Errorf("catalogue %v", names)
	}
	s.get("/v2/ghcr.io/acme/web/tags/list?n=0").expect(t, 200).json(t, &tags)
	if len(tags.Tags) != 0 {
		t.Errorf("n=0: %v", tags.Tags)
	}
	var index ocispec.Index
	path := "/v2/ghcr.io/acme/web/referrers/" + b.WebIndex.String()
	s.get(path).expect(t, 200).json(t, &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Digest != b.SBOM || index.Manifests[0].ArtifactType != "application/spdx+json" {
		t.Errorf("referrers %+v", index.Manifests)
	}
	a := s.get(path+"?artifactType=other/type").expect(t, 200)
	a.json(t, &index)
	if len(index.Manifests) != 0 || a.Header.Get("OCI-Filters-Applied") != "artifactType" || a.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex || !strings.Contains(string(a.body), `"manifests":[]`) {
		t.Errorf("filtered: %s %v", a.body, a.Header)
	}
}

func equal(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }

func TestFiles(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	content := b.Content[b.Driver]
	a := s.get("/files/gpu/driver.run").expect(t, 200)
	if !bytes.Equal(a.body, content) || a.Header.Get("ETag") != `"`+b.Driver.String()+`"` {
		t.Errorf("%v", a.Header)
	}
	if a := s.get("/files/gpu/driver.run", "Range: bytes=4194303-4194304").expect(t, 206); !bytes.Equal(a.body, content[4194303:4194305]) {
		t.Error("wrong range")
	}
	if a := s.do(http.MethodHead, "/files/web/extra.yaml").expect(t, 200); a.ContentLength != 55 {
		t.Errorf("HEAD: %d", a.ContentLength)
	}
	s.get("/files/gpu/nothing").expect(t, 404)
	s.do(http.MethodPut, "/files/gpu/driver.run").expect(t, 405)
	var list []map[string]any
	s.get("/files/").expect(t, 200).json(t, &list)
	if len(list) != 2 || list[0]["path"] != "gpu/driver.run" || list[0]["digest"] != b.Driver.String() || list[1]["kind"] != "manifest" {
		t.Errorf("%v", list)
	}
}

func TestBadBlocksNeverLeave(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	want := b.Content[b.Driver]
	volume, at := b.Damage(t, b.Driver, 4<<20+1000) // in the second block
	s := newSite(t, b)
	a := s.get("/files/gpu/driver.run")
	if a.err == nil {
		t.Fatalf("a damaged file looks complete: %d bytes", len(a.body))
	}
	if !bytes.Equal(a.body, want[:4<<20]) {
		t.Errorf("%d bytes left before the end; they should be the first block", len(a.body))
	}
	if a := s.get("/files/gpu/driver.run", "Range: bytes=0-4194303").expect(t, 206); !bytes.Equal(a.body, want[:4<<20]) {
		t.Error("the good block")
	}
	bad := s.get("/files/gpu/driver.run", "Range: bytes=4194304-").expect(t, 500)
	if bad.ContentLength != int64(len(bad.body)) || bad.Header.Get("Content-Range") != "" || bad.Header.Get("ETag") != "" || bytes.Contains(bad.body, want[4<<20:4<<20+8]) {
		t.Errorf("first block bad: %v %q", bad.Header, bad.body)
	}
	var found []event.Finding
	for _, e := range s.rec.Events() {
		if e.Kind == event.FindingKind {
			found = append(found, *e.Finding)
		}
	}
	if len(found) != 2 {
		t.Fatalf("%d findings", len(found))
	}
	f := found[0]
	if f.Code != string(bundle.BadBlock) || !strings.Contains(f.What, volume) || !strings.Contains(f.Hint, volume) || !strings.HasPrefix(f.Item, "files.caisson.dev/gpu/driver.run:") || f.Blob != b.Driver.String() {
		t.Errorf("finding %+v; damaged %s at %d", f, volume, at)
	}
	if m := s.get("/metrics").expect(t, 200); !strings.Contains(string(m.body), "caisson_serve_block_failures_total 2") || !strings.Contains(string(m.body), `caisson_serve_requests_total{code="aborted",route="files"} 1`) {
		t.Errorf("%s", m.body)
	}
}

func TestMissingVolume(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	for n := 0; ; n++ {
		if os.Remove(b.Volume(n)) != nil {
			break
		}
	}
	a := s.get("/files/gpu/driver.run").expect(t, 500)
	if strings.Contains(string(a.body), b.Dir) {
		t.Errorf("the answer tells paths: %s", a.body)
	}
	s.get("/v2/ghcr.io/acme/web/manifests/1.2.3").expect(t, 200) // lies in the head
}

func TestStackedBundles(t *testing.T) {
	old := bundletest.Make(t, bundletest.Options{Name: "old", Sequence: 7})
	next := bundletest.Make(t, bundletest.Options{Name: "new", Sequence: 8, Salt: "v2"})
	if old.WebIndex == next.WebIndex || old.Driver != next.Driver {
		t.Fatal("the bundles should differ in the web image alone")
	}
	old.Damage(t, old.Driver, 4<<20)
	for _, order := range [][]*bundletest.Bundle{{old, next}, {next, old}} {
		s := newSite(t, order...)
		a := s.get("/v2/ghcr.io/acme/web/manifests/1.2.3").expect(t, 200)
		if got := a.Header.Get("Docker-Content-Digest"); got != next.WebIndex.String() {
			t.Errorf("the tag names %s, not the newer image", got)
		}
		s.get("/v2/ghcr.io/acme/web/manifests/"+old.WebIndex.String()).expect(t, 200)
		warned := false
		for _, e := range s.rec.Events() {
			warned = warned || e.Kind == event.Warning && strings.Contains(e.Message, "ghcr.io/acme/web:1.2.3")
		}
		if !warned {
			t.Error("no warning about the clash")
		}
		if a := s.get("/files/gpu/driver.run").expect(t, 200); !bytes.Equal(a.body, old.Content[old.Driver]) {
			t.Error("the good copy did not stand in for the damaged one")
		}
	}
}

func TestHelmRepository(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	index := s.get("/helm/index.yaml").expect(t, 200).body
	if again := newSite(t, b).get("/helm/index.yaml").body; !bytes.Equal(index, again) {
		t.Error("index.yaml is not deterministic")
	}
	for chart, ref := range map[string]string{"web-1.2.3.tgz": bundletest.OCIChart, "old-0.9.0.tgz": bundletest.OldChart} {
		body := s.get("/helm/charts/"+chart).expect(t, 200).body
		sum := sha256.Sum256(body)
		if !strings.Contains(string(index), hex.EncodeToString(sum[:])) || !strings.Contains(string(index), "charts/"+chart) {
			t.Errorf("%s (%s) is not in\n%s", chart, ref, index)
		}
	}
	s.get("/helm/charts/old-0.9.0.tgz.prov").expect(t, 200)
	s.get("/helm/charts/nothing-1.tgz").expect(t, 404)
}

func TestHealthAndMetrics(t *testing.T) {
	s := newSite(t, bundletest.Make(t, bundletest.Options{}))
	s.get("/healthz").expect(t, 200)
	s.get("/readyz").expect(t, 200)
	m := string(s.get("/metrics").expect(t, 200).body)
	for _, want := range []string{"caisson_serve_bundles 1", `caisson_serve_requests_total{code="200",route="health"} 1`} {
		if !strings.Contains(m, want) {
			t.Errorf("no %s in\n%s", want, m)
		}
	}
	var access []event.Event
	for _, e := range s.rec.Events() {
		if e.Message == "access" {
			access = append(access, e)
		}
	}
	if len(access) != 3 || access[0].Fields["path"] != "/healthz" || access[0].Fields["status"] != 200 {
		t.Errorf("%+v", access)
	}
}

// TestRun: the whole verb, on a free port, until its context ends.
func TestRun(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	ctx, stop := context.WithCancel(t.Context())
	address := make(chan string, 1)
	sink := event.Func(func(e event.Event) {
		if e.Kind == event.Start {
			address <- e.Fields["address"].(string)
		}
	})
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, Options{Paths: []string{b.Dir}, Keys: []string{b.KeyFile}, Listen: "127.0.0.1:0"}, sink)
		done <- err
	}()
	var host string
	select {
	case host = <-address:
	case err := <-done:
		t.Fatal(err)
	}
	// An answer under way when the server is told to stop comes to its end.
	resp, err := http.Get("http://" + host + "/files/gpu/driver.run")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stop()
	if body, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(body, b.Content[b.Driver]) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + host + "/healthz"); err == nil {
		t.Error("still serving")
	}
}

func TestRunRefuses(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	other := bundletest.Make(t, bundletest.Options{Name: "other"})
	for name, opt := range map[string]Options{
		"stranger's key": {Paths: []string{b.Dir}, Keys: []string{other.KeyFile}, Listen: "127.0.0.1:0"},
		"no key":         {Paths: []string{b.Dir}, Listen: "127.0.0.1:0"},
		"half a TLS":     {Paths: []string{b.Dir}, Keys: []string{b.KeyFile}, Listen: "127.0.0.1:0", TLSCert: "x"},
		"bad address":    {Paths: []string{b.Dir}, Keys: []string{b.KeyFile}, Listen: "nonsense"},
	} {
		if _, err := Run(t.Context(), opt, event.Discard); err == nil {
			t.Errorf("%s: served", name)
		}
	}
}

func TestUnit(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	text := Unit(Options{Paths: []string{"/data/my bundle", "rel"}, Keys: []string{"/etc/50%.pub"}, Listen: "0.0.0.0:5000"})
	want := `ExecStart=/usr/local/bin/caisson serve "/data/my bundle" ` + filepath.Join(wd, "rel") + ` --key /etc/50%%.pub --listen 0.0.0.0:5000 --output json` + "\n"
	if !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	if bad := Unit(Options{Paths: []string{"/a\nExecStartPre=/bin/evil"}}); strings.Contains(bad, "\nExecStartPre") {
		t.Errorf("%s", bad)
	}
}

// TestFlippedBytes: wherever a byte of the volumes changes, no wrong byte leaves
// and no answer that lacks one looks complete.
func TestFlippedBytes(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	h, err := New(cargo.Bundles{b.Open(t)}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string][]byte{"/files/gpu/driver.run": b.Content[b.Driver]}
	for name, data := range b.Files {
		paths["/"+bundletest.ModelID+"/resolve/main/"+name] = data
	}
	for name, r := range h.catalog.Repositories {
		for d := range r.Blobs {
			paths["/v2/"+name+"/blobs/"+d.String()] = b.Content[d]
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	cut := 0
	for range 30 {
		volume := b.Volume(random.IntN(h.bundles[0].Table().Volumes()))
		restore := flip(t, volume, random)
		for path, want := range paths {
			got, whole := fetch(t, h, path)
			if !bytes.HasPrefix(want, got) || whole && len(got) != len(want) {
				t.Errorf("%s with %s damaged: %d of %d bytes, whole: %v", path, filepath.Base(volume), len(got), len(want), whole)
			}
			if !whole {
				cut++
			}
		}
		restore()
	}
	if cut < 20 {
		t.Errorf("only %d answers were cut short", cut)
	}
}

// flip changes one bit of a file and returns what changes it back.
func flip(t *testing.T, path string, random *rand.Rand) (restore func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at, one := random.Int64N(info.Size()), make([]byte, 1)
	turn := func() {
		if _, err := f.ReadAt(one, at); err != nil {
			t.Fatal(err)
		}
		one[0] ^= 1 << random.IntN(8)
		if _, err := f.WriteAt(one, at); err != nil {
			t.Fatal(err)
		}
	}
	was := make([]byte, 1)
	if _, err := f.ReadAt(was, at); err != nil {
		t.Fatal(err)
	}
	turn()
	return func() {
		if _, err := f.WriteAt(was, at); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// fetch returns the body of a GET and whether it came to its end with success.
func fetch(t *testing.T, h http.Handler, path string) (body []byte, whole bool) {
	t.Helper()
	rec := httptest.NewRecorder()
	func() {
		defer func() {
			fault := recover()
			whole = fault == nil && rec.Code == http.StatusOK
			if fault != nil && fault != http.ErrAbortHandler {
				panic(fault)
			}
		}()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	}()
	if rec.Code != http.StatusOK {
		return nil, false
	}
	return rec.Body.Bytes(), whole
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=9-1", "bytes=a-b", "bytes=0-1,2-3", "bytes=--1", "bytes=-", "bytes=+1-2"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, spec string, size int64) {
		if size < 0 {
			return
		}
		offset, length, ok, err := parseRange(spec, size)
		if ok && err == nil && (offset < 0 || length <= 0 || offset+length > size || offset+length < 0) {
			t.Errorf("%q of %d gave %d, %d", spec, size, offset, length)
		}
	})
}

// TestDistributionConformance runs the distribution specification's own suite
// in its read-only mode, where the test tools have it.
func TestDistributionConformance(t *testing.T) {
	program := filepath.Join(os.Getenv("CAISSON_TEST_TOOLS_BIN"), "conformance")
	if _, err := os.Stat(program); err != nil {
		t.Skip("CAISSON_TEST_TOOLS_BIN holds no conformance program")
	}
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	dir := t.TempDir()
	var blobs []string
	for _, it := range b.Lock.Items {
		if it.Ref == bundletest.Web {
			for _, l := range it.Manifests()[1].Layers {
				blobs = append(blobs, l.Digest.String())
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"OCI_REGISTRY="+s.host, "OCI_TLS=disabled", "OCI_REPO1=ghcr.io/acme/web", "OCI_REPO2=quay.io/acme/full", "OCI_VERSION=1.1",
		"OCI_API_PUSH=false", "OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false", "OCI_API_BLOBS_ATOMIC=false",
		"OCI_API_MANIFESTS_ATOMIC=false", "OCI_API_TAGS_ATOMIC=false", "OCI_API_BLOBS_MOUNT_ANONYMOUS=false",
		"OCI_RO_DATA_TAGS=1.2.3", "OCI_RO_DATA_MANIFESTS="+b.WebIndex.String()+" "+b.WebAMD64.String(),
		"OCI_RO_DATA_BLOBS="+strings.Join(blobs, " "), "OCI_RO_DATA_REFERRERS="+b.WebIndex.String(), "OCI_RESULTS_DIR="+dir)
	// Its exit status says nothing: it is 0 after failures, and writing its YAML
	// report panics when nothing was pushed.
	out, _ := cmd.CombinedOutput()
	for _, want := range []string{"OCI Conformance Test: Pass", "/read-only/pull: Pass", "/read-only/head: Pass", "/read-only/tag-list: Pass", "/read-only/referrers: Pass"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
