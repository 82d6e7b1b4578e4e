package serve

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func newHandler(t *testing.T) *Handler {
	t.Helper()
	h, err := New(cargo.Bundles{bundletest.Make(t, bundletest.Options{}).Open(t)}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// deadlines is a connection that complains of writes without a deadline ahead,
// and of much under one deadline.
type deadlines struct {
	*httptest.ResponseRecorder
	*testing.T
	ahead time.Time
	under int // bytes written since the deadline was set
	set   int
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.ahead, d.under = at, 0
	d.set++
	return nil
}

func (d *deadlines) Write(p []byte) (int, error) {
	if d.under += len(p); !d.ahead.After(time.Now()) || d.under > writeChunk {
		d.Errorf("%d bytes were written until %v", d.under, d.ahead)
	}
	return d.ResponseRecorder.Write(p)
}

// TestEveryAnswerHasADeadline, and still has it when the server flushes what is
// left of it.
func TestEveryAnswerHasADeadline(t *testing.T) {
	h := newHandler(t)
	for path, status := range map[string]int{
		"/v2/ghcr.io/acme/web/manifests/1.2.3": 200,
		"/v2/_catalog":                         200,
		"/v2/absent/manifests/1":               404,
		"/helm/index.yaml":                     200,
		"/helm/absent":                         404,
		"/files/gpu/driver.run":                200,
		"/api/models/" + bundletest.ModelID:    200,
		"/metrics":                             200,
		"/healthz":                             200,
		"//":                                   307,
	} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder(), T: t}
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != status || !w.ahead.After(time.Now()) {
			t.Errorf("%s: status %d, deadline %v", path, w.Code, w.ahead)
		}
	}
}

func TestLongListingsAreWrittenInChunks(t *testing.T) {
	w := &deadlines{ResponseRecorder: httptest.NewRecorder(), T: t}
	text := bytes.Repeat([]byte("x"), 3*writeChunk+1)
	writeBytes(w, http.StatusTeapot, text)
	if w.Code != http.StatusTeapot || w.set != 4 || !bytes.Equal(w.Body.Bytes(), text) || w.Header().Get("Content-Length") != strconv.Itoa(len(text)) {
		t.Errorf("status %d, %d deadlines, %d bytes, %v", w.Code, w.set, w.Body.Len(), w.Header())
	}
}

func TestBusy(t *testing.T) {
	h := newHandler(t)
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/files/gpu/driver.run", nil))
		return w
	}
	for range maxStreams {
		h.streams <- struct{}{}
	}
	h.patience = 0
	if w := get(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != retryAfter || w.Header().Get("ETag") != "" {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
	<-h.streams
	h.patience = slotPatience
	for range 2 { // the slot is given back
		if w := get(); w.Code != http.StatusOK {
			t.Errorf("with a slot free: status %d", w.Code)
		}
	}
}
