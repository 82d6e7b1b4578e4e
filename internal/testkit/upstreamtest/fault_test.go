package upstreamtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// driver starts an upstream with a fault on its largest file, and returns the
// file's address and true bytes.
func driver(t *testing.T, f upstreamtest.Fault) (*upstreamtest.Upstream, *upstreamtest.Armed, string, []byte) {
	t.Helper()
	up := start(t, upstreamtest.Options{})
	url := "http://" + up.Addresses().Files + "/driver.run"
	whole := get(t, url).body
	up.ResetStats()
	f.Match = matching(`^/driver\.run$`)
	return up, up.Fault(f), url, whole
}

func TestStatusForTheFirstRequests(t *testing.T) {
	_, armed, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.Status, Status: 429, RetryAfter: "1", Times: 2})
	for range 2 {
		r := get(t, url)
		if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") != "1" {
			t.Fatalf("status %d, Retry-After %q", r.status, r.header.Get("Retry-After"))
		}
	}
	if r := get(t, url); r.status != http.StatusOK || !bytes.Equal(r.body, whole) {
		t.Fatalf("third request: status %d", r.status)
	}
	if armed.Hits() != 2 {
		t.Fatalf("%d hits", armed.Hits())
	}
}

func TestTruncateLooksComplete(t *testing.T) {
	up, _, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.Truncate, After: 1000, Times: 1})
	r := get(t, url)
	if r.length != -1 || !bytes.Equal(r.body, whole[:1000]) {
		t.Fatalf("length %d, %d bytes", r.length, len(r.body))
	}
	if r := get(t, url); !bytes.Equal(r.body, whole) {
		t.Fatalf("second reply has %d bytes", len(r.body))
	}
	if c := up.Stats().Paths["/driver.run"]; c.Gets != 2 || c.Ended != 1 || c.Bytes != 1000+int64(len(whole)) {
		t.Fatalf("counted %+v", c)
	}
}

func TestTruncateLeavesShortBodiesAlone(t *testing.T) {
	_, armed, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.Truncate, After: 1000, Times: 1})
	if r := get(t, url, "Range: bytes=0-99"); !bytes.Equal(r.body, whole[:100]) {
		t.Fatalf("%d bytes", len(r.body))
	}
	if armed.Hits() != 0 {
		t.Fatal("the fault was used up")
	}
	if r := get(t, url); len(r.body) != 1000 {
		t.Fatalf("%d bytes", len(r.body))
	}
}

func TestDropBreaksTheConnection(t *testing.T) {
	for _, after := range []int64{1, 70000} {
		up, _, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.Drop, After: after, Times: 1})
		r := do(t, http.MethodGet, url)
		if !errors.Is(r.err, io.ErrUnexpectedEOF) || !bytes.Equal(r.body, whole[:after]) || r.length != int64(len(whole)) {
			t.Fatalf("after %d: %v with %d of %d bytes", after, r.err, len(r.body), r.length)
		}
		if c := up.Stats().Paths["/driver.run"]; c.Bytes != after || c.Ended != 0 {
			t.Fatalf("counted %+v", c)
		}
	}
}

func TestDropBeforeAnything(t *testing.T) {
	_, _, url, _ := driver(t, upstreamtest.Fault{Kind: upstreamtest.Drop, Method: http.MethodHead, Times: 1})
	if _, err := try(t, http.MethodHead, url); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
}

func TestCorruptInvertsOneByte(t *testing.T) {
	_, armed, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.Corrupt, After: 1 << 20})
	want := bytes.Clone(whole)
	want[1<<20] ^= 0xff
	if r := get(t, url); !bytes.Equal(r.body, want) || r.length != int64(len(whole)) {
		t.Fatal("another byte, or more than one, differs")
	}
	if r := get(t, url, "Range: bytes=1000000-1100000"); !bytes.Equal(r.body, want[1000000:1100001]) {
		t.Fatal("the offset is not that of the content")
	}
	if r := get(t, url, "Range: bytes=2000000-"); !bytes.Equal(r.body, whole[2000000:]) {
		t.Fatal("a range without the byte is not as it should be")
	}
	if armed.Hits() != 2 {
		t.Fatalf("%d hits", armed.Hits())
	}
}

func TestWrongLength(t *testing.T) {
	_, armed, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.WrongLength, Add: 5})
	size := int64(len(whole))
	if r := do(t, http.MethodHead, url); r.length != size+5 {
		t.Fatalf("HEAD says %d", r.length)
	}
	if r := do(t, http.MethodGet, url); r.length != size+5 || !errors.Is(r.err, io.ErrUnexpectedEOF) {
		t.Fatalf("GET says %d, %v", r.length, r.err)
	}
	r := get(t, url, "Range: bytes=0-0")
	if !strings.HasSuffix(r.header.Get("Content-Range"), "/3145768") || len(r.body) != 1 {
		t.Fatalf("Content-Range %q of %d", r.header.Get("Content-Range"), size)
	}
	armed.Disarm()
	if r := get(t, url); r.length != size {
		t.Fatalf("a disarmed fault acts: %d", r.length)
	}
}

