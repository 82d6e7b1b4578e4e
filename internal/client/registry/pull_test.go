package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/client/fetch"
)

const (
	manifestText = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`
	indexText    = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
)

// fake is a registry of fixed answers that remembers what it was asked.
type fake struct {
	mu       sync.Mutex
	answers  map[string]http.HandlerFunc // by path; others are 404
	requests []*http.Request
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Clone(context.Background()))
	answer := f.answers[r.URL.Path]
	f.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == "/v2/":
	default:
		http.NotFound(w, r)
	}
}

// sent is the Authorization of every request to a path.
func (f *fake) sent(prefix string) (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if strings.HasPrefix(r.URL.Path, prefix) {
			all = append(all, r.Header.Get("Authorization"))
		}
	}
	return all
}

func answer(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

func start(t *testing.T, answers map[string]http.HandlerFunc) (*fake, string) {
	t.Helper()
	f := &fake{answers: answers}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, strings.TrimPrefix(server.URL, "http://")
}

func newPuller(t *testing.T, logins map[string]string) *Puller {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("NETRC", filepath.Join(dir, "none"))
	t.Setenv("DOCKER_CONFIG", dir)
	auths := map[string]any{}
	for host, login := range logins {
		auths[host] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(login))}
	}
	config, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := fetch.New(fetch.Options{Backoff: time.Microsecond, Attempts: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return NewPuller(c)
}

func TestResolve(t *testing.T) {
	dg := digest.FromString(manifestText)
	_, host := start(t, map[string]http.HandlerFunc{
		"/v2/acme/web/manifests/1.0":           answer(ocispec.MediaTypeImageManifest, manifestText),
		"/v2/acme/web/manifests/" + string(dg): answer(ocispec.MediaTypeImageManifest+"; charset=utf-8", manifestText),
		"/v2/acme/web/manifests/plain":         answer("application/json", manifestText),
	})
	p := newPuller(t, nil)
	for _, ref := range []string{":1.0", "@" + string(dg), ":other@" + string(dg), ":plain"} {
		m, err := p.Resolve(t.Context(), imageref.Ref(host+"/acme/web"+ref))
		if err != nil || m.Digest != dg || m.MediaType != ocispec.MediaTypeImageManifest || string(m.Bytes) != manifestText {
			t.Errorf("%s: %+v %v", ref, m, err)
		}
	}
	if _, err := p.Resolve(t.Context(), imageref.Ref(host+"/acme/web:2.0")); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), host) {
		t.Errorf("error %v", err)
	}
}

// A registry that gives another manifest for a digest is refused, whatever its
// headers say.
func TestPinnedDigestCounts(t *testing.T) {
	dg := digest.FromString(manifestText)
	other := strings.Replace(manifestText, "{}", `{"a":1}`, 1)
	_, host := start(t, map[string]http.HandlerFunc{
		"/v2/acme/web/manifests/" + string(dg): func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", string(dg))
			answer(ocispec.MediaTypeImageManifest, other)(w, r)
		},
		"/v2/acme/web/manifests/1.0": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", string(dg))
			answer(ocispec.MediaTypeImageManifest, other)(w, r)
		},
		"/v2/acme/web/blobs/" + string(dg): answer("application/octet-stream", other),
	})
	p := newPuller(t, nil)
	for _, ref := range []string{"@" + string(dg), ":1.0@" + string(dg), ":1.0"} {
		if m, err := p.Resolve(t.Context(), imageref.Ref(host+"/acme/web"+ref)); !errors.Is(err, ErrDigest) {
			t.Errorf("%s: %+v %v", ref, m, err)
		}
	}
	if _, err := p.Blob(t.Context(), host+"/acme/web", dg, int64(len(other))); !errors.Is(err, ErrDigest) {
		t.Errorf("blob: %v", err)
	}
	if _, err := p.Blob(t.Context(), host+"/acme/web", dg, int64(len(other))+1); !errors.Is(err, fetch.ErrSize) && !errors.Is(err, fetch.ErrShort) {
		t.Errorf("blob of another length: %v", err)
	}
}

func TestManifestType(t *testing.T) {
	index, manifest := ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest
	for name, c := range map[string]struct {
		header, body, want string
		err                error
	}{
		"manifest":               {manifest, manifestText, manifest, nil},
		"index":                  {index, indexText, index, nil},
		"no body type":           {manifest, `{"schemaVersion":2,"config":{},"layers":[]}`, manifest, nil},
		"no header type":         {"", indexText, index, nil},
		"no type at all":         {"text/plain", `{"schemaVersion":2,"manifests":[]}`, index, nil},
		"header against body":    {index, manifestText, "", ErrAmbiguous},
		"body against shape":     {"", strings.Replace(manifestText, "manifest.v1", "index.v1", 1), "", ErrAmbiguous},
		"both shapes":            {index, `{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}`, "", ErrAmbiguous},
		"both shapes, one null":  {index, `{"schemaVersion":2,"manifests":[],"layers":null}`, index, nil},
		"hidden by case":         {index, `{"schemaVersion":2,"manifests":[],"Layers":[]}`, "", ErrMediaType},
		"type hidden by case":    {index, `{"schemaVersion":2,"manifests":[],"MediaType":"x"}`, "", ErrMediaType},
		"twice":                  {index, `{"schemaVersion":2,"manifests":[],"manifests":[{}]}`, "", ErrMediaType},
		"schema 1":               {"application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"fsLayers":[]}`, "", ErrMediaType},
		"unknown type":           {"application/vnd.example", `{"schemaVersion":2,"config":{},"layers":[]}`, "", ErrMediaType},
		"manifest without parts": {manifest, `{"schemaVersion":2}`, "", ErrAmbiguous},
		"not json":               {manifest, `<html>`, "", ErrMediaType},
		"array":                  {manifest, `[]`, "", ErrMediaType},
		"trailing":               {manifest, manifestText + "{}", "", ErrMediaType},
		"cut":                    {manifest, manifestText[:40], "", ErrMediaType},
		"odd type":               {manifest, `{"schemaVersion":"2"}`, "", ErrMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := manifestType(c.header, []byte(c.body))
			if !errors.Is(err, c.err) || err == nil && got != c.want {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

func TestManifestLimit(t *testing.T) {
	_, host := start(t, map[string]http.HandlerFunc{
		"/v2/acme/web/manifests/big": answer(ocispec.MediaTypeImageManifest, strings.Repeat(" ", MaxManifest+1)),
	})
	if _, err := newPuller(t, nil).Resolve(t.Context(), imageref.Ref(host+"/acme/web:big")); !errors.Is(err, fetch.ErrSize) {
		t.Errorf("error %v", err)
	}
}

func TestMalformedReferences(t *testing.T) {
	f, host := start(t, nil)
	p := newPuller(t, nil)
	for _, ref := range []string{
		"", host, host + "/acme/web", host + "/acme/web@sha256:../../x", host + "/acme/web@md5:00",
		host + "/../v2/x:1", host + "/a/../../b:1", host + "/A:1", host + "/acme/web:a/b@", host + "/acme/web:",
		host + "/acme/web?x=1:1", "http://" + host + "/%2e%2e/x:1", host + "/acme/web@sha512:" + strings.Repeat("0", 128),
	} {
		if _, err := p.Resolve(t.Context(), imageref.Ref(ref)); !errors.Is(err, ErrReference) {
			t.Errorf("%q: %v", ref, err)
		}
	}
	if len(f.requests) != 0 {
		t.Errorf("the registry was asked: %v", f.requests[0].URL)
	}
}

// tokens makes a registry demand bearer tokens of the server at realm.
func tokens(realm, token string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if token == "" || r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="s",scope="repository:acme/web:pull"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func TestBearerToken(t *testing.T) {
	f, host := start(t, nil)
	f.answers = map[string]http.HandlerFunc{
		"/v2/":                       tokens("http://"+host+"/token", "good", func(http.ResponseWriter, *http.Request) {}),
		"/v2/acme/web/manifests/1.0": tokens("http://"+host+"/token", "good", answer(ocispec.MediaTypeImageManifest, manifestText)),
		"/token":                     answer("application/json", `{"token":"good"}`),
	}
	p := newPuller(t, map[string]string{host: "u:p"})
	for range 3 {
		if _, err := p.Resolve(t.Context(), imageref.Ref(host+"/acme/web:1.0")); err != nil {
			t.Fatal(err)
		}
	}
	got := f.sent("/token")
	if len(got) != 1 || got[0] != "Basic "+base64.StdEncoding.EncodeToString([]byte("u:p")) {
		t.Errorf("token requests with %q", got)
	}
	if n := len(f.sent("/v2/acme")); n != 3 {
		t.Errorf("%d manifest requests for 3 manifests", n)
	}
}

// A registry cannot have its credentials sent elsewhere: not by a redirect of a
// blob, not by a redirect of its API root.
func TestCredentialsStayHome(t *testing.T) {
	thief, thiefHost := start(t, nil)
	f, host := start(t, nil)
	dg := digest.FromString("hello")
	basic := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); !ok {
				w.Header().Set("WWW-Authenticate", "Basic realm=x")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next(w, r)
		}
	}
	away := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+thiefHost+"/content", http.StatusTemporaryRedirect)
	}
	f.answers = map[string]http.HandlerFunc{
		"/v2/":                               basic(func(http.ResponseWriter, *http.Request) {}),
		"/v2/acme/web/blobs/" + string(dg):   basic(away),
		"/v2/acme/web/manifests/" + "redirn": basic(away),
	}
	thief.answers = map[string]http.HandlerFunc{"/content": answer("application/octet-stream", "hello")}
	p := newPuller(t, map[string]string{host: "u:p"})
	data, err := p.Blob(t.Context(), host+"/acme/web", dg, 5)
	if err != nil || !bytes.Equal(data, []byte("hello")) {
		t.Fatalf("%q %v", data, err)
	}
	if got := thief.sent("/content"); len(got) != 1 || got[0] != "" {
		t.Errorf("the other host got %q", got)
	}

	f.answers["/v2/"] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+thiefHost+"/v2/", http.StatusFound)
	}
	thief.answers["/v2/"] = tokens("http://"+thiefHost+"/token", "", nil)
	if _, err := newPuller(t, map[string]string{host: "u:p"}).Resolve(t.Context(), imageref.Ref(host+"/acme/web:1")); !errors.Is(err, errRedirected) {
		t.Errorf("error %v", err)
	}
	for _, h := range append(thief.sent("/v2/"), thief.sent("/token")...) {
		if h != "" {
			t.Errorf("the other host got %q", h)
		}
	}
}

