package upstreamtest

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// serveContent answers a GET or HEAD for content with an ETag, ranges and
// conditions included.
func serveContent(w http.ResponseWriter, r *http.Request, c content, etag string) {
	w.Header().Set("ETag", `"`+etag+`"`)
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	http.ServeContent(w, r, "", fixedTime, io.NewSectionReader(c, 0, c.Size()))
}

// fileServer serves contents by URL path.
type fileServer struct {
	mu    sync.RWMutex
	files map[string]servedFile
}

type servedFile struct {
	content content
	sha256  string // hex
}

func (s *fileServer) putFile(path string, f servedFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]servedFile{}
	}
	s.files[path] = f
}

// PutFile publishes a file, in place of what was there. Path begins with a slash; what is
// below /HOST/ answers for https://HOST/, where UpstreamsYAML says so.
func (u *Upstream) PutFile(path string, data []byte) {
	u.files.putFile(path, servedFile{content: bytes.NewReader(data), sha256: hexSum(data)})
}

func (s *fileServer) getFile(path string) (servedFile, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, ok := s.files[path]
	return f, ok
}

// ServeHTTP implements http.Handler.
func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := s.getFile(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	serveContent(w, r, f.content, f.sha256[:32])
}
