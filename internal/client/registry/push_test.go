package registry

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func newPusher(t *testing.T, r *bundletest.Registry) *Pusher {
	t.Helper()
	p, err := NewPusher(r.Host+"/site", PushOptions{Backoff: time.Millisecond, Keychain: authn.NewMultiKeychain()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// blobOf is a blob and a way to open it that counts.
func blobOf(seed string, n int) (ocispec.Descriptor, []byte, func() (io.ReadCloser, error), *atomic.Int32) {
	data := bundletest.Random(seed, n)
	opened := new(atomic.Int32)
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, data, func() (io.ReadCloser, error) {
		opened.Add(1)
		return io.NopCloser(bytes.NewReader(data)), nil
	}, opened
}

func TestUploadAndMount(t *testing.T) {
	r := bundletest.NewRegistry(t, false)
	p := newPusher(t, r)
	d, _, open, opened := blobOf("a", 3<<20)
	if out, err := p.Upload(t.Context(), "one/a", "", d, open); err != nil || out != Uploaded {
		t.Fatalf("upload: %v, %v", out, err)
	}
	if out, err := p.Upload(t.Context(), "two/b", "one/a", d, open); err != nil || out != Mounted {
		t.Fatalf("mount: %v, %v", out, err)
	}
	for _, repo := range []string{"one/a", "two/b"} {
		if have, err := p.HasBlob(t.Context(), repo, d.Digest); err != nil || !have {
			t.Errorf("%s: %v, %v", repo, have, err)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("the blob was read %d times", opened.Load())
	}
	if out, err := p.Upload(t.Context(), "three/c", "no/such", d, open); err != nil || out != Uploaded {
		t.Errorf("a refused mount: %v, %v", out, err)
	}
	if have, err := p.HasBlob(t.Context(), "one/a", digest.FromString("other")); err != nil || have {
		t.Errorf("absent blob: %v, %v", have, err)
	}
}

func TestUploadRetriesFromTheStart(t *testing.T) {
	r := bundletest.NewRegistry(t, false)
	var puts atomic.Int32
	r.Fault = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPut || puts.Add(1) > 3 {
			return false
		}
		switch puts.Load() {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			_, _ = io.CopyN(io.Discard, req.Body, 1<<20)
			panic(http.ErrAbortHandler)
		}
		return true
	}
	var retries atomic.Int32
	p, err := NewPusher(r.Host, PushOptions{Backoff: time.Millisecond, Keychain: authn.NewMultiKeychain(), Retry: func(string, int, error) { retries.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	d, _, open, _ := blobOf("retry", 5<<20)
	if _, err := p.Upload(t.Context(), "a", "", d, open); err != nil {
		t.Fatal(err)
	}
	if retries.Load() != 3 {
		t.Errorf("%d retries, want 3", retries.Load())
	}
	if have, err := p.HasBlob(t.Context(), "a", d.Digest); err != nil || !have {
		t.Errorf("%v, %v", have, err)
	}
}

var errSource = errors.New("bad block")

// TestUploadOfABadSource: what the source refuses is never asked for again, and
// the registry does not get the blob.
func TestUploadOfABadSource(t *testing.T) {
	r := bundletest.NewRegistry(t, false)
	p := newPusher(t, r)
	d, data, _, _ := blobOf("bad", 2<<20)
	for name, open := range map[string]func() (io.ReadCloser, error){
		"open": func() (io.ReadCloser, error) { return nil, errSource },
		"read": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(data[:1<<20]), failing{})), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var opens atomic.Int32
			_, err := p.Upload(t.Context(), "a", "", d, func() (io.ReadCloser, error) { opens.Add(1); return open() })
			if !errors.Is(err, errSource) || opens.Load() != 1 {
				t.Errorf("error %v after %d attempts", err, opens.Load())
			}
			if have, err := p.HasBlob(t.Context(), "a", d.Digest); err != nil || have {
				t.Errorf("the registry has it: %v, %v", have, err)
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errSource }

func TestUploadOfAShortSource(t *testing.T) {
	r := bundletest.NewRegistry(t, false)
	p := newPusher(t, r)
	d, data, _, _ := blobOf("short", 1<<20)
	_, err := p.Upload(t.Context(), "a", "", d, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[:1000])), nil
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}

func TestUploadOfOtherBytes(t *testing.T) {
	r := bundletest.NewRegistry(t, false)
	p := newPusher(t, r)
	d, data, _, _ := blobOf("right", 1<<10)
	wrong := bytes.Clone(data)
	wrong[7] ^= 1
	_, err := p.Upload(t.Context(), "a", "", d, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wrong)), nil })
	refusal := new(RefusedError)
	if !errors.As(err, &refusal) || refusal.Status != http.StatusBadRequest {
		t.Errorf("error %v", err)
	}
}

func TestManifests(t *testing.T) {
	r := bundletest.NewRegistry(t, false)
	p := newPusher(t, r)
	raw := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	want := digest.FromBytes(raw)
	if d, err := p.ManifestDigest(t.Context(), "a", "v1"); err != nil || d != "" {
		t.Fatalf("before: %q, %v", d, err)
	}
	if err := p.PutManifest(t.Context(), "a", "v1", ocispec.MediaTypeImageIndex, raw); err != nil {
		t.Fatal(err)
	}
	if d, err := p.ManifestDigest(t.Context(), "a", "v1"); err != nil || d != want {
		t.Errorf("after: %q, %v", d, err)
	}
	got, kind, err := p.ReadManifest(t.Context(), "a", want.String())
	if err != nil || !bytes.Equal(got, raw) || kind != ocispec.MediaTypeImageIndex {
		t.Errorf("read %q of %q, %v", got, kind, err)
	}
	if _, _, err := p.ReadManifest(t.Context(), "a", "v2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent tag: %v", err)
	}
	sparse := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + digest.FromString("x").String() + `","size":9,"platform":{"os":"linux","architecture":"arm64"}}]}`)
	err = p.PutManifest(t.Context(), "a", "v2", ocispec.MediaTypeImageIndex, sparse)
	refusal := new(RefusedError)
	if !errors.As(err, &refusal) || !refusal.Incomplete() {
		t.Errorf("sparse index: %v", err)
	}
}

