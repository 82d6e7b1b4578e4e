package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	oid    = "89abcdef0123456789abcdef0123456789abcdef"
	sum    = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// mirror rewrites the hub to a test server.
type mirror string

func (m mirror) Rewrite(s string) (string, bool) {
	rest, ok := strings.CutPrefix(s, Endpoint)
	return string(m) + rest, ok
}

func newClient(tb testing.TB, to, token string) *Client {
	tb.Helper()
	tb.Setenv("NETRC", filepath.Join(tb.TempDir(), "none"))
	f, err := fetch.New(fetch.Options{Upstreams: mirror(to), Backoff: time.Millisecond, Attempts: 3})
	if err != nil {
		tb.Fatal(err)
	}
	c, err := New(f, Options{Token: token})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func info(tb testing.TB, c *Client, repository, revision string) (*Model, error) {
	tb.Helper()
	return c.Info(context.Background(), repository, revision)
}

func TestInfoFromTheTestHub(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Options{HubPage: 2})
	c := newClient(t, "http://"+u.Addresses().Hub, "")
	for _, revision := range []string{"main", "v1.0", u.ModelCommit()} {
		m, err := info(t, c, "acme/tiny-llm", revision)
		if err != nil {
			t.Fatal(err)
		}
		if m.ID != upstreamtest.ModelID || m.Commit != u.ModelCommit() || m.License != "apache-2.0" || len(m.Files) != 14 {
			t.Errorf("%s: %s at %s, licence %q, %d files", revision, m.ID, m.Commit, m.License, len(m.Files))
		}
		for i, f := range m.Files {
			if f.LFS() != (strings.HasSuffix(f.Path, ".safetensors") || strings.HasSuffix(f.Path, ".bin") || strings.HasSuffix(f.Path, ".pth")) || f.Size == 0 {
				t.Errorf("%s: %+v", revision, f)
			}
			if i > 0 && m.Files[i-1].Path >= f.Path {
				t.Errorf("%s comes after %s", m.Files[i-1].Path, f.Path)
			}
		}
	}
	if _, err := info(t, c, "acme/tiny-llm", "gone"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "RevisionNotFound") {
		t.Errorf("an unknown revision: %v", err)
	}
	if _, err := info(t, c, "acme/none", "main"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "reading model acme/none at revision main") {
		t.Errorf("an unknown repository: %v", err)
	}
}

func TestGatedRepository(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Options{})
	if _, err := info(t, newClient(t, "http://"+u.Addresses().Hub, ""), upstreamtest.GatedModelID, "main"); !errors.Is(err, ErrGated) {
		t.Errorf("without a token: %v", err)
	}
	if _, err := info(t, newClient(t, "http://"+u.Addresses().Hub, upstreamtest.GatedToken), upstreamtest.GatedModelID, "main"); err != nil {
		t.Errorf("with the token: %v", err)
	}
}

func TestInfoSurvivesFaults(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Options{})
	c := newClient(t, "http://"+u.Addresses().Hub, "")
	for _, f := range []upstreamtest.Fault{
		{Kind: upstreamtest.Status, Status: 503, Times: 1},
		{Kind: upstreamtest.Status, Status: 429, RetryAfter: "0", Times: 2},
		{Kind: upstreamtest.Drop, After: 20, Times: 1},
	} {
		f.Match = regexp.MustCompile("^/api/")
		armed := u.Fault(f)
		if _, err := info(t, c, "acme/tiny-llm", "main"); err != nil {
			t.Errorf("%s: %v", f.Kind, err)
		}
		if armed.Hits() == 0 {
			t.Errorf("%s: never happened", f.Kind)
		}
		u.ClearFaults()
	}
}

// fakeHub answers fixed documents by path and query.
type fakeHub map[string]func(http.ResponseWriter, *http.Request)

func (h fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f, ok := h[r.URL.RequestURI()]; ok {
		f(w, r)
		return
	}
	http.NotFound(w, r)
}

func answer(text string, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		fmt.Fprint(w, text)
	}
}