// The place that a registry names for tokens must be its own or public, and
// over TLS when the registry is.
func TestRealmRules(t *testing.T) {
	thief, thiefHost := start(t, nil)
	f, host := start(t, nil)
	f.answers = map[string]http.HandlerFunc{"/v2/": tokens("http://"+thiefHost+"/token", "", nil)}
	_, err := newPuller(t, map[string]string{host: "u:p"}).Resolve(t.Context(), imageref.Ref(host+"/acme/web:1"))
	if err == nil {
		t.Error("no error")
	}
	if n := len(thief.requests); n != 0 {
		t.Errorf("%d requests to the realm", n)
	}
}

// A registry that is meant to be reached over TLS is not asked in the clear.
func TestNoDowngrade(t *testing.T) {
	f, host := start(t, map[string]http.HandlerFunc{"/v2/acme/web/manifests/" + digest.FromString(manifestText).String(): answer(ocispec.MediaTypeImageManifest, manifestText)})
	if _, err := newPuller(t, nil).Manifest(t.Context(), "https://"+host+"/acme/web", digest.FromString(manifestText)); err == nil || errors.Is(err, ErrReference) {
		t.Error("no error")
	}
	if len(f.requests) != 0 {
		t.Errorf("%d requests in the clear", len(f.requests))
	}
}

