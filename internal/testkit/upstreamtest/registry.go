package upstreamtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// silence keeps distribution's log, which goes through logrus' global logger,
// away from the terminal.
var silence = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })

// imageRegistry is a distribution registry that keeps everything in memory.
type imageRegistry struct {
	app *handlers.App
}

// newImageRegistry starts an empty registry; close ends it. It has no
// listener, no access log and no tracing: only the handler is used.
func newImageRegistry() *imageRegistry {
	silence()
	config := &configuration.Configuration{}
	config.Storage = configuration.Storage{
		"inmemory": configuration.Parameters{},
		"maintenance": configuration.Parameters{
			"uploadpurging": map[any]any{"enabled": false},
		},
	}
	config.HTTP.Secret = "upstreamtest"
	return &imageRegistry{app: handlers.NewApp(context.Background(), config)}
}

func (r *imageRegistry) close() error { return r.app.Shutdown() }

// pushArtifact stores an artifact and what it refers to in a repository, under the
// given tags or else by digest. It goes past the gate: nothing is counted.
func (r *imageRegistry) pushArtifact(repository string, a artifact, tags ...string) error {
	for _, c := range a.children {
		if err := r.pushArtifact(repository, c); err != nil {
			return err
		}
	}
	for _, b := range a.blobs {
		if err := r.pushBlob(repository, b); err != nil {
			return err
		}
	}
	if len(tags) == 0 {
		tags = []string{a.descriptor.Digest.String()}
	}
	for _, tag := range tags {
		header := http.Header{"Content-Type": {a.descriptor.MediaType}}
		if _, err := r.callRegistry(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, header, a.raw); err != nil {
			return fmt.Errorf("pushing %s:%s: %w", repository, tag, err)
		}
	}
	return nil
}

func (r *imageRegistry) pushBlob(repository string, data []byte) error {
	opened, err := r.callRegistry(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil, nil)
	if err != nil {
		return fmt.Errorf("opening an upload to %s: %w", repository, err)
	}
	target, err := url.Parse(opened.Get("Location"))
	if err != nil {
		return fmt.Errorf("opening an upload to %s: %w", repository, err)
	}
	query := target.Query()
	query.Set("digest", digest.FromBytes(data).String())
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if _, err := r.callRegistry(http.MethodPut, target.Path+"?"+query.Encode(), header, data); err != nil {
		return fmt.Errorf("uploading to %s: %w", repository, err)
	}
	return nil
}

// callRegistry hands a request to the registry without a connection.
func (r *imageRegistry) callRegistry(method, target string, header http.Header, body []byte) (http.Header, error) {
	req, err := http.NewRequest(method, "http://registry.invalid"+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	reply := &recorder{header: http.Header{}}
	r.app.ServeHTTP(reply, req)
	if reply.status >= 300 {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, req.URL.Path, reply.status, reply.body.String())
	}
	return reply.header, nil
}

// recorder is an http.ResponseWriter that keeps the reply.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}