const (
	infoPath = "/api/models/a/b/revision/main?blobs=true"
	treePath = "/api/models/a/b/tree/" + commit + "?recursive=true&expand=false"
)

func infoJSON(siblings string) string {
	return `{"id":"a/b","sha":"` + commit + `","cardData":{"license":["mit","x\ny"]},"siblings":[` + siblings + `]}`
}

func TestInfoFallsBackToSiblings(t *testing.T) {
	hub := fakeHub{infoPath: answer(infoJSON(`{"rfilename":"z.json","size":3,"blobId":"` + oid + `"},{"rfilename":"a.bin","size":9,"blobId":"` + oid + `","lfs":{"sha256":"` + sum + `","size":9}}`))}
	srv := httptest.NewServer(hub)
	defer srv.Close()
	m, err := info(t, newClient(t, srv.URL, ""), "a/b", "main")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 2 || m.Files[0].Path != "a.bin" || !m.Files[0].LFS() || m.Files[1].GitSHA1 != oid || m.License != "mit, xy" {
		t.Errorf("model %+v", m)
	}
}

// TestTerms reads licence and gate as cards and tags give them.
func TestTerms(t *testing.T) {
	for more, want := range map[string]Model{
		`"gated":false,"cardData":{"license":"mit"}`:                                                                 {License: "mit"},
		`"cardData":null,"tags":["pytorch","license:apache-2.0"]`:                                                    {License: "apache-2.0"},
		`"gated":"auto","cardData":{"license":"other","license_name":"acme\n-1","license_link":"https://x.example"}`: {License: "other", Terms: Terms{"acme-1", "https://x.example", "auto"}},
		`"gated":"manual"`: {Terms: Terms{Gated: "manual"}},
		`"gated":true`:     {Terms: Terms{Gated: "manual"}},
		`"gated":{"x":1},"cardData":{"license":{"x":1},"license_name":7}`: {},
	} {
		srv := httptest.NewServer(fakeHub{
			infoPath: answer(`{"id":"a/b","sha":"` + commit + `",` + more + `}`),
			treePath: answer(`[{"type":"file","path":"a","size":3,"oid":"` + oid + `"}]`),
		})
		got, err := info(t, newClient(t, srv.URL, "hf_token"), "a/b", "main")
		if err != nil || got.License != want.License || got.Terms != want.Terms {
			t.Errorf("%s: %+v, %v", more, got, err)
		}
		got, err = info(t, newClient(t, srv.URL, ""), "a/b", "main")
		if err != nil || got.Terms != want.Terms {
			t.Errorf("%s without a token: %+v, %v", more, got, err)
		}
		srv.Close()
	}
}

// TestFilesOfTheHubAreAskedForWithTheToken and no others.
func TestFilesOfTheHubAreAskedForWithTheToken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Error-Code", "GatedRepo")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer srv.Close()
	c := newClient(t, srv.URL, "hf_token")
	r := c.Request("a/b", commit, File{Path: "x y.json", Size: 3})
	if r.Header.Get("Authorization") != "Bearer hf_token" || r.URL != Endpoint+"/a/b/resolve/"+commit+"/x%20y.json" || r.Size != 3 {
		t.Errorf("%+v", r)
	}
	if _, _, err := c.upstream.Read(t.Context(), r, 10); !errors.Is(err, ErrGated) || !strings.Contains(err.Error(), "https://huggingface.co/a/b") {
		t.Errorf("a file of a gated model: %v", err)
	}
	c = newClient(t, srv.URL, "")
	r = c.Request("a/b", commit, File{Path: "x", Size: 3})
	if _, _, err := c.upstream.Read(t.Context(), r, 10); !errors.Is(err, ErrGated) || !strings.Contains(err.Error(), "no token was given: https://huggingface.co/a/b") {
		t.Errorf("a file of a gated model without a token: %v", err)
	}
	if r := c.RequestURL("https://huggingface.co.evil.example/x", 3, "x"); r.Header != nil || r.RoundTripper != nil {
		t.Errorf("%+v", r)
	}
}