func TestWrongLengthTooShort(t *testing.T) {
	_, _, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.WrongLength, Add: -5})
	if r := get(t, url); !bytes.Equal(r.body, whole[:len(whole)-5]) {
		t.Fatalf("%d bytes", len(r.body))
	}
}

func TestIgnoreRange(t *testing.T) {
	_, armed, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.IgnoreRange, Times: 1})
	if get(t, url); armed.Hits() != 0 {
		t.Fatal("a request without Range used the fault up")
	}
	if r := get(t, url, "Range: bytes=100-"); r.status != http.StatusOK || len(r.body) != len(whole) {
		t.Fatalf("status %d, %d bytes", r.status, len(r.body))
	}
	if r := get(t, url, "Range: bytes=100-"); r.status != http.StatusPartialContent {
		t.Fatalf("status %d", r.status)
	}
}

func TestOtherRange(t *testing.T) {
	_, armed, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.OtherRange})
	if r := get(t, url); !bytes.Equal(r.body, whole) || armed.Hits() != 0 {
		t.Fatal("the whole content is not as it should be")
	}
	if r := get(t, url, "Range: bytes=10-12"); r.status != http.StatusPartialContent || string(r.body) != "xxx" || armed.Hits() != 1 {
		t.Fatalf("status %d, %q, %d hits", r.status, r.body, armed.Hits())
	}
}

func TestChangeETag(t *testing.T) {
	up, _, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.ChangeETag, Times: 2})
	changed := get(t, url).header.Get("ETag")
	up.ClearFaults()
	first := get(t, url).header.Get("ETag")
	if changed == first || first == "" {
		t.Fatalf("ETag %s and %s", changed, first)
	}
	up.Fault(upstreamtest.Fault{Kind: upstreamtest.ChangeETag})
	if r := get(t, url, "Range: bytes=9-", "If-Range: "+first); r.status != http.StatusOK || len(r.body) != len(whole) {
		t.Fatalf("old version: status %d", r.status)
	}
	r := get(t, url, "Range: bytes=9-", "If-Range: "+changed)
	if r.status != http.StatusPartialContent || !bytes.Equal(r.body, whole[9:]) {
		t.Fatalf("new version: status %d", r.status)
	}
	up.ClearFaults()
	if r := get(t, url, "Range: bytes=9-", "If-Range: "+first); r.status != http.StatusPartialContent {
		t.Fatalf("without a fault: status %d", r.status)
	}
}

func TestStallHoldsUntilTheClientGivesUp(t *testing.T) {
	_, armed, url, whole := driver(t, upstreamtest.Fault{Kind: upstreamtest.Stall, After: 5000, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	res := request(t, ctx, url)
	part := make([]byte, 5000)
	if _, err := io.ReadFull(res.Body, part); err != nil || !bytes.Equal(part, whole[:5000]) {
		t.Fatalf("before the stall: %v", err)
	}
	<-armed.Fired()
	cancel()
	if _, err := res.Body.Read(part); !isCanceled(err) {
		t.Fatalf("after giving up: %v", err)
	}
}

func TestStallEndsWithTheUpstream(t *testing.T) {
	up, armed, url, _ := driver(t, upstreamtest.Fault{Kind: upstreamtest.Stall, After: 1})
	res := request(t, t.Context(), url)
	<-armed.Fired()
	if err := up.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); err == nil || n > 1 {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestStallEndsWhenDisarmed(t *testing.T) {
	_, armed, url, _ := driver(t, upstreamtest.Fault{Kind: upstreamtest.Stall})
	done := make(chan error)
	go func() {
		_, err := http.Get(url)
		done <- err
	}()
	<-armed.Fired()
	armed.Disarm()
	if err := <-done; err == nil {
		t.Fatal("a stalled reply became complete")
	}
	if r := get(t, url); r.status != http.StatusOK {
		t.Fatalf("status %d", r.status)
	}
}

func request(t *testing.T, ctx context.Context, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client(t, true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestFaultsActOnTheRegistryToo(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	ref := "http://" + up.Addresses().Registry + "/v2/ghcr.io/acme/charts/web/manifests/1.2.3"
	accept := "Accept: application/vnd.oci.image.manifest.v1+json"
	whole := get(t, ref, accept).body
	up.Fault(upstreamtest.Fault{Match: matching("/manifests/"), Kind: upstreamtest.Corrupt, After: 3, Times: 1})
	if r := get(t, ref, accept); bytes.Equal(r.body, whole) || len(r.body) != len(whole) {
		t.Fatal("the manifest is not corrupt")
	}
}
