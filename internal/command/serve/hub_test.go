package serve

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// snapshot downloads a model the way huggingface_hub's snapshot_download does:
// revision to commit, tree of the commit, then HEAD and GET of each file, and
// checks each against the listing.
func (s *site) snapshot(repo, revision string) map[string][]byte {
	s.Helper()
	var info struct {
		SHA      string `json:"sha"`
		Siblings []struct{ RFilename string }
	}
	s.get("/api/models/"+repo+"/revision/"+url.PathEscape(revision)).expect(s.T, 200).json(s.T, &info)
	var tree []struct {
		Type, Path, OID string
		Size            int64
		LFS             *struct {
			OID         string
			Size        int64
			PointerSize int
		}
	}
	s.get("/api/models/"+repo+"/tree/"+info.SHA+"?recursive=true&expand=false").expect(s.T, 200).json(s.T, &tree)
	out := map[string][]byte{}
	for _, f := range tree {
		if f.OID == "" {
			s.Errorf("%s has no oid, which clients require", f.Path)
		}
		if f.Type != "file" {
			continue
		}
		path := "/" + repo + "/resolve/" + info.SHA + "/" + f.Path
		head := s.do(http.MethodHead, path, "Accept-Encoding: identity").expect(s.T, 200)
		if head.Header.Get("X-Repo-Commit") != info.SHA || head.ContentLength != f.Size {
			s.Errorf("HEAD %s: %v", path, head.Header)
		}
		for k := range head.Header {
			if strings.HasPrefix(strings.ToLower(k), "x-xet") {
				s.Errorf("HEAD %s: %s", path, k)
			}
		}
		want, etag := f.OID, strings.Trim(head.Header.Get("ETag"), `"`)
		if linked := strings.Trim(head.Header.Get("X-Linked-Etag"), `"`); f.LFS != nil {
			want = f.LFS.OID
			if linked != want || head.Header.Get("X-Linked-Size") != fmt.Sprint(f.Size) {
				s.Errorf("HEAD %s: %v", path, head.Header)
			}
		} else if linked != "" {
			s.Errorf("HEAD %s: X-Linked-Etag of a plain file", path)
		}
		if etag != want {
			s.Errorf("%s: etag %s, listing says %s", f.Path, etag, want)
		}
		out[f.Path] = s.get(path).expect(s.T, 200).body
	}
	if len(info.Siblings) != len(out) {
		s.Errorf("%d siblings, %d files in the tree", len(info.Siblings), len(out))
	}
	return out
}

func TestModelSnapshot(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	for _, repo := range []string{bundletest.ModelID, "acme/tiny-llm", "ACME/TINY-LLM"} {
		for _, revision := range []string{"main", bundletest.Commit} {
			got := s.snapshot(repo, revision)
			if len(got) != len(b.Files) {
				t.Fatalf("%d files, want %d", len(got), len(b.Files))
			}
			for path, want := range b.Files {
				if !bytes.Equal(got[path], want) {
					t.Errorf("%s@%s: %s came otherwise", repo, revision, path)
				}
			}
		}
	}
}