func TestInfoRefuses(t *testing.T) {
	file := func(path, more string) string {
		p, _ := json.Marshal(path)
		return `[{"type":"file","path":` + string(p) + `,"size":3,"oid":"` + oid + `"` + more + `}]`
	}
	tests := map[string]struct {
		hub  fakeHub
		want string
	}{
		"commit":          {fakeHub{infoPath: answer(`{"id":"a/b","sha":"main"}`)}, `commit "main"`},
		"moved":           {fakeHub{infoPath: answer(`{"id":"c/d","sha":"` + commit + `"}`)}, `called "c/d"`},
		"not JSON":        {fakeHub{infoPath: answer(`<html>`)}, "makes no sense"},
		"parent path":     {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("../x", ""))}, "not a clean relative path"},
		"absolute path":   {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("/etc/passwd", ""))}, "not a clean relative path"},
		"backslash":       {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file(`a\b`, ""))}, "not a clean relative path"},
		"control":         {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("a\nb", ""))}, "not a clean relative path"},
		"whiteout":        {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("a/.wh.config.json", ""))}, "not a clean relative path"},
		"file and folder": {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(strings.TrimSuffix(file("a", ""), "]") + "," + strings.TrimPrefix(file("a/b", ""), "["))}, "folder of another"},
		"empty part":      {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("a//b", ""))}, "not a clean relative path"},
		"twice":           {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(strings.TrimSuffix(file("a", ""), "]") + "," + strings.TrimPrefix(file("a", ""), "["))}, "listed twice"},
		"no hash":         {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(`[{"type":"file","path":"a","size":3}]`)}, "neither"},
		"short SHA-256":   {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("a", `,"lfs":{"oid":"12","size":3}`))}, "SHA-256 malformed"},
		"negative":        {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("a", `,"lfs":{"oid":"`+sum+`","size":-3}`))}, "size -3"},
		"contradiction":   {fakeHub{infoPath: answer(infoJSON(`{"rfilename":"a","size":3,"blobId":"` + commit + `"}`)), treePath: answer(file("a", ""))}, "two hashes"},
		"other host":      {fakeHub{infoPath: answer(infoJSON("")), treePath: answer(file("a", ""), "Link", `<https://evil.example/x>; rel="next"`)}, "another host, evil.example"},
		"endless pages":   {fakeHub{infoPath: answer(infoJSON("")), treePath: answer("[]", "Link", "<"+treePath+`>; rel="next"`)}, "more than 2000 pages"},
		"denied":          {fakeHub{infoPath: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }}, ErrDenied.Error()},
		"redirected away": {fakeHub{infoPath: answerRedirect("https://evil.example/")}, "redirect to another host"},
	}
	for name, test := range tests {
		srv := httptest.NewServer(test.hub)
		_, err := info(t, newClient(t, srv.URL, ""), "a/b", "main")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		srv.Close()
	}
	for _, bad := range []string{"", "b", "../x", "a/b/c", "a/b?x", "a b/c", "-a/b"} {
		if _, err := info(t, newClient(t, "http://127.0.0.1:1", ""), bad, "main"); err == nil || !strings.Contains(err.Error(), "ORG/NAME") {
			t.Errorf("repository %q: %v", bad, err)
		}
	}
}

// TestAnotherCommitThanTheStackSays is a hub that answers with a commit that nobody asked
// for.
func TestAnotherCommitThanTheStackSays(t *testing.T) {
	asked := strings.Repeat("1", 40)
	srv := httptest.NewServer(fakeHub{"/api/models/a/b/revision/" + asked + "?blobs=true": answer(infoJSON(""))})
	defer srv.Close()
	_, err := info(t, newClient(t, srv.URL, ""), "a/b", asked)
	if !errors.Is(err, stack.ErrDiffers) || !strings.Contains(err.Error(), "the stack says commit "+asked+", the upstream gives commit "+commit) {
		t.Errorf("%v", err)
	}
}

func answerRedirect(to string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
}