func TestSchemes(t *testing.T) {
	for in, want := range map[string]string{
		"ghcr.io/acme/web":                    "https://ghcr.io/v2/acme/web/manifests/1",
		"127.0.0.1:5000/acme/web":             "http://127.0.0.1:5000/v2/acme/web/manifests/1",
		"localhost/acme/web":                  "http://localhost/v2/acme/web/manifests/1",
		"http://mirror.example/ghcr.io/a/web": "http://mirror.example/v2/ghcr.io/a/web/manifests/1",
		"https://127.0.0.1:5000/x/y":          "https://127.0.0.1:5000/v2/x/y/manifests/1",
	} {
		e, err := parseEndpoint(in)
		if err != nil || e.url("manifests", "1") != want {
			t.Errorf("%s: %s %v", in, e.url("manifests", "1"), err)
		}
	}
}

func descriptorIndex(n int) string {
	var list []ocispec.Descriptor
	for i := range n {
		list = append(list, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1})
	}
	out, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list})
	return string(out)
}

func TestReferrers(t *testing.T) {
	dg := digest.FromString(manifestText)
	api, tag := "/v2/acme/web/referrers/"+string(dg), "/v2/acme/web/manifests/"+FallbackTag(dg)
	paged := func(next string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "" {
				w.Header().Set("Link", "<"+next+">; rel=\"next\"")
			}
			answer(ocispec.MediaTypeImageIndex, descriptorIndex(2))(w, r)
		}
	}
	for name, c := range map[string]struct {
		answers  map[string]http.HandlerFunc
		count    int
		fallback bool
		fails    bool
	}{
		"api":            {map[string]http.HandlerFunc{api: answer(ocispec.MediaTypeImageIndex, descriptorIndex(3))}, 3, false, false},
		"api, empty":     {map[string]http.HandlerFunc{api: answer(ocispec.MediaTypeImageIndex, indexText)}, 0, false, false},
		"pages":          {map[string]http.HandlerFunc{api: paged(api + "?page=2")}, 4, false, false},
		"endless pages":  {map[string]http.HandlerFunc{api: paged(api)}, 0, false, true},
		"foreign page":   {map[string]http.HandlerFunc{api: paged("http://elsewhere.example/x")}, 0, false, true},
		"tag":            {map[string]http.HandlerFunc{tag: answer(ocispec.MediaTypeImageIndex, descriptorIndex(2))}, 2, true, false},
		"tag behind web": {map[string]http.HandlerFunc{api: answer("text/html", "<p>"), tag: answer(ocispec.MediaTypeImageIndex, descriptorIndex(2))}, 2, true, false},
		"nothing":        {nil, 0, false, false},
		"too many":       {map[string]http.HandlerFunc{api: answer(ocispec.MediaTypeImageIndex, descriptorIndex(maxReferrers+1))}, 0, false, true},
		"bad digest":     {map[string]http.HandlerFunc{api: answer(ocispec.MediaTypeImageIndex, strings.Replace(descriptorIndex(1), "sha256:", "sha256:../", 1))}, 0, false, true},
		"error":          {map[string]http.HandlerFunc{api: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }}, 0, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, host := start(t, c.answers)
			list, m, err := newPuller(t, nil).Referrers(t.Context(), host+"/acme/web", dg)
			if len(list) != c.count || (m != nil) != c.fallback || (err != nil) != c.fails {
				t.Errorf("%d referrers, fallback %v, %v", len(list), m != nil, err)
			}
		})
	}
}