func TestModelAPI(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	api, resolve := "/api/models/"+bundletest.ModelID, "/"+bundletest.ModelID+"/resolve/main/"
	weights := b.Files["model.safetensors"]

	var info struct {
		ID, SHA  string
		CardData struct{ License string }
		Siblings []struct {
			RFilename, BlobID string
			Size              int64
			LFS               *struct {
				SHA256 string
				Size   int64
			}
		}
	}
	s.get(api+"?blobs=true").expect(t, 200).json(t, &info)
	if info.ID != bundletest.ModelID || info.SHA != bundletest.Commit || info.CardData.License != "apache-2.0" {
		t.Errorf("%+v", info)
	}
	sum := sha256.Sum256(weights)
	for _, f := range info.Siblings {
		if f.Size != int64(len(b.Files[f.RFilename])) || len(f.BlobID) != 40 {
			t.Errorf("%+v", f)
		}
		if f.RFilename == "model.safetensors" && (f.LFS == nil || f.LFS.SHA256 != hex.EncodeToString(sum[:])) {
			t.Errorf("%+v", f)
		}
	}

	var list []struct{ Type, Path string }
	s.get(api+"/tree/main").expect(t, 200).json(t, &list)
	if got := fmt.Sprint(list); got != "[{file README.md} {file config.json} {file model.safetensors} {directory onnx}]" {
		t.Errorf("top of the tree: %s", got)
	}
	s.get(api+"/tree/main/onnx").expect(t, 200).json(t, &list)
	if got := fmt.Sprint(list); got != "[{file onnx/empty.txt} {file onnx/small.onnx}]" {
		t.Errorf("folder: %s", got)
	}
	var refs struct {
		Branches []struct{ Name, TargetCommit string }
	}
	s.get(api+"/refs").expect(t, 200).json(t, &refs)
	if len(refs.Branches) != 1 || refs.Branches[0].Name != "main" || refs.Branches[0].TargetCommit != bundletest.Commit {
		t.Errorf("%+v", refs)
	}
	for contentType, body := range map[string]string{
		"application/json":                  `{"paths":["config.json","onnx","absent"],"expand":false}`,
		"application/x-www-form-urlencoded": "paths=config.json&paths=onnx&paths=absent&expand=false",
	} {
		resp, err := http.Post(s.url+api+"/paths-info/main", contentType, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		answer{Response: resp, body: raw}.expect(t, 200).json(t, &list)
		if got := fmt.Sprint(list); got != "[{file config.json} {directory onnx}]" {
			t.Errorf("paths-info: %s", got)
		}
	}

	a := s.get(resolve+"model.safetensors", "Range: bytes=4194000-4195000").expect(t, 206)
	if !bytes.Equal(a.body, weights[4194000:4195001]) || a.Header.Get("Content-Range") != fmt.Sprintf("bytes 4194000-4195000/%d", len(weights)) {
		t.Errorf("range: %d bytes, %v", len(a.body), a.Header)
	}
	s.get(resolve+"model.safetensors", fmt.Sprintf("Range: bytes=%d-", len(weights))).expect(t, 416)
	if a := s.get(resolve+"onnx/empty.txt").expect(t, 200); len(a.body) != 0 || a.ContentLength != 0 {
		t.Errorf("empty file: %v", a.Header)
	}
	if a := s.get(resolve+"onnx/empty.txt", "Range: bytes=0-0").expect(t, 200); len(a.body) != 0 || a.Header.Get("Content-Range") != "bytes */0" {
		t.Errorf("the first byte of an empty file: %v", a.Header)
	}
	for path, code := range map[string]string{
		"/api/models/acme/nothing":                           "RepoNotFound",
		"/acme/nothing/resolve/main/x":                       "RepoNotFound",
		api + "/revision/v9":                                 "RevisionNotFound",
		"/" + bundletest.ModelID + "/resolve/v9/config.json": "RevisionNotFound",
		resolve + "absent":                                   "EntryNotFound",
		api + "/tree/main/absent":                            "EntryNotFound",
		"/nonsense":                                          "NotFound",
	} {
		if a := s.get(path).expect(t, 404); a.Header.Get("X-Error-Code") != code || a.Header.Get("X-Error-Message") == "" {
			t.Errorf("%s: %v, want %s", path, a.Header, code)
		}
	}
	s.do(http.MethodPut, resolve+"config.json").expect(t, 405)
	s.do(http.MethodPost, api).expect(t, 405)
	var models []struct{ ID string }
	s.get("/api/models").expect(t, 200).json(t, &models)
	if len(models) != 1 || models[0].ID != bundletest.ModelID {
		t.Errorf("%v", models)
	}
}

// TestRawFiles: under raw stands what git has of a file, of one in LFS its pointer.
func TestRawFiles(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	sum := sha256.Sum256(b.Files["model.safetensors"])
	pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%x\nsize %d\n", sum, len(b.Files["model.safetensors"]))
	for path, want := range map[string]string{"config.json": string(b.Files["config.json"]), "model.safetensors": pointer} {
		a := s.get("/"+bundletest.ModelID+"/raw/HEAD/"+path).expect(t, 200)
		if string(a.body) != want || a.Header.Get("X-Repo-Commit") != bundletest.Commit || a.Header.Get("X-Linked-Size") != "" {
			t.Errorf("%s: %q, %v", path, a.body, a.Header)
		}
	}
	if a := s.get("/"+bundletest.ModelID+"/raw/main/model.safetensors", "Range: bytes=8-14").expect(t, 206); string(a.body) != pointer[8:15] {
		t.Errorf("a part of the pointer: %q", a.body)
	}
	if a := s.get("/"+bundletest.ModelID+"/raw/main/absent").expect(t, 404); a.Header.Get("X-Error-Code") != "EntryNotFound" {
		t.Errorf("%v", a.Header)
	}
}

// TestRepositoriesCalledLikeEndpoints: a repository may have the name of an endpoint.
func TestRepositoriesCalledLikeEndpoints(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	h, err := New(cargo.Bundles{b.Open(t)}, &event.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s := &site{T: t, url: srv.URL, host: strings.TrimPrefix(srv.URL, "http://")}
	for _, name := range []string{"raw/x", "resolve/x", "acme/raw", "acme/resolve", "raw/resolve", "raw/raw"} {
		h.models.repositories[name] = h.models.repositories[strings.ToLower(bundletest.ModelID)]
		for _, endpoint := range []string{"resolve", "raw"} {
			a := s.get("/"+name+"/"+endpoint+"/main/config.json").expect(t, 200)
			if !bytes.Equal(a.body, b.Files["config.json"]) {
				t.Errorf("%s/%s: %q", name, endpoint, a.body)
			}
		}
	}
}

func TestPathsInfoIsBounded(t *testing.T) {
	s := newSite(t, bundletest.Make(t, bundletest.Options{}))
	for n, status := range map[int]int{maxPaths: 200, maxPaths + 1: 400} {
		body := strings.TrimPrefix(strings.Repeat("&paths=onnx/", n), "&")
		resp, err := http.Post(s.url+"/api/models/"+bundletest.ModelID+"/paths-info/main", "application/x-www-form-urlencoded", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != status || status == 200 && bytes.Count(raw, []byte(`"directory"`)) != n {
			t.Errorf("%d paths: status %d, %v", n, resp.StatusCode, err)
		}
	}
}

// modelHead is a head that holds one manifest.
type modelHead struct {
	ref string
	raw []byte
}

func (h modelHead) Manifest(digest.Digest) ([]byte, error) { return h.raw, nil }

func (h modelHead) Stat(d digest.Digest) (int64, bool, bool) {
	ok := d == digest.FromBytes(h.raw)
	return int64(len(h.raw)), ok, ok
}

func (h modelHead) Index() ocispec.Index {
	return ocispec.Index{Manifests: []ocispec.Descriptor{{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(h.raw), Size: int64(len(h.raw)),
		Annotations: map[string]string{ocispec.AnnotationRefName: h.ref},
	}}}
}

// TestModelManifestIsOfItsBundle: where two bundles have one model reference,
// the files of each lie in its own layers.
func TestModelManifestIsOfItsBundle(t *testing.T) {
	model := &lock.HubModel{Layers: []lock.ModelLayer{{Size: 1024}}}
	var heads []catalog.Source
	var layers []digest.Digest
	for _, salt := range []string{"a", "b"} {
		layer := digest.FromString(salt)
		raw, err := json.Marshal(ocispec.Manifest{
			Config: ocispec.Descriptor{Digest: digest.FromString("config"), Size: 1}, Layers: []ocispec.Descriptor{{Digest: layer, Size: 1024}},
		})
		if err != nil {
			t.Fatal(err)
		}
		heads, layers = append(heads, catalog.Source{Head: modelHead{bundletest.Model, raw}}), append(layers, layer)
	}
	c, err := catalog.Read(heads...)
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range layers {
		if m, err := modelManifest(c, source, bundletest.Model, model); err != nil || m.Layers[0].Digest != want {
			t.Errorf("bundle %d: %+v, %v", source, m, err)
		}
	}
	for what, l := range map[string]lock.ModelLayer{"digest": {Size: 1024, Digest: layers[1]}, "size": {Size: 1025}} {
		model.Layers[0] = l
		if _, err := modelManifest(c, 0, bundletest.Model, model); !errors.Is(err, catalog.ErrInvalid) {
			t.Errorf("another %s: %v", what, err)
		}
	}
}

func TestDamagedModelFile(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	// The weights have a layer of their own, behind 512 bytes of header.
	for d, content := range b.Content {
		if len(content) > 6<<20 && bytes.Contains(content[:1024], []byte("model.safetensors")) {
			b.Damage(t, d, 5<<20)
		}
	}
	a := s.get("/" + bundletest.ModelID + "/resolve/main/model.safetensors")
	if a.err == nil || !bytes.HasPrefix(b.Files["model.safetensors"], a.body) || len(a.body) > 4<<20 {
		t.Errorf("%v after %d bytes", a.err, len(a.body))
	}
}

// TestOffsets: where the index thinks that files lie is where a tar reader finds
// them.
func TestOffsets(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	trusted := b.Open(t)
	var spec *lock.HubModel
	for i := range b.Lock.Items {
		if m, ok := lock.As[*lock.HubModel](&b.Lock.Items[i]); ok {
			spec = m
		}
	}
	h, err := New(cargo.Bundles{trusted}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.models.repositories["acme/tiny-llm"].resolveModel("main")
	if err != nil {
		t.Fatal(err)
	}
	for path, f := range m.files {
		layer, offset, ok := spec.Locate(path)
		if !ok || offset != f.offset {
			t.Errorf("%s: layer %d offset %d, index says %d", path, layer, offset, f.offset)
		}
	}
	seen := 0
	for d, raw := range b.Content {
		if !bytes.HasPrefix(raw, []byte("models/")) {
			continue
		}
		counted := &counting{r: bytes.NewReader(raw)}
		for r := tar.NewReader(counted); ; seen++ {
			hdr, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if f := m.files[strings.TrimPrefix(hdr.Name, "models/")]; f.layer != d || f.offset != counted.n || f.Size != hdr.Size {
				t.Errorf("%s: %+v, tar has it at %d", hdr.Name, f, counted.n)
			}
		}
	}
	if seen != len(b.Files) {
		t.Errorf("%d files in the layers", seen)
	}
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func FuzzHubPaths(f *testing.F) {
	f.Add("/api/models/a/b/tree/main/x%2Fy")
	f.Add("/a/b/resolve/main/../../../etc/passwd")
	b := bundletest.Make(f, bundletest.Options{})
	h, err := New(cargo.Bundles{b.Open(f)}, event.Discard)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI("/" + strings.TrimLeft(path, "/"))
		if err != nil {
			return
		}
		req := &http.Request{Method: http.MethodHead, URL: u, Header: http.Header{}, Body: http.NoBody}
		h.ServeHTTP(&sinkhole{http.Header{}}, req.WithContext(t.Context()))
	})
}

type sinkhole struct{ h http.Header }

func (s *sinkhole) Header() http.Header         { return s.h }
func (s *sinkhole) Write(p []byte) (int, error) { return len(p), nil }
func (s *sinkhole) WriteHeader(int)             {}