func TestTokenStaysWithTheHub(t *testing.T) {
	var leaked []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Get("Authorization"))
		fmt.Fprint(w, "data")
	}))
	defer other.Close()
	var seen string
	srv := httptest.NewServer(fakeHub{
		"/a/b/resolve/" + commit + "/x": answerRedirect(other.URL + "/cdn"),
		infoPath: func(w http.ResponseWriter, r *http.Request) {
			seen = r.Header.Get("Authorization")
			answer(infoJSON(""))(w, r)
		},
		treePath: answer("[]"),
	})
	defer srv.Close()
	c := newClient(t, srv.URL, "hf_secret")
	if _, err := info(t, c, "a/b", "main"); err != nil || seen != "Bearer hf_secret" {
		t.Fatalf("the hub saw %q, %v", seen, err)
	}
	f := c.upstream.(*fetch.Client)
	data, _, err := f.Read(context.Background(), fetch.Request{URL: FileURL("a/b", commit, "x"), Header: c.Header(), Size: 4}, 10)
	if err != nil || string(data) != "data" {
		t.Fatalf("read %q, %v", data, err)
	}
	if len(leaked) != 1 || leaked[0] != "" {
		t.Errorf("the other host saw %q", leaked)
	}
}

func TestTokenOverPlainHTTP(t *testing.T) {
	for to, want := range map[string]bool{"https://hub.example": true, "http://hub.example": false, "http://127.0.0.1:1": true, "http://localhost:1": true, "http://10.0.0.1": false} {
		if got := newClient(t, to, "hf_secret").Header().Get("Authorization") != ""; got != want {
			t.Errorf("%s: token sent: %v", to, got)
		}
	}
}

func TestFileURL(t *testing.T) {
	got := FileURL("Acme/Tiny", commit, "a b/ü#?%.json")
	want := Endpoint + "/Acme/Tiny/resolve/" + commit + "/a%20b/%C3%BC%23%3F%25.json"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	u, err := url.Parse(got)
	if err != nil || u.Path != "/Acme/Tiny/resolve/"+commit+"/a b/ü#?%.json" {
		t.Errorf("reads back as %v, %v", u, err)
	}
}

func TestNextLink(t *testing.T) {
	for header, want := range map[string]string{
		`<https://a/x>; rel="next"`:                       "https://a/x",
		`<https://a/p>; rel="prev", </n?c=1>; rel="next"`: "/n?c=1",
		`<x>;rel=next`:       "x",
		`<x>; rel="prev"`:    "",
		`<x`:                 "",
		`x>; rel="next"`:     "",
		``:                   "",
		`<>; rel="next"`:     "",
		`<a><b>; rel="next"`: "b",
	} {
		if got := nextLink([]string{header}); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(infoJSON(`{"rfilename":"a","size":3,"blobId":"`+oid+`"}`)), []byte(`[{"type":"file","path":"a","size":3,"oid":"`+oid+`"}]`), `</x>; rel="next"`)
	f.Add([]byte(`{"sha":"x","cardData":{"license":{}}}`), []byte(`[{"type":"file","path":"a/../b","lfs":{"oid":"`+sum+`","size":1}}]`), "<")
	f.Fuzz(func(t *testing.T, info, tree []byte, link string) {
		nextLink([]string{link})
		var head infoAnswer
		if json.Unmarshal(info, &head) == nil {
			if m, err := head.readModel("a/b", "main"); err == nil && (!commitPattern.MatchString(m.Commit) || strings.ContainsAny(m.License, "\n\r")) {
				t.Errorf("accepted %+v", m)
			}
			if files, err := head.listFiles(); err == nil {
				checkFiles(t, files)
			}
		}
		var entries []treeEntry
		if json.Unmarshal(tree, &entries) != nil {
			return
		}
		if files, err := treeFiles(entries); err == nil {
			checkFiles(t, files)
			_ = head.compareFiles(files)
		}
	})
}

func checkFiles(t *testing.T, files []File) {
	for i, f := range files {
		if f.Path == "" || filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path || strings.HasPrefix(f.Path, "..") {
			t.Errorf("accepted the path %q", f.Path)
		}
		if f.Size < 0 || (f.SHA256 == "") == (f.GitSHA1 == "") || i > 0 && files[i-1].Path >= f.Path {
			t.Errorf("accepted %+v", f)
		}
	}
}
