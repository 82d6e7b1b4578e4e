package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/caisson/caisson/internal/event"
)

// content is deterministic noise.
func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// memory is a Dst that notes its resets.
type memory struct {
	bytes.Buffer
	resets int
}

func (m *memory) Offset() int64 { return int64(m.Len()) }
func (m *memory) Reset() error  { m.Buffer.Reset(); m.resets++; return nil }

// plain hides the ReadFrom of bytes.Buffer.
type plain struct{ m *memory }

func (p plain) Offset() int64               { return p.m.Offset() }
func (p plain) Reset() error                { return p.m.Reset() }
func (p plain) Write(b []byte) (int, error) { return p.m.Write(b) }

func testClient(t *testing.T, opt Options) *Client {
	t.Helper()
	t.Setenv("NETRC", filepath.Join(t.TempDir(), "none"))
	if opt.Backoff == 0 {
		opt.Backoff = time.Microsecond
	}
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// script answers each request with the next step; the last one stays.
type script struct {
	mu       sync.Mutex
	steps    []http.HandlerFunc
	requests []*http.Request
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := min(len(s.requests), len(s.steps)-1)
	s.requests = append(s.requests, r.Clone(context.Background()))
	s.mu.Unlock()
	s.steps[n](w, r)
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func serve(t *testing.T, steps ...http.HandlerFunc) (*script, string) {
	t.Helper()
	s := &script{steps: steps}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL + "/blob"
}

// whole serves data as a good upstream does.
func whole(data []byte, tag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if tag != "" {
			w.Header().Set("ETag", tag)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

// cut sends the range that was asked for, but breaks the connection after n bytes.
func cut(data []byte, tag string, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		first := 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first)
		if tag != "" {
			w.Header().Set("ETag", tag)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-first))
		if first > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(data[first:min(first+n, len(data))])
		panic(http.ErrAbortHandler)
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func TestStream(t *testing.T) {
	data := content(5<<20 + 17)
	long := append(append([]byte{}, data...), 0)
	chunked := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(b)
		}
	}
	other := content(len(data) + 9)[9:]
	for name, c := range map[string]struct {
		steps  []http.HandlerFunc
		kept   int // bytes already there
		want   error
		resets int
		tries  int
	}{
		"whole":                   {steps: []http.HandlerFunc{whole(data, "")}, tries: 1},
		"chunked":                 {steps: []http.HandlerFunc{chunked(data)}, tries: 1},
		"resumed":                 {steps: []http.HandlerFunc{whole(data, "")}, kept: 3 << 20, tries: 1},
		"nothing left":            {steps: []http.HandlerFunc{status(500)}, kept: len(data), tries: 0},
		"cut twice":               {steps: []http.HandlerFunc{cut(data, `"a"`, 1<<20), cut(data, `"a"`, 1<<19), whole(data, `"a"`)}, tries: 3},
		"cut once in the middle":  {steps: []http.HandlerFunc{cut(data, "", 2<<20+5), whole(data, "")}, tries: 2},
		"changed in between":      {steps: []http.HandlerFunc{cut(other, `"a"`, 1<<20), whole(data, `"b"`)}, resets: 1, tries: 2},
		"range ignored":           {steps: []http.HandlerFunc{cut(data, "", 1<<20), chunked(data)}, resets: 1, tries: 2},
		"503 then good":           {steps: []http.HandlerFunc{status(503), whole(data, "")}, tries: 2},
		"429 then good":           {steps: []http.HandlerFunc{status(429, "Retry-After", "0"), whole(data, "")}, tries: 2},
		"416 then good":           {steps: []http.HandlerFunc{status(416), whole(data, "")}, kept: 1 << 20, resets: 1, tries: 2},
		"416 with another length": {steps: []http.HandlerFunc{status(416, "Content-Range", "bytes */5")}, kept: 1 << 20, want: ErrSize, tries: 1},
		"stated longer":           {steps: []http.HandlerFunc{whole(long, "")}, want: ErrSize, tries: 1},
		"chunked longer":          {steps: []http.HandlerFunc{chunked(long)}, want: ErrSize, tries: 1},
		"stated shorter":          {steps: []http.HandlerFunc{whole(data[:100], "")}, want: ErrSize, tries: 1},
		"chunked shorter":         {steps: []http.HandlerFunc{chunked(data[:100])}, want: ErrShort, resets: 2, tries: 3},
		"always 500":              {steps: []http.HandlerFunc{status(500)}, want: ErrStatus, tries: 3},
		"not found":               {steps: []http.HandlerFunc{status(404)}, want: ErrStatus, tries: 1},
		"forbidden":               {steps: []http.HandlerFunc{status(403)}, want: ErrStatus, tries: 1},
		"wrong part": {steps: []http.HandlerFunc{status(206, "Content-Range", "bytes 7-8/9"), whole(data, "")},
			kept: 1 << 20, resets: 1, tries: 2},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"reads itself", "is written to"} {
				s, url := serve(t, c.steps...)
				client := testClient(t, Options{Attempts: 3})
				m := new(memory)
				m.Write(data[:c.kept])
				var dst Dst = m
				if kind == "is written to" {
					dst = plain{m}
				}
				err := client.Stream(t.Context(), Request{URL: url, Size: int64(len(data))}, dst)
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Fatalf("%s: error %v, want %v", kind, err, c.want)
				}
				if c.want == nil && !bytes.Equal(m.Bytes(), data) {
					t.Errorf("%s: wrong content", kind)
				}
				if m.Len() > len(data) {
					t.Errorf("%s: %d bytes written, more than there may be", kind, m.Len())
				}
				if m.resets != c.resets || s.count() != c.tries {
					t.Errorf("%s: %d resets and %d tries, want %d and %d", kind, m.resets, s.count(), c.resets, c.tries)
				}
			}
		})
	}
}

