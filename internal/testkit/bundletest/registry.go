package bundletest

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

var silence = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })

// Registry is a distribution registry on loopback, empty at first, that counts
// what is asked of it.
type Registry struct {
	Host string // 127.0.0.1:PORT
	// Fault, if set before the first request, sees every request first and
	// says whether it answered.
	Fault func(http.ResponseWriter, *http.Request) bool

	app  http.Handler
	mu   sync.Mutex
	seen []string // METHOD path?query
	busy int      // requests being answered
	idle *sync.Cond
}

// NewRegistry starts a registry that ends with the test. With sparse it takes
// indexes whose children it lacks; its default is to refuse them.
func NewRegistry(tb testing.TB, sparse bool) *Registry {
	tb.Helper()
	silence()
	config := &configuration.Configuration{}
	config.Storage = configuration.Storage{
		"inmemory":    configuration.Parameters{},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}
	config.HTTP.Secret = "bundletest"
	if sparse {
		config.Validation.Manifests.Indexes.Platforms = "none"
	}
	app := handlers.NewApp(context.Background(), config)
	r := &Registry{app: app}
	r.idle = sync.NewCond(&r.mu)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.beginRequest(req)
		defer r.endRequest()
		if r.Fault == nil || !r.Fault(w, req) {
			app.ServeHTTP(w, req)
		}
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // distribution answers twice to uploads cut short
	srv.Start()
	tb.Cleanup(func() { srv.Close(); _ = app.Shutdown() })
	r.Host = strings.TrimPrefix(srv.URL, "http://")
	return r
}

func (r *Registry) beginRequest(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy++
	r.seen = append(r.seen, req.Method+" "+req.URL.RequestURI())
}

func (r *Registry) endRequest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	r.idle.Broadcast()
}

// Requests counts the requests since the last Reset that start with method and
// hold part.
func (r *Registry) Requests(method, part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, s := range r.seen {
		if strings.HasPrefix(s, method) && strings.Contains(s, part) {
			n++
		}
	}
	return n
}

// Reset forgets the requests counted so far.
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = nil
}

// Idle waits until every request is answered, those included whose client has
// gone. No client may be at work.
func (r *Registry) Idle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.busy > 0 {
		r.idle.Wait()
	}
}

// Has says whether a repository has a blob. It is not counted as a request.
func (r *Registry) Has(repository string, d digest.Digest) bool {
	rec := httptest.NewRecorder()
	r.app.ServeHTTP(rec, httptest.NewRequest(http.MethodHead, "/v2/"+repository+"/blobs/"+d.String(), nil))
	return rec.Code == http.StatusOK
}

// Forward hands a request to the registry without a connection of its own.
func (r *Registry) Forward(w http.ResponseWriter, req *http.Request) { r.app.ServeHTTP(w, req) }
