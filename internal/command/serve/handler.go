package serve

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/event"
)

const maxStreams = 24 // concurrent content bodies, each with one block in memory

// Handler answers for opened bundles: OCI distribution (pull) under
// /v2/, a Helm repository under /helm/, a model hub under /api/models/ and
// /REPOSITORY/resolve/ (and raw), files under /files/, and /healthz, /readyz, /metrics.
// Where several bundles hold one blob, the first that does gives it. It is safe
// for concurrent use and holds no lock while it sends.
type Handler struct {
	bundles  cargo.Bundles
	catalog  *catalog.Catalog
	charts   *chartRepository
	models   *modelHub
	files    *fileShelf
	sink     event.Sink
	metrics  *metrics
	mux      *http.ServeMux
	streams  chan struct{}
	patience time.Duration // of those who wait for streams
	draining atomic.Bool
}

// New makes the handler of bundles, which it does not close. What the operator
// should know about how they stack is emitted to sink as warnings.
func New(bundles cargo.Bundles, sink event.Sink) (*Handler, error) {
	c, err := bundles.Catalog()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		bundles: bundles, catalog: c, sink: sink, metrics: newMetrics(len(bundles)),
		streams: make(chan struct{}, maxStreams), patience: slotPatience,
	}
	if h.charts, err = newChartRepository(h); err != nil {
		return nil, fmt.Errorf("indexing charts: %w", err)
	}
	if h.models, err = newModelHub(h); err != nil {
		return nil, fmt.Errorf("indexing models: %w", err)
	}
	h.files = newFileShelf(h)
	for _, clash := range c.Clashes {
		h.emitWarning("tag-clash", "%s:%s names different images in these bundles; the one with the highest sequence is served: %s, not %s",
			clash.Repository, clash.Tag, clash.Kept, clash.Dropped)
	}
	h.registerRoutes()
	return h, nil
}

func (h *Handler) registerRoutes() {
	h.mux = http.NewServeMux()
	h.registerSurface("/v2/", "oci", ociFailure, h.serveDistribution)
	h.registerSurface("/v2", "oci", ociFailure, h.serveDistribution)
	h.registerSurface("/helm/", "helm", textFailure, h.serveCharts)
	h.registerSurface("/files/", "files", textFailure, h.serveFiles)
	h.registerSurface("/api/models", "hub-api", hubFailure, h.serveHubAPI)
	h.registerSurface("/api/models/", "hub-api", hubFailure, h.serveHubAPI)
	h.registerSurface("/healthz", "health", textFailure, h.serveHealth)
	h.registerSurface("/readyz", "ready", textFailure, h.serveReady)
	h.registerSurface("/metrics", "metrics", textFailure, h.metrics.serveMetrics)
	h.registerSurface("/", "hub-resolve", hubFailure, h.serveResolve)
}

type route func(http.ResponseWriter, *http.Request) error

// registerSurface registers f under pattern; what f returns is written in the words of
// that surface's protocol.
func (h *Handler) registerSurface(pattern, name string, write func(http.ResponseWriter, *failure), f route) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if rec, ok := w.(*recorder); ok {
			rec.route = name
		}
		if err := f(w, r); err != nil {
			write(w, asFailure(err))
		}
	})
}

// ServeHTTP answers one request and emits its access event.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, began: time.Now(), route: "other"}
	defer func() {
		fault := recover()
		h.recordAnswer(rec, r, fault != nil)
		if fault != nil && fault != http.ErrAbortHandler {
			h.emitWarning("panic", "answering %s %s: %v", r.Method, r.URL.Path, fault)
		}
		if fault != nil {
			panic(fault)
		}
	}()
	extendDeadline(http.NewResponseController(w)) // for answers that are no body
	h.mux.ServeHTTP(rec, r)
}

func (h *Handler) recordAnswer(rec *recorder, r *http.Request, aborted bool) {
	h.metrics.observeAnswer(rec, aborted)
	fields := map[string]any{
		"method": r.Method, "path": r.URL.Path, "status": rec.statusCode(), "bytes": rec.bytes,
		"milliseconds": time.Since(rec.began).Milliseconds(), "remote": r.RemoteAddr, "route": rec.route,
	}
	if aborted {
		fields["aborted"] = true
	}
	h.sink.Emit(event.Event{Verb: Verb, Kind: event.Info, Message: "access", Bytes: rec.bytes, Fields: fields})
}

// Drain makes /readyz answer 503, so that balancers look elsewhere before the
// server goes.
func (h *Handler) Drain() { h.draining.Store(true) }

func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request) error {
	writeBytes(w, http.StatusOK, []byte("ok\n"))
	return nil
}

func (h *Handler) serveReady(w http.ResponseWriter, r *http.Request) error {
	if h.draining.Load() {
		return &failure{http.StatusServiceUnavailable, "DRAINING", "shutting down"}
	}
	writeBytes(w, http.StatusOK, []byte("ok\n"))
	return nil
}

// blobContent is the content of d with the given type.
func (h *Handler) blobContent(d digest.Digest, mediaType string, size int64) content {
	return content{etag: d.String(), mediaType: mediaType, size: size,
		open: func(offset, length int64) (io.ReadCloser, error) { return h.bundles.Open(d, offset, length) }}
}

// reportDamage tells the operator what a bundle could not give.
func (h *Handler) reportDamage(r *http.Request, err error) {
	f, ok := h.catalog.Damage(err)
	if !ok {
		f = event.Finding{Severity: event.Error, Code: event.CodeUnreadable, What: err.Error()}
	}
	if f.Code == string(bundle.BadBlock) {
		h.metrics.tampered.Inc()
	}
	f.Why = "a client asked for it: " + r.URL.Path
	h.sink.Emit(event.Event{Verb: Verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
}

func (h *Handler) emitWarning(code, format string, args ...any) {
	h.sink.Emit(event.Event{Verb: Verb, Kind: event.Warning, Message: fmt.Sprintf(format, args...), Fields: map[string]any{"code": code}})
}

// requireRead says whether r only reads; if not it is refused.
func requireRead(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	w.Header().Set("Allow", "GET, HEAD")
	return &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", "this server only gives; it takes nothing"}
}

func setLength(h http.Header, n int64) { h.Set("Content-Length", strconv.FormatInt(n, 10)) }

// recorder sees what was answered.
type recorder struct {
	http.ResponseWriter
	began  time.Time
	route  string
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) statusCode() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