func TestStreamAsksRight(t *testing.T) {
	data := content(3 << 20)
	s, url := serve(t, cut(data, `"v1"`, 1<<20), whole(data, `"v1"`))
	c := testClient(t, Options{})
	if err := c.Stream(t.Context(), Request{URL: url, Size: int64(len(data))}, new(memory)); err != nil {
		t.Fatal(err)
	}
	first, second := s.requests[0].Header, s.requests[1].Header
	if got := first.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("Accept-Encoding %q", got)
	}
	if first.Get("Range") != "" {
		t.Errorf("first request asks for range %q", first.Get("Range"))
	}
	if got := second.Get("Range"); !strings.HasPrefix(got, "bytes=") || got == "bytes=0-" {
		t.Errorf("second request asks for range %q", got)
	}
	if got := second.Get("If-Range"); got != `"v1"` {
		t.Errorf("If-Range %q", got)
	}
}

// An upstream that always starts over and always breaks off late makes progress
// each time and yet never ends: the tries must.
func TestStreamEndsWithoutProgress(t *testing.T) {
	data := content(4 << 20)
	s, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(data[:3<<20])
		panic(http.ErrAbortHandler)
	})
	c := testClient(t, Options{Attempts: 3})
	err := c.Stream(t.Context(), Request{URL: url, Size: int64(len(data))}, new(memory))
	if err == nil {
		t.Fatal("no error")
	}
	if n := s.count(); n > 6 {
		t.Errorf("%d tries", n)
	}
}

// Progress renews the tries: a line that breaks every mebibyte still works.
func TestStreamForgivesWithProgress(t *testing.T) {
	data := content(8 << 20)
	_, url := serve(t, cut(data, `"a"`, 1<<20+1))
	c := testClient(t, Options{Attempts: 2})
	m := new(memory)
	if err := c.Stream(t.Context(), Request{URL: url, Size: int64(len(data))}, m); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Bytes(), data) {
		t.Error("wrong content")
	}
}

func TestStall(t *testing.T) {
	data := content(2 << 20)
	release := make(chan struct{})
	stall := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:1<<20])
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}
	_, url := serve(t, stall, whole(data, ""))
	t.Cleanup(func() { close(release) })
	rec := new(event.Recorder)
	c := testClient(t, Options{Stall: 2 * time.Second, Sink: rec}) // an answer that does come has so long on a busy machine
	m := new(memory)
	if err := c.Stream(t.Context(), Request{URL: url, Size: int64(len(data)), Item: "the item"}, m); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Bytes(), data) {
		t.Error("wrong content")
	}
	events := rec.Events()
	if len(events) != 1 || events[0].Kind != event.Retry || events[0].Item != "the item" || !strings.Contains(events[0].Message, "nothing for too long") {
		t.Errorf("events %+v", events)
	}
}

