package upstreamtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// client makes requests as a careful client would: nothing unpacked behind its
// back, redirects only when asked for, no connection shared between tests.
func client(t *testing.T, follow bool) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport}
	if !follow {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return c
}

// reply is a response read to its end.
type reply struct {
	status int
	header http.Header
	length int64 // as stated
	body   []byte
	err    error // of reading the body
}

func do(t *testing.T, method, url string, header ...string) reply {
	t.Helper()
	r, err := try(t, method, url, header...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// try is do for requests that may get no answer at all.
func try(t *testing.T, method, url string, header ...string) (reply, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		key, value, _ := strings.Cut(h, ": ")
		req.Header.Set(key, value)
	}
	res, err := client(t, false).Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, res.ContentLength, body, err}, nil
}

func get(t *testing.T, url string, header ...string) reply {
	t.Helper()
	r := do(t, http.MethodGet, url, header...)
	if r.err != nil {
		t.Fatalf("GET %s: %v", url, r.err)
	}
	return r
}

func start(t *testing.T, opts upstreamtest.Options) *upstreamtest.Upstream {
	t.Helper()
	return upstreamtest.New(t, opts)
}

// small is a workload that is made in no time.
func small() *upstreamtest.WorkloadOptions {
	return &upstreamtest.WorkloadOptions{Seed: 7, Images: 10, ImageBytes: 4 << 20, ModelBytes: 1 << 20}
}

func matching(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }
