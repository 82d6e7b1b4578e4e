package serve

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// exchange is one request of a client and what it was answered.
type exchange struct {
	method, path, body string
	header             http.Header
	status             string
	answer             http.Header
}

// readExchanges reads the files of testdata/clients: a request line, and after it what
// the client sent (>) and what of the answer clients look at (<).
func readExchanges(t *testing.T, file string) []exchange {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []exchange
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		if strings.HasPrefix(block, "#") {
			continue
		}
		e := exchange{header: http.Header{}, answer: http.Header{}}
		for i, line := range strings.Split(block, "\n") {
			value := line[min(2, len(line)):]
			name, said, isHeader := strings.Cut(value, ": ")
			switch {
			case i == 0:
				e.method, e.path, _ = strings.Cut(line, " ")
			case strings.HasPrefix(line, ">") && isHeader:
				e.header.Add(name, said)
			case strings.HasPrefix(line, ">"):
				e.body = value
			case isHeader:
				e.answer.Add(name, said)
			default:
				e.status = value
			}
		}
		out = append(out, e)
	}
	return out
}

// TestStockHubClients repeats what stock clients of the hub asked for when they took the
// model of this bundle, and demands the answers that they were content with. The
// recordings are of real clients, run with HF_ENDPOINT alone set.
func TestStockHubClients(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	files, err := filepath.Glob("testdata/clients/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			taken := map[string]bool{}
			for _, e := range readExchanges(t, file) {
				if path := repeatExchange(t, s, b, e); path != "" {
					taken[path] = true
				}
			}
			if len(taken) != len(b.Files) {
				t.Errorf("%d of %d files were taken: %v", len(taken), len(b.Files), taken)
			}
		})
	}
}

// repeatExchange asks once more and compares. It gives the file that came whole.
func repeatExchange(t *testing.T, s *site, b *bundletest.Bundle, e exchange) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), e.method, s.url+e.path, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = e.header
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(resp.Status, e.status) {
		t.Errorf("%s %s: status %s, %v; want %s", e.method, e.path, resp.Status, err, e.status)
	}
	for name := range e.answer {
		if want := e.answer.Get(name); resp.Header.Get(name) != want {
			t.Errorf("%s %s: %s is %q, want %q", e.method, e.path, name, resp.Header.Get(name), want)
		}
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Xet") {
			t.Errorf("%s %s: %s would lead clients to another host", e.method, e.path, name)
		}
	}
	return comparedFile(t, b, e, got)
}

// comparedFile holds what came of a file against the bundle's, and gives its name where
// all of it came. Some clients ask for no content of an empty file.
func comparedFile(t *testing.T, b *bundletest.Bundle, e exchange, got []byte) string {
	t.Helper()
	_, rest, ok := strings.Cut(e.path, "/resolve/")
	_, path, _ := strings.Cut(rest, "/")
	want, known := b.Files[path]
	switch {
	case !ok || !known:
		return ""
	case e.method == http.MethodHead && len(want) == 0:
		return path
	case e.method != http.MethodGet:
		return ""
	}
	from := 0
	if spec, isPart := strings.CutPrefix(e.header.Get("Range"), "bytes="); isPart && len(want) > 0 {
		first, last, _ := strings.Cut(spec, "-")
		from = mustNumber(t, first)
		if last != "" {
			want = want[:min(len(want), mustNumber(t, last)+1)]
		}
	}
	if string(got) != string(want[from:]) {
		t.Errorf("%s %s: %d bytes, not those of the file", e.method, e.path, len(got))
	}
	if len(want) < len(b.Files[path]) {
		return ""
	}
	return path
}

func mustNumber(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
