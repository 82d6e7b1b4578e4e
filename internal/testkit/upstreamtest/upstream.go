// Package upstreamtest is the connected side's test upstream: a real registry, a
// Helm chart repository, a model hub and a file server, all on loopback and all
// in this process. Tests, the demo and the benchmarks fetch from it.
//
// Its content follows from constants alone, byte for byte. Every server counts
// what is asked of it and misbehaves on demand. It never reaches beyond loopback
// and is never part of the product.
package upstreamtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Options says how an upstream differs from the usual one. The zero value works.
type Options struct {
	// HubPage is how many entries a page of the hub's tree listing has at most;
	// 0 means 3.
	HubPage int
	// Workload adds the benchmark's generated content; nil means none.
	Workload *WorkloadOptions
}

// Upstream is a running set of servers. Its methods may be called concurrently.
type Upstream struct {
	images   *imageRegistry
	hub      *modelHub
	files    *fileServer
	charts   *chartRepo
	workload *Workload

	counters counters
	faults   faults
	closing  chan struct{}
	once     sync.Once
	running  sync.WaitGroup
	servers  []*http.Server
	addr     Addresses

	mu         sync.Mutex
	generation int
	digests    map[string]digest.Digest // by reference
	commit     string
}

// Addresses says where the servers are, each as host:port.
type Addresses struct {
	Registry string `json:"registry"`
	Charts   string `json:"charts"`
	Hub      string `json:"hub"`
	Files    string `json:"files"`
	Control  string `json:"control"`
	Workload string `json:"workload,omitempty"` // the registry of the generated images
}

// Start starts the servers on free loopback ports, with their content in place.
// The caller closes the upstream.
func Start(opts Options) (*Upstream, error) {
	if opts.HubPage == 0 {
		opts.HubPage = 3
	}
	u := &Upstream{
		images: newImageRegistry(), files: &fileServer{}, charts: chartRepoFixture(),
		closing: make(chan struct{}), digests: map[string]digest.Digest{}, generation: 1,
	}
	u.hub = newModelHub(&u.faults, opts.HubPage)
	if err := u.fillContent(opts); err != nil {
		return nil, errors.Join(err, u.images.close())
	}
	if err := u.startServers(); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// New is Start for a test: it fails the test on an error and closes the upstream
// at its end.
func New(tb testing.TB, opts Options) *Upstream {
	tb.Helper()
	u, err := Start(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := u.Close(); err != nil {
			tb.Error(err)
		}
	})
	return u
}

// fillContent puts all content in place.
func (u *Upstream) fillContent(opts Options) error {
	for _, p := range append(imageFixtures(), chartFixtures()...) {
		if err := u.pushOne(p); err != nil {
			return err
		}
	}
	for path, data := range fileFixtures() {
		u.files.putFile(path, servedFile{content: bytes.NewReader(data), sha256: hexSum(data)})
	}
	u.commit = u.hub.addCommit(ModelID, "", modelFixture(1), "main", "v1.0")
	u.hub.addCommit(GatedModelID, GatedToken, textFixtures(), "main")
	if opts.Workload == nil {
		return nil
	}
	w, err := newWorkload(*opts.Workload)
	if err != nil {
		return err
	}
	u.workload = w
	u.hub.addCommit(WorkloadModelID, "", w.modelFiles(), "main")
	return nil
}

func (u *Upstream) pushOne(p pushed) error {
	if err := u.images.pushArtifact(p.repository, p.artifact, p.tag); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.digests[p.repository+":"+p.tag] = p.artifact.descriptor.Digest
	return nil
}

// startServers starts a server for each kind of content, and the one for control.
func (u *Upstream) startServers() error {
	type server struct {
		addr    *string
		handler http.Handler
	}
	servers := []server{
		{&u.addr.Registry, u.gateHandler(u.images.app)},
		{&u.addr.Charts, u.gateHandler(u.charts)},
		{&u.addr.Hub, u.gateHandler(u.hub)},
		{&u.addr.Files, u.gateHandler(u.files)},
		{&u.addr.Control, u.controlHandler()},
	}
	if u.workload != nil {
		servers = append(servers, server{&u.addr.Workload, u.gateHandler(u.workload)})
	}
	for _, s := range servers {
		addr, err := u.startServer(s.handler)
		if err != nil {
			return err
		}
		*s.addr = addr
	}
	return nil
}

func (u *Upstream) gateHandler(next http.Handler) http.Handler {
	return &gate{next: next, counters: &u.counters, faults: &u.faults, closing: u.closing}
}

func (u *Upstream) startServer(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("opening a port: %w", err)
	}
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	u.servers = append(u.servers, s)
	u.running.Go(func() { _ = s.Serve(l) }) // ends with http.ErrServerClosed
	return l.Addr().String(), nil
}

// Close breaks all connections, stalled ones included, and ends the servers.
func (u *Upstream) Close() error {
	var err error
	u.once.Do(func() {
		close(u.closing)
		for _, s := range u.servers {
			err = errors.Join(err, s.Close())
		}
		u.running.Wait()
		err = errors.Join(err, u.images.close())
	})
	return err
}

// Addresses returns where the servers are.
func (u *Upstream) Addresses() Addresses { return u.addr }

// Fault puts a fault in force. Of several that match a request the one armed
// first acts, as long as it has times left.
func (u *Upstream) Fault(f Fault) *Armed { return u.faults.armFault(f) }

// ClearFaults disarms all faults.
func (u *Upstream) ClearFaults() { u.faults.disarmAll() }

// Stats returns what has been asked for and sent.
func (u *Upstream) Stats() Stats { return u.counters.takeSnapshot() }

// ResetStats sets all counters to zero.
func (u *Upstream) ResetStats() { u.counters.resetAll() }

// Digest returns the digest of the manifest that a reference to a demo image or
// chart means now ("ghcr.io/acme/web:1.2.3"), or "".
func (u *Upstream) Digest(reference string) digest.Digest {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.digests[reference]
}

// ModelCommit returns the commit that main means now in the demo model.
func (u *Upstream) ModelCommit() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.commit
}

// Advance publishes the next generation as a vendor would: the tag
// ghcr.io/acme/web:1.2.3 moves to an image with another top layer (signed again,
// with an SBOM of its own), and the model's main to a commit with another second
// shard. Old digests and commits stay.
func (u *Upstream) Advance() error {
	u.mu.Lock()
	u.generation++
	generation := u.generation
	u.mu.Unlock()
	for _, p := range signedWeb(generation) {
		if err := u.pushOne(p); err != nil {
			return err
		}
	}
	commit := u.hub.addCommit(ModelID, "", modelFixture(generation), "main")
	u.mu.Lock()
	defer u.mu.Unlock()
	u.commit = commit
	return nil
}
