package upstreamtest

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

// Count is what was asked of one path or blob since the start or the last
// reset. Replies of armed faults count like any other.
type Count struct {
	Gets   int64 `json:"gets"`             // GET requests
	Heads  int64 `json:"heads"`            // HEAD requests
	Others int64 `json:"others,omitempty"` // requests of any other method
	Ranged int64 `json:"ranged,omitempty"` // GET requests with a Range header
	Ended  int64 `json:"ended"`            // GET replies with status 200 or 206 whose handler wrote all it wanted
	Bytes  int64 `json:"bytes"`            // body bytes of replies handed to the connection
}

func (c *Count) addCount(d Count) {
	c.Gets += d.Gets
	c.Heads += d.Heads
	c.Others += d.Others
	c.Ranged += d.Ranged
	c.Ended += d.Ended
	c.Bytes += d.Bytes
}

// Stats is a snapshot of all counters.
type Stats struct {
	// Paths has one entry for each URL path that was asked for, on any server.
	Paths map[string]Count `json:"paths"`
	// Blobs sums up by digest ("sha256:…"): registry blobs over all repositories,
	// and LFS files behind the hub's redirect.
	Blobs map[string]Count `json:"blobs"`
}

// Payload matches the paths whose bodies are content and not metadata:
// registry blobs, model files, chart archives and plain files.
var Payload = regexp.MustCompile(`^/v2/.+/blobs/|^/cdn/|/resolve/|\.tgz$|^/[^/]+$`)

// Sum adds up the paths that match.
func (s Stats) Sum(match *regexp.Regexp) Count {
	var sum Count
	for path, c := range s.Paths {
		if match.MatchString(path) {
			sum.addCount(c)
		}
	}
	return sum
}

// counters holds live counts by path.
type counters struct {
	mu    sync.Mutex
	paths map[string]*counter
}

type counter struct {
	gets, heads, others, ranged, ended, bytes atomic.Int64
}

// countRequest counts a request and returns the counter of its path.
func (c *counters) countRequest(r *http.Request) *counter {
	n := c.counterOf(r.URL.Path)
	switch r.Method {
	case http.MethodGet:
		n.gets.Add(1)
		if r.Header.Get("Range") != "" {
			n.ranged.Add(1)
		}
	case http.MethodHead:
		n.heads.Add(1)
	default:
		n.others.Add(1)
	}
	return n
}

func (c *counters) counterOf(path string) *counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.paths[path]
	if n == nil {
		n = &counter{}
		if c.paths == nil {
			c.paths = map[string]*counter{}
		}
		c.paths[path] = n
	}
	return n
}

func (c *counters) takeSnapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Paths: map[string]Count{}, Blobs: map[string]Count{}}
	for path, n := range c.paths {
		count := n.currentCount()
		s.Paths[path] = count
		if digest := blobOf(path); digest != "" {
			sum := s.Blobs[digest]
			sum.addCount(count)
			s.Blobs[digest] = sum
		}
	}
	return s
}

func (c *counters) resetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths = nil
}

func (n *counter) currentCount() Count {
	return Count{
		Gets: n.gets.Load(), Heads: n.heads.Load(), Others: n.others.Load(),
		Ranged: n.ranged.Load(), Ended: n.ended.Load(), Bytes: n.bytes.Load(),
	}
}

// blobOf returns the digest that a path serves, or "".
func blobOf(path string) string {
	if strings.HasPrefix(path, "/v2/") {
		if _, digest, ok := strings.Cut(path, "/blobs/sha256:"); ok {
			return "sha256:" + digest
		}
	}
	if strings.HasPrefix(path, "/cdn/") {
		return "sha256:" + path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}