func TestEnsureReferrersMerges(t *testing.T) {
	r := bundletest.NewRegistry(t, true)
	p := newPusher(t, r)
	subject := digest.FromString("subject")
	one := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("1"), Size: 1, ArtifactType: "a/b"}
	two := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("2"), Size: 2}
	carried := referrersIndex([]ocispec.Descriptor{one})
	if err := p.EnsureReferrers(t.Context(), "a", subject, []ocispec.Descriptor{one}, carried); err != nil {
		t.Fatal(err)
	}
	if raw, _, err := p.ReadManifest(t.Context(), "a", FallbackTag(subject)); err != nil || !bytes.Equal(raw, carried) {
		t.Errorf("the carried index was not written as it is: %s, %v", raw, err)
	}
	if err := p.EnsureReferrers(t.Context(), "a", subject, []ocispec.Descriptor{two}, nil); err != nil {
		t.Fatal(err)
	}
	list, err := p.taggedReferrers(t.Context(), "a", subject)
	if err != nil || len(list) != 2 || list[0].Digest != one.Digest || list[0].ArtifactType != "a/b" || list[1].Digest != two.Digest {
		t.Errorf("merged: %v, %v", list, err)
	}
	r.Reset()
	if err := p.EnsureReferrers(t.Context(), "a", subject, []ocispec.Descriptor{one, two}, nil); err != nil {
		t.Fatal(err)
	}
	if n := r.Requests(http.MethodPut, ""); n != 0 {
		t.Errorf("%d writes although all is there", n)
	}
}

// tokenRegistry wants a token from a realm of its own, and basic credentials
// for it.
func tokenRegistry(t *testing.T, inner http.Handler) (host string, scopes func() string) {
	t.Helper()
	var asked atomic.Value
	asked.Store("")
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			user, password, _ := r.BasicAuth()
			if user != "pusher" || password != "secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			asked.Store(asked.Load().(string) + strings.Join(r.URL.Query()["scope"], " ") + "\n")
			_, _ = io.WriteString(w, `{"token":"t0ken"}`)
		case r.Header.Get("Authorization") != "Bearer t0ken":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), func() string { return asked.Load().(string) }
}

