package bundle

import (
	"os"
	"sync"
)

// fileCache keeps files open, at most limit of them while none is in use beyond
// that. It is safe for concurrent use.
type fileCache struct {
	limit int
	open  func(path string) (*os.File, error)

	mu    sync.Mutex
	files map[string]*cachedFile
	clock int64
}

type cachedFile struct {
	*os.File
	users int
	used  int64 // clock at last use
}

func newFileCache(limit int, open func(string) (*os.File, error)) *fileCache {
	return &fileCache{limit: limit, open: open, files: map[string]*cachedFile{}}
}

// acquire returns the open file; the caller releases it and never closes it.
func (c *fileCache) acquire(path string) (*cachedFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.files[path]
	if !ok {
		c.evictIdle()
		file, err := c.open(path)
		if err != nil {
			return nil, err
		}
		f = &cachedFile{File: file}
		c.files[path] = f
	}
	c.clock++
	f.users, f.used = f.users+1, c.clock
	return f, nil
}

func (c *fileCache) release(f *cachedFile) {
	c.mu.Lock()
	f.users--
	c.mu.Unlock()
}

// evictIdle closes the file that has been idle longest once the limit is reached.
func (c *fileCache) evictIdle() {
	if len(c.files) < c.limit {
		return
	}
	oldest := ""
	for path, f := range c.files {
		if f.users == 0 && (oldest == "" || f.used < c.files[oldest].used) {
			oldest = path
		}
	}
	if oldest != "" {
		_ = c.files[oldest].Close()
		delete(c.files, oldest)
	}
}

// close closes every file; none may be in use.
func (c *fileCache) close() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, f := range c.files {
		if e := f.Close(); err == nil {
			err = e
		}
		delete(c.files, path)
	}
	return err
}
