package fetch

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
)

func TestReadPart(t *testing.T) {
	data := content(3 << 20)
	noRanges := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
	elsewhere := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes 5-14/3145728")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[5:15])
	}
	for name, c := range map[string]struct {
		steps          []http.HandlerFunc
		size           int64
		offset, length int64
		err            error
		requests       int
	}{
		"from the start":       {[]http.HandlerFunc{whole(data, "")}, int64(len(data)), 0, 10, nil, 1},
		"from the middle":      {[]http.HandlerFunc{whole(data, "")}, int64(len(data)), 1 << 20, 1 << 20, nil, 1},
		"size unknown":         {[]http.HandlerFunc{whole(data, "")}, -1, 7, 9, nil, 1},
		"no ranges":            {[]http.HandlerFunc{noRanges}, int64(len(data)), 4096, 100, nil, 1},
		"nothing":              {[]http.HandlerFunc{status(500)}, int64(len(data)), 4096, 0, nil, 0},
		"a second try":         {[]http.HandlerFunc{status(503, "Retry-After", "0"), cut(data, "", 4), whole(data, "")}, int64(len(data)), 0, 10, nil, 3},
		"beyond the end":       {[]http.HandlerFunc{whole(data, "")}, int64(len(data)), 3<<20 - 5, 6, ErrSize, 0},
		"before the start":     {[]http.HandlerFunc{whole(data, "")}, int64(len(data)), -1, 6, ErrSize, 0},
		"another length":       {[]http.HandlerFunc{whole(data, "")}, 4 << 20, 0, 6, ErrSize, 1},
		"another part":         {[]http.HandlerFunc{elsewhere}, int64(len(data)), 4, 10, errProtocol, 1},
		"refused":              {[]http.HandlerFunc{status(403)}, int64(len(data)), 0, 6, ErrStatus, 1},
		"short without ranges": {[]http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data[:50]) }}, -1, 40, 20, ErrShort, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, url := serve(t, c.steps...)
			got, err := testClient(t, Options{Attempts: max(2, len(c.steps))}).ReadPart(context.Background(), Request{URL: url, Size: c.size}, c.offset, c.length)
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !bytes.Equal(got, data[c.offset:c.offset+c.length]) {
				t.Errorf("other bytes: %d of them", len(got))
			}
			if s.count() != c.requests {
				t.Errorf("%d requests, want %d", s.count(), c.requests)
			}
		})
	}
}