func TestCosignTags(t *testing.T) {
	dg := digest.FromString(manifestText)
	_, host := start(t, map[string]http.HandlerFunc{
		"/v2/acme/web/manifests/" + FallbackTag(dg) + ".sig": answer(ocispec.MediaTypeImageManifest, manifestText),
	})
	found, err := newPuller(t, nil).CosignTags(t.Context(), host+"/acme/web", dg)
	if err != nil || len(found) != 1 || found[FallbackTag(dg)+".sig"].Digest != dg {
		t.Errorf("%v %v", found, err)
	}
}

func TestBlobRequest(t *testing.T) {
	dg := digest.FromString("hello")
	_, host := start(t, map[string]http.HandlerFunc{"/v2/acme/web/blobs/" + string(dg): answer("application/octet-stream", "hello")})
	p := newPuller(t, nil)
	r, err := p.BlobRequest(t.Context(), host+"/acme/web", dg, 5)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := url.Parse(r.URL); err != nil || u.Host != host || r.Size != 5 || !r.Direct {
		t.Errorf("%+v %v", r, err)
	}
	if data, _, err := p.client.Read(t.Context(), r, 5); err != nil || string(data) != "hello" {
		t.Errorf("%q %v", data, err)
	}
}

func FuzzManifestType(f *testing.F) {
	f.Add(ocispec.MediaTypeImageManifest, []byte(manifestText))
	f.Add("", []byte(indexText))
	f.Add("a/b; c", []byte(`{"schemaVersion":2,"Manifests":[],"layers":[]}`))
	f.Fuzz(func(t *testing.T, header string, data []byte) {
		kind, err := manifestType(header, data)
		if err != nil {
			return
		}
		var m ocispec.Manifest
		if json.Unmarshal(data, &m) == nil && m.MediaType != "" && m.MediaType != kind {
			t.Errorf("taken for %q, says %q", kind, m.MediaType)
		}
	})
}

func FuzzReference(f *testing.F) {
	f.Add("ghcr.io/acme/web:1.2.3@sha256:" + strings.Repeat("0", 64))
	f.Add("http://127.0.0.1:5000/a/b:c")
	f.Fuzz(func(t *testing.T, ref string) {
		if !imageref.Ref(ref).Valid() {
			return
		}
		e, err := parseEndpoint(imageref.Ref(ref).Repository())
		if err != nil {
			return
		}
		u, err := url.Parse(e.url("manifests", "x"))
		if err != nil || u.Host != e.host || strings.Contains(u.Path, "..") {
			t.Errorf("%q leads to %q, %v", ref, e.url("manifests", "x"), err)
		}
	})
}