func TestStallBeforeHeader(t *testing.T) {
	_, url := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := testClient(t, Options{Stall: 20 * time.Millisecond, Attempts: 2})
	err := c.Stream(t.Context(), Request{URL: url, Size: 5}, new(memory))
	if !errors.Is(err, ErrStalled) {
		t.Errorf("error %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, url := serve(t, func(w http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	err := testClient(t, Options{}).Stream(ctx, Request{URL: url, Size: 5}, new(memory))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type full struct{ memory }

var errFull = errors.New("disk full")

func (f *full) Write(p []byte) (int, error) { return 0, errFull }
func (f *full) ReadFrom(r io.Reader) (int64, error) {
	_, _ = r.Read(make([]byte, 9))
	return 0, errFull
}

func TestDestinationFails(t *testing.T) {
	data := content(3 << 20)
	s, url := serve(t, whole(data, ""))
	c := testClient(t, Options{})
	for _, dst := range []Dst{&full{}, plainFull{}} {
		if err := c.Stream(t.Context(), Request{URL: url, Size: int64(len(data))}, dst); !errors.Is(err, errFull) {
			t.Errorf("error %v", err)
		}
	}
	if s.count() != 2 {
		t.Errorf("%d tries for a disk that stays full", s.count())
	}
}

type plainFull struct{}

func (plainFull) Offset() int64               { return 0 }
func (plainFull) Reset() error                { return nil }
func (plainFull) Write(p []byte) (int, error) { return 0, errFull }

func TestGetBounds(t *testing.T) {
	data := content(1000)
	for name, h := range map[string]http.HandlerFunc{
		"stated": whole(data, ""),
		"chunked": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(data)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(data); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, h)
			c := testClient(t, Options{})
			if name != "endless" {
				if got, _, err := c.Get(t.Context(), url, 1000); err != nil || !bytes.Equal(got, data) {
					t.Errorf("exact bound: %v", err)
				}
			}
			if _, _, err := c.Get(t.Context(), url, 999); !errors.Is(err, ErrSize) {
				t.Errorf("one less: error %v", err)
			}
		})
	}
}

func TestSize(t *testing.T) {
	data := content(1234)
	noHead := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		whole(data, `"x"`)(w, r)
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		if r.Method == http.MethodGet {
			_, _ = w.Write(data)
			<-r.Context().Done()
		}
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		size int64
		tag  string
		err  error
	}{
		"head":     {whole(data, `"x"`), 1234, `"x"`, nil},
		"weak tag": {whole(data, `W/"x"`), 1234, "", nil},
		"range":    {noHead, 1234, `"x"`, nil},
		"unknown":  {endless, -1, "", nil},
		"missing":  {status(404), -1, "", ErrStatus},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, c.h)
			size, tag, err := testClient(t, Options{}).Size(t.Context(), url)
			if size != c.size || tag != c.tag || !errors.Is(err, c.err) {
				t.Errorf("%d %q %v", size, tag, err)
			}
		})
	}
}

func TestTransportRetries(t *testing.T) {
	s, url := serve(t, status(502), status(429, "Retry-After", "0"), whole([]byte("ok"), ""))
	c := testClient(t, Options{})
	resp, err := (&http.Client{Transport: c.Transport()}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || s.count() != 3 {
		t.Errorf("status %d after %d tries", resp.StatusCode, s.count())
	}
	resp, err = (&http.Client{Transport: c.Transport()}).Post(url, "text/plain", strings.NewReader("x"))
	if err != nil || s.count() != 4 {
		t.Errorf("a POST was repeated: %v, %d tries", err, s.count())
	}
	resp.Body.Close()
}

func TestPerHostLimit(t *testing.T) {
	var now, most atomic.Int64
	full := make(chan struct{})
	var once sync.Once
	_, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 2 {
			once.Do(func() { close(full) })
		}
		<-full // the limit is reached before anybody is answered
		_, _ = w.Write([]byte("ok"))
	})
	c := testClient(t, Options{PerHost: 2})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, _, err := c.Get(t.Context(), url, 10); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d requests at once, want 2", most.Load())
	}
}

// Credentials stay with their host: those of the request, and those of .netrc.
func TestCredentialsDoNotTravel(t *testing.T) {
	foreign, foreignURL := serve(t, whole([]byte("ok"), ""))
	_, homeURL := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, foreignURL+"?sig=secret", http.StatusTemporaryRedirect)
	})
	c := testClient(t, Options{})
	h := http.Header{"Authorization": {"Bearer t"}, "Cookie": {"c=1"}}
	for _, client := range []func() error{
		func() error { return c.Stream(t.Context(), Request{URL: homeURL, Size: 2, Header: h}, new(memory)) },
		func() error {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", homeURL, nil)
			req.Header = h.Clone()
			resp, err := (&http.Client{Transport: c.Transport()}).Do(req)
			if err == nil {
				resp.Body.Close()
			}
			return err
		},
	} {
		if err := client(); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range foreign.requests {
		for _, name := range []string{"Authorization", "Cookie"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s went to another host", name)
			}
		}
	}
	if ref := foreign.requests[0].Header.Get("Referer"); ref != "" {
		t.Errorf("Referer %q", ref)
	}
}