type staticKeychain authn.AuthConfig

func (k staticKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig(k)), nil
}

func TestPushWithToken(t *testing.T) {
	inner := bundletest.NewRegistry(t, false)
	forward := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.Forward(w, r)
	})
	host, scopes := tokenRegistry(t, forward)
	p, err := NewPusher(host, PushOptions{Backoff: time.Millisecond, Keychain: staticKeychain{Username: "pusher", Password: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	d, _, open, opened := blobOf("token", 1<<20)
	if _, err := p.Upload(t.Context(), "a", "", d, open); err != nil {
		t.Fatal(err)
	}
	if opened.Load() != 1 {
		t.Errorf("the blob was sent %d times: the token came too late", opened.Load())
	}
	if _, err := p.Upload(t.Context(), "b", "a", d, open); err != nil {
		t.Fatal(err)
	}
	if s := scopes(); !strings.Contains(s, "repository:a:pull,push") || !strings.Contains(s, "repository:a:pull repository:b:pull,push") {
		t.Errorf("scopes asked for:\n%s", s)
	}
	for name, config := range map[string]staticKeychain{"wrong password": {Username: "pusher", Password: "hunter2"}, "no password": {}} {
		retries := 0
		wrong, err := NewPusher(host, PushOptions{Keychain: config, Backoff: time.Millisecond, Retry: func(string, int, error) { retries++ }})
		if err != nil {
			t.Fatal(err)
		}
		if err := wrong.Check(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") || retries != 0 {
			t.Errorf("%s: %v after %d retries", name, err, retries)
		}
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	for _, known := range []bool{true, false} {
		retries := 0
		opt := PushOptions{Backoff: time.Millisecond, Retry: func(string, int, error) { retries++ }}
		if known {
			opt.RootCAs = pool
		}
		p, err := NewPusher("127.0.0.1:"+port, opt)
		if err != nil {
			t.Fatal(err)
		}
		if known != (p.scheme == "https") {
			t.Errorf("certificate known: %v: the scheme is %s", known, p.scheme)
		}
		p.scheme = "https" // loopback is plain by default
		if err := p.Check(t.Context()); (err == nil) != known || retries != 0 {
			t.Errorf("certificate known: %v: %v after %d retries", known, err, retries)
		}
	}
}

func TestUploadLocations(t *testing.T) {
	p, err := NewPusher("registry.example", PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u := &upload{pusher: p, desc: ocispec.Descriptor{Digest: "sha256:ab"}}
	base := mustURL(t, "https://registry.example/v2/a/blobs/uploads/")
	for location, want := range map[string]string{
		"/v2/a/blobs/uploads/1?s=2":       "https://registry.example/v2/a/blobs/uploads/1?digest=sha256%3Aab&s=2",
		"http://registry.example:80/u/1":  "https://registry.example/u/1?digest=sha256%3Aab",
		"https://store.example/u":         "https://store.example/u?digest=sha256%3Aab",
		"http://store.example/u":          "",
		"https://user:pw@store.example/u": "",
		"file:///etc/passwd":              "",
		"":                                "",
	} {
		got, err := u.uploadAddress(base, location)
		if want == "" {
			if err == nil {
				t.Errorf("%q gave %s", location, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q gave %v, %v; want %s", location, got, err, want)
		}
	}
}

func TestNewPusherRefuses(t *testing.T) {
	for _, s := range []string{"", "/x", "host/UPPER", "host/a//b", "ho st", "host/../x", "user@host/x", "http://host"} {
		if _, err := NewPusher(s, PushOptions{}); !errors.Is(err, ErrReference) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestPushIsCancelled(t *testing.T) {
	r := bundletest.NewRegistry(t, false)
	release := make(chan struct{})
	r.Fault = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPut {
			<-release
		}
		return false
	}
	defer close(release)
	p := newPusher(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	d, _, open, _ := blobOf("cancel", 8<<20)
	done := make(chan error, 1)
	go func() {
		_, err := p.Upload(ctx, "a", "", d, func() (io.ReadCloser, error) { cancel(); return open() })
		done <- err
	}()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