func TestNetrcLogin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(path, []byte("machine 127.0.0.1 login u password p\ndefault login d password q\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, url := serve(t, whole([]byte("ok"), ""))
	t.Setenv("NETRC", path)
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(t.Context(), url, 10); err != nil {
		t.Fatal(err)
	}
	if user, pass, ok := s.requests[0].BasicAuth(); !ok || user != "u" || pass != "p" {
		t.Errorf("login %q %q", user, pass)
	}
	for target, want := range map[string]bool{"http://127.0.0.1/": true, "http://other.example/": false} {
		req, _ := http.NewRequest("GET", target, nil)
		c.netrc.addLogin(req)
		if _, _, ok := req.BasicAuth(); ok != want {
			t.Errorf("login for %s: %v", target, ok)
		}
	}
	c.netrc["mirror.example"] = login{"u", "p"}
	req, _ := http.NewRequest("GET", "http://mirror.example/", nil)
	if c.netrc.addLogin(req); req.Header.Get("Authorization") != "" {
		t.Error("login in the clear to another machine")
	}
}

// TestNetrcWords: a password may hold spaces where it stands in double quotes.
func TestNetrcWords(t *testing.T) {
	for text, want := range map[string]login{
		`machine a login u password "correct horse battery"`:       {"u", "correct horse battery"},
		`machine a login "the user" password p`:                    {"the user", "p"},
		`machine a login u password "say \"hi\" \\ # \t."`:         {"u", "say \"hi\" \\ # \t."},
		"machine a login u password \"\"\nmachine b login v":       {"u", ""},
		`machine a login u password "never closed`:                 {"u", `"never`},
		`machine a login u password mid"dle`:                       {"u", `mid"dle`},
		"machine a # a comment \"\n\tlogin u\n\tpassword \"p q\"":  {"u", "p q"},
		"macdef x\nmachine a login \"no no\"\n\nmachine a login u": {"u", ""},
	} {
		if got := parseNetrc(text)["a"]; got != want {
			t.Errorf("%s\ngives %q, want %q", text, got, want)
		}
	}
}

func TestErrorsHideSecrets(t *testing.T) {
	_, url := serve(t, status(403))
	secret := strings.Replace(url, "http://", "http://user:hunter2@", 1) + "?X-Signature=hunter2#hunter2"
	rec := new(event.Recorder)
	c := testClient(t, Options{Attempts: 2, Sink: rec})
	err := c.Stream(t.Context(), Request{URL: secret, Size: 2}, new(memory))
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	_, _, err2 := c.Get(t.Context(), strings.Replace(closed.URL, "http://", "http://user:hunter2@", 1)+"/?s=hunter2", 10)
	if err == nil || err2 == nil {
		t.Fatal("no error")
	}
	if s := fmt.Sprint(err, err2, rec.Events()); strings.Contains(s, "hunter2") {
		t.Errorf("secret in %s", s)
	}
}

type rewrites map[string]string

func (r rewrites) Rewrite(s string) (string, bool) { to, ok := r[s]; return to, ok }

func TestRewrite(t *testing.T) {
	_, url := serve(t, whole([]byte("ok"), ""))
	c := testClient(t, Options{Upstreams: rewrites{"https://far.example/x": url}})
	if got, _, err := c.Get(t.Context(), "https://far.example/x", 10); err != nil || string(got) != "ok" {
		t.Errorf("%q %v", got, err)
	}
	if c.URL("https://far.example/y") != "https://far.example/y" {
		t.Error("rewritten without a rule")
	}
}

func TestRetryAfter(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "99999999": maxRetryAfter, "-1": 0, "soon": 0,
		at.Add(9 * time.Second).Format(http.TimeFormat): 9 * time.Second,
		at.Add(-time.Hour).Format(http.TimeFormat):      0,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {v}}, at); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}

// The waits double from the first to half a minute and vary by a quarter; what
// an answer asks for bounds them from below, and progress starts them over.
func TestTriesWait(t *testing.T) {
	tries := NewTries(9, time.Second)
	within := func(step string, want time.Duration) {
		t.Helper()
		if got := tries.NextBackOff(); got < want-want/4 || got > want+want/4+1 {
			t.Errorf("%s: %s, want about %s", step, got, want)
		}
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		within("doubling", want*time.Second)
	}
	tries.AtLeast(time.Minute)
	if got := tries.NextBackOff(); got != time.Minute {
		t.Errorf("%s, want the minute that was asked for", got)
	}
	if got := tries.NextBackOff(); got != backoff.Stop {
		t.Errorf("a tenth attempt after %s", got)
	}
	tries.AtLeast(0)
	tries.Reset()
	within("after progress", time.Second)
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/2", "bytes */9", "bytes 1-2/*", "bytes", "bytes -/", "bytes 99999999999999999999-1/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, total, err := parseContentRange(s)
		if err == nil && (first < -1 || total < -1) {
			t.Errorf("%q: %d %d", s, first, total)
		}
	})
}

func FuzzNetrc(f *testing.F) {
	f.Add("machine a login b password c\nmacdef x\nmachine q\n\nmachine d login # e\n")
	f.Add("machine")
	f.Add("machine a login \"u \\\" v\" password \"\"\nmachine \"\" login \"x")
	f.Fuzz(func(t *testing.T, s string) {
		for host := range parseNetrc(s) {
			if host == "" {
				t.Error("a login for no host")
			}
		}
	})
}
