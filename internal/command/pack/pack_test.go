package pack_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	spdx "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"golang.org/x/sys/unix"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/resolve"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// world is a test upstream and a lock resolved against it.
type world struct {
	t    *testing.T
	up   *upstreamtest.Upstream
	dir  string
	lock string
}

// made is when the tests' bundles are made.
var made = time.Unix(1700000000, 0)

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, upstreamtest.Options{}, "stack.yaml")
}

func newWorldOf(t *testing.T, opt upstreamtest.Options, stack string) *world {
	t.Helper()
	t.Setenv("NETRC", filepath.Join(t.TempDir(), "none"))
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	w := &world{t: t, up: upstreamtest.New(t, opt), dir: t.TempDir()}
	if err := w.up.WriteDir(w.dir); err != nil {
		t.Fatal(err)
	}
	w.lock = filepath.Join(w.dir, "lock.yaml")
	w.resolve(stack)
	return w
}

func (w *world) resolve(stack string) {
	w.t.Helper()
	_, err := resolve.Run(w.t.Context(), resolve.Options{
		Stack: filepath.Join(w.dir, stack), Output: w.lock, Upstreams: filepath.Join(w.dir, "upstreams.yaml"),
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.up.ResetStats()
}

// options pack into a folder, with waits that a test can afford.
func (w *world) options(out string) pack.Options {
	return pack.Options{
		Lock: w.lock, Output: out, Upstreams: filepath.Join(w.dir, "upstreams.yaml"), VolumeSize: 1 << 20, Now: made,
		Fetch: fetch.Options{Backoff: time.Millisecond, Stall: 300 * time.Millisecond},
	}
}

func (w *world) pack(opt pack.Options) pack.Result {
	w.t.Helper()
	r, err := pack.Run(w.t.Context(), opt, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// key makes a key pair without a password and returns both files.
func (w *world) key() (private, public string) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	open, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			w.t.Fatal(err)
		}
		return path
	}
	return write("k.key", "PRIVATE KEY", secret), write("k.pub", "PUBLIC KEY", open)
}

// snapshot reads a folder whole.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func sameFiles(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs or is missing", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is one file too many", name)
		}
	}
}

func TestPack(t *testing.T) {
	w := newWorld(t)
	private, public := w.key()
	out := t.TempDir()
	rec := new(event.Recorder)
	opt := w.options(out)
	opt.Key, opt.Sequence, opt.Expires = private, 7, 24*time.Hour
	result, err := pack.Run(t.Context(), opt, rec)
	if err != nil {
		t.Fatal(err)
	}
	if result.Unchanged || result.Fetched != result.Payload || result.Payload == 0 {
		t.Errorf("result %+v", result)
	}

	b, err := cargo.Open(t.Context(), []string{out}, []string{public}, cargo.Options{Now: time.Unix(1700000000, 0)}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Check(t.Context(), bundle.CheckOptions{}, func(f bundle.Finding) { t.Errorf("finding %+v", f) }); err != nil {
		t.Error(err)
	}
	p := b.Statement().Predicate
	if p.Sequence != 7 || p.Created != "2023-11-14T22:13:20Z" || p.Expires != "2023-11-15T22:13:20Z" || p.Ledger == "" {
		t.Errorf("predicate %+v", p)
	}
	l, err := lock.Read(w.lock)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range l.Items {
		if _, ok := b.Find(string(it.Ref)); !ok {
			t.Errorf("%s is not in the bundle", it.Ref)
		}
	}
	checkSBOM(t, b.Bundle, l)
	checkLedger(t, b.Ledger(), l)
	checkEvents(t, rec.Events(), l)
}

func checkSBOM(t *testing.T, b *bundle.Bundle, l *lock.Lock) {
	t.Helper()
	text, err := b.SBOM()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := spdx.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if problem := spdxlib.ValidateDocument(doc); problem != nil {
		t.Error(problem)
	}
	if doc.SPDXVersion != "SPDX-2.3" || len(doc.Packages) <= len(l.Items) {
		t.Errorf("%s with %d packages for %d items", doc.SPDXVersion, len(doc.Packages), len(l.Items))
	}
	packages := map[string]*v2_3.Package{}
	for _, p := range doc.Packages {
		if packages[string(p.PackageSPDXIdentifier)] != nil {
			t.Errorf("identifier %s twice", p.PackageSPDXIdentifier)
		}
		packages[string(p.PackageSPDXIdentifier)] = p
	}
	parts := map[string]int{} // by package that contains them
	for _, r := range doc.Relationships {
		if r.Relationship == "CONTAINS" {
			parts[string(r.RefA.ElementRefID)]++
		}
	}
	if parts["bundle"] != len(l.Items) {
		t.Errorf("the bundle contains %d packages, of %d items", parts["bundle"], len(l.Items))
	}
	for _, it := range l.Items {
		d, ok := b.Find(string(it.Ref))
		if !ok || !slices.ContainsFunc(doc.Packages, func(p *v2_3.Package) bool { return isPackageOf(p, &it, d.Digest) }) {
			t.Errorf("the SBOM lacks %s", it.Ref)
		}
	}
	if strings.Contains(string(text), "127.0.0.1") {
		t.Error("the SBOM names a mirror")
	}
}

// isPackageOf says whether a package is an item's, with the version and the digest
// that its content or its manifest has.
func isPackageOf(p *v2_3.Package, it *lock.Item, root digest.Digest) bool {
	d := it.Describe(root)
	return p.PackageName == d.Name && p.PackageVersion == d.Version && len(p.PackageChecksums) == 1 &&
		p.PackageChecksums[0].Value == d.Checksum.Encoded() && p.PrimaryPackagePurpose == it.Kind.Info().Purpose
}

func checkLedger(t *testing.T, text []byte, l *lock.Lock) {
	t.Helper()
	g, err := ledger.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for _, c := range g.Checks {
		checked[c.Item] = true
	}
	for _, it := range l.Items {
		if !checked[string(it.Ref)] {
			t.Errorf("no line about %s", it.Ref)
		}
	}
}

func checkEvents(t *testing.T, events []event.Event, l *lock.Lock) {
	t.Helper()
	open := map[string]int{}
	for _, e := range events {
		if e.Verb != "pack" {
			t.Errorf("event of verb %q", e.Verb)
		}
		switch e.Kind {
		case event.Start:
			open[e.Item]++
		case event.End:
			open[e.Item]--
			if e.Bytes != e.Total {
				t.Errorf("%s ended with %d of %d bytes", e.Item, e.Bytes, e.Total)
			}
		}
	}
	for item, n := range open {
		if n != 0 {
			t.Errorf("%s: %d starts without end", item, n)
		}
	}
	if last := events[len(events)-1]; last.Kind != event.Result {
		t.Errorf("last event is %s", last.Kind)
	}
}

// The bytes follow from the lock alone, whatever the number of workers.
func TestSameBytes(t *testing.T) {
	w := newWorld(t)
	private, _ := w.key()
	var first map[string]string
	for _, workers := range []int{1, 3, 16} {
		out := t.TempDir()
		opt := w.options(out)
		opt.Workers = workers
		w.pack(opt)
		if first == nil {
			first = snapshot(t, out)
		}
		sameFiles(t, snapshot(t, out), first)
	}
	out := t.TempDir()
	opt := w.options(out)
	opt.Key = private
	w.pack(opt)
	got := snapshot(t, out)
	for name := range first {
		if got[name] != first[name] {
			t.Errorf("signing changed %s", name)
		}
	}
}

// Every blob is fetched once, shared ones included; a second run fetches none.
func TestFetchedOnce(t *testing.T) {
	w := newWorld(t)
	private, _ := w.key()
	out := t.TempDir()
	opt := w.options(out)
	opt.Key = private
	w.pack(opt)
	for d, c := range w.up.Stats().Blobs {
		if c.Gets > 1 {
			t.Errorf("%s was fetched %d times", d, c.Gets)
		}
	}
	before := snapshot(t, out)
	w.up.ResetStats()
	again := w.pack(opt)
	if !again.Unchanged || again.Fetched != 0 || again.Signature == nil || !again.Signature.Kept {
		t.Errorf("second run %+v", again)
	}
	if sum := w.up.Stats().Sum(regexp.MustCompile("")); sum.Gets+sum.Heads != 0 {
		t.Errorf("second run asked the upstream %d times", sum.Gets+sum.Heads)
	}
	sameFiles(t, snapshot(t, out), before)
}

// Another key adds its signature to the one that is there; asking for another
// sequence replaces one's own.
func TestSignAgain(t *testing.T) {
	w := newWorld(t)
	one, onePub := w.key()
	two, twoPub := w.key()
	out := t.TempDir()
	opt := w.options(out)
	opt.Key, opt.Sequence = one, 5
	w.pack(opt)
	r, err := pack.Sign(t.Context(), pack.SignOptions{Paths: []string{out}, Key: two, Countersign: []string{onePub}, Now: made}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Signatures) != 1 || r.Signatures[0].Kept || r.Signatures[0].Statement.Predicate.Sequence != 5 {
		t.Errorf("second signature %+v", r)
	}
	for _, pub := range []string{onePub, twoPub} {
		opened, err := cargo.Open(t.Context(), []string{out}, []string{pub}, cargo.Options{}, event.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := opened.Statement().Predicate.Sequence; got != 5 {
			t.Errorf("sequence %d", got)
		}
		opened.Close()
	}
	opt.Sequence = 6
	if got := w.pack(opt).Signature; got.Kept || got.Statement.Predicate.Sequence != 6 {
		t.Errorf("signature %+v", got)
	}
}

// A signature of somebody else's making is not co-signed when it is not about
// this bundle.
func TestSignRefusesForeignStatement(t *testing.T) {
	w := newWorld(t)
	one, _ := w.key()
	out := t.TempDir()
	opt := w.options(out)
	w.pack(opt)
	key, err := sign.LoadPrivateKey(one, nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := key.SignStatement([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"index.json","digest":{"sha256":"` +
		strings.Repeat("0", 64) + `"}}],"predicateType":"https://caisson.dev/bundle/v1","predicate":{"name":"demo","sequence":99}}`))
	if err != nil {
		t.Fatal(err)
	}
	files, _ := bundle.Scan(out)
	if _, err := bundle.WriteSignature(out, files[0].Name, key.Public.ID, foreign); err != nil {
		t.Fatal(err)
	}
	two, twoPub := w.key()
	r, err := pack.Sign(t.Context(), pack.SignOptions{Paths: []string{out}, Key: two, Now: made}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Signatures[0].Statement.Predicate.Sequence; got != 1700000000 {
		t.Errorf("sequence %d", got)
	}
	opened, err := cargo.Open(t.Context(), []string{out}, []string{twoPub}, cargo.Options{}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
}

// forge puts a signature file that verifies under no key beside a bundle: what
// a statement says, changed, in the name of key.
func forge(t *testing.T, out string, key *sign.PrivateKey, from bundle.Statement, change func(*bundle.Predicate)) {
	t.Helper()
	change(&from.Predicate)
	payload, err := from.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	good, err := key.SignStatement(payload)
	if err != nil {
		t.Fatal(err)
	}
	fake := regexp.MustCompile(`"sig":"[^"]*"`).ReplaceAll(good, []byte(`"sig":"AAAA"`))
	if _, err := bundle.WriteSignature(out, from.Predicate.Name+"-"+from.Predicate.Version, key.Public.ID, fake); err != nil {
		t.Fatal(err)
	}
}

// What a courier writes into the directory is never signed: not beside the first
// signer's file, not in its place, not when it is all there is.
func TestSignTakesNothingUnproven(t *testing.T) {
	w := newWorld(t)
	one, onePub := w.key()
	two, twoPub := w.key()
	courier, courierPub := w.key()
	load := func(file string) *sign.PrivateKey {
		key, err := sign.LoadPrivateKey(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	out := t.TempDir()
	opt := w.options(out)
	opt.Key, opt.Sequence = one, 5
	first := w.pack(opt).Signature
	more := func(p *bundle.Predicate) { p.Sequence = 1 << 62 }
	forge(t, out, load(courier), first.Statement, more)

	sig := pack.SignOptions{Paths: []string{out}, Key: two, Now: made}
	refused := func(what string, countersign ...string) {
		t.Helper()
		sig.Countersign = countersign
		if r, err := pack.Sign(t.Context(), sig, nil); !errors.Is(err, pack.ErrUnproven) {
			t.Errorf("%s: %v, %+v", what, err, r)
		}
	}
	refused("no key given")
	refused("key of a garbage signature", courierPub)
	refused("key of nobody", twoPub)
	sig.Countersign = []string{courierPub, onePub}
	r, err := pack.Sign(t.Context(), sig, nil)
	if err != nil || r.Signatures[0].Statement.Predicate.Sequence != 5 {
		t.Fatalf("beside the first: %v, %+v", err, r)
	}
	if r, err = pack.Sign(t.Context(), sig, nil); err != nil || !r.Signatures[0].Kept {
		t.Errorf("again: %v, %+v", err, r)
	}
	sig.Countersign = nil
	if r, err = pack.Sign(t.Context(), sig, nil); err != nil || !r.Signatures[0].Kept {
		t.Errorf("one's own counts: %v, %+v", err, r)
	}
	sig.Sequence = 6
	refused("the first says something else", onePub)
	sig.Sequence = 0

	forge(t, out, load(one), first.Statement, more)
	if err := os.Remove(r.Signatures[0].File); err != nil {
		t.Fatal(err)
	}
	refused("in the first one's name", onePub)
	forge(t, out, load(two), first.Statement, more)
	refused("in one's own name")
	all, _ := filepath.Glob(filepath.Join(out, "*.sigstore.json"))
	for _, f := range all {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	refused("the first one's file is gone", onePub)
	sig.Countersign = nil
	if r, err = pack.Sign(t.Context(), sig, nil); err != nil || r.Signatures[0].Statement.Predicate.Sequence != 1700000000 {
		t.Errorf("nothing there: %v, %+v", err, r)
	}
}

// blobs matches payload of registries and of the hub.
var (
	layers = regexp.MustCompile(`^/v2/.*/blobs/`)
	shards = regexp.MustCompile(`\.safetensors|^/cdn/`)
	driver = regexp.MustCompile(`driver\.run`)
	charts = regexp.MustCompile(`\.tgz$`)
)

// Faults that pass leave no trace in the bundle.
func TestPassingFaults(t *testing.T) {
	w := newWorld(t)
	out := t.TempDir()
	w.pack(w.options(out))
	want := snapshot(t, out)
	for _, match := range []*regexp.Regexp{layers, shards, driver, charts} {
		for _, f := range []upstreamtest.Fault{
			{Kind: upstreamtest.Stall, After: 1000},
			{Kind: upstreamtest.Truncate, After: 1000},
			{Kind: upstreamtest.Drop, After: 1000},
			{Kind: upstreamtest.Drop},
			{Kind: upstreamtest.Corrupt, After: 100},
			{Kind: upstreamtest.WrongLength, Add: 10},
			{Kind: upstreamtest.WrongLength, Add: -10},
			{Kind: upstreamtest.Status, Status: 503},
			{Kind: upstreamtest.Status, Status: 429, RetryAfter: "0"},
			{Kind: upstreamtest.Status, Status: 500},
		} {
			t.Run(fmt.Sprintf("%s/%s%+d@%d-%d", match, f.Kind, f.Add, f.After, f.Status), func(t *testing.T) {
				f.Match, f.Times, f.Method = match, 2, "GET"
				w.up.ClearFaults()
				armed := w.up.Fault(f)
				out := t.TempDir()
				if _, err := pack.Run(t.Context(), w.options(out), nil); err != nil {
					t.Fatal(err)
				}
				if armed.Hits() == 0 {
					t.Error("the fault never struck")
				}
				sameFiles(t, snapshot(t, out), want)
			})
		}
	}
}

// Faults that stay end the run with an error that names the item and the
// upstream, never with a sealed bundle; once they are gone, the next run ends
// the work.
func TestLastingFaults(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		fault upstreamtest.Fault
		want  error
		item  string
	}{
		"corrupt layer":   {upstreamtest.Fault{Match: layers, Kind: upstreamtest.Corrupt, After: 700}, nil, ""},
		"corrupt driver":  {upstreamtest.Fault{Match: driver, Kind: upstreamtest.Corrupt, After: 700}, pack.ErrUpstreamChanged, "driver:"},
		"longer driver":   {upstreamtest.Fault{Match: driver, Kind: upstreamtest.WrongLength, Add: 1}, pack.ErrUpstreamChanged, "driver:"},
		"shorter driver":  {upstreamtest.Fault{Match: driver, Kind: upstreamtest.Truncate, After: 5}, fetch.ErrShort, "driver:"},
		"stalled driver":  {upstreamtest.Fault{Match: driver, Kind: upstreamtest.Stall, After: 5}, fetch.ErrStalled, "driver:"},
		"refused driver":  {upstreamtest.Fault{Match: driver, Kind: upstreamtest.Status, Status: 503}, fetch.ErrStatus, "driver:"},
		"corrupt shard":   {upstreamtest.Fault{Match: regexp.MustCompile(`^/cdn/`), Kind: upstreamtest.Corrupt, After: 700}, pack.ErrUpstreamChanged, "huggingface.co/"},
		"corrupt chart":   {upstreamtest.Fault{Match: charts, Kind: upstreamtest.Corrupt, After: 70}, pack.ErrUpstreamChanged, ""},
		"wrong manifests": {upstreamtest.Fault{Match: regexp.MustCompile(`/manifests/`), Kind: upstreamtest.Corrupt, After: 70}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w.up.ClearFaults()
			w.up.Fault(c.fault)
			out := t.TempDir()
			opt := w.options(out)
			opt.Fetch.Attempts = 2
			opt.Fetch.Stall = time.Minute
			if c.fault.Kind == upstreamtest.Stall {
				opt.Fetch.Stall = 500 * time.Millisecond
			}
			_, err := pack.Run(t.Context(), opt, nil)
			if err == nil {
				t.Fatal("no error")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), c.item) {
				t.Errorf("error %v does not name %q", err, c.item)
			}
			if heads, _ := filepath.Glob(filepath.Join(out, "*.head.tar")); len(heads) != 0 {
				t.Error("sealed nonetheless")
			}
			w.up.ClearFaults()
			if _, err := pack.Run(t.Context(), opt, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// A manifest beside the stack that changed since is named, not packed.
func TestChangedManifest(t *testing.T) {
	w := newWorld(t)
	l, err := lock.Read(w.lock)
	if err != nil {
		t.Fatal(err)
	}
	changed := false
	for _, it := range l.Items {
		raw, ok := lock.As[*lock.RawFile](&it)
		if !ok || raw.Path == "" {
			continue
		}
		path := filepath.Join(w.dir, raw.Path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-1] ^= 1
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		changed = true
	}
	if !changed {
		t.Fatal("the stack has no manifest")
	}
	if _, err := pack.Run(t.Context(), w.options(t.TempDir()), nil); !errors.Is(err, pack.ErrLocalChanged) {
		t.Errorf("error %v", err)
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	armed := w.up.Fault(upstreamtest.Fault{Match: layers, Kind: upstreamtest.Stall, After: 10, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-armed.Fired(); cancel() }()
	out := t.TempDir()
	opt := w.options(out)
	opt.Fetch.Stall = time.Minute
	if _, err := pack.Run(ctx, opt, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	w.pack(opt)
}

// TestMain turns the test binary into a packer that can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("PACK_TEST_RUN") == "" {
		os.Exit(m.Run())
	}
	workers, _ := strconv.Atoi(os.Getenv("PACK_TEST_WORKERS"))
	_, err := pack.Run(context.Background(), pack.Options{
		Lock: os.Getenv("PACK_TEST_LOCK"), Output: os.Getenv("PACK_TEST_OUT"), Upstreams: os.Getenv("PACK_TEST_UPSTREAMS"),
		VolumeSize: 1 << 20, Workers: workers, Now: made, Fetch: fetch.Options{Backoff: time.Millisecond, Stall: 800 * time.Millisecond},
	}, event.Func(func(e event.Event) { fmt.Println(e.Kind) }))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Killed at every event in turn, a run ends with the same bytes.
func TestKilledAtEvents(t *testing.T) {
	w := newWorld(t)
	want := t.TempDir()
	w.pack(w.options(want))
	out := t.TempDir()
	kills := 0
	for n := 1; !w.killAt(out, "3", func(seen int, _ event.Kind) bool { return seen == n }); n += 2 {
		if kills++; kills > 200 {
			t.Fatal("it never ends")
		}
	}
	if kills < 20 {
		t.Errorf("killed only %d times", kills)
	}
	sameFiles(t, snapshot(t, out), snapshot(t, want))
}

// Killed while one blob stalls, a run does not fetch again what came before it.
func TestKilledBetweenBlobs(t *testing.T) {
	w := newWorld(t)
	want := t.TempDir()
	w.pack(w.options(want))
	out := t.TempDir()
	w.up.ResetStats()
	finished := map[string]int64{} // blob that is finished → how often it was asked for until then
	kills := 0
	for {
		w.up.ClearFaults()
		blob, ok := w.third(finished)
		if !ok {
			break
		}
		w.up.Fault(upstreamtest.Fault{Match: regexp.MustCompile(strings.TrimPrefix(blob, "sha256:")), Kind: upstreamtest.Stall, After: 50})
		if w.killAt(out, "1", func(_ int, k event.Kind) bool { return k == event.Retry }) {
			break
		}
		kills++
		before := len(finished)
		if w.finished(out, finished); len(finished) == before {
			t.Fatal("no blob was finished")
		}
	}
	w.up.ClearFaults()
	w.pack(w.options(out))
	for blob, n := range finished {
		if got := w.up.Stats().Blobs[blob].Gets; got != n {
			t.Errorf("%s was finished and asked for %d times more", blob, got-n)
		}
	}
	t.Logf("killed %d times, %d blobs were finished before the last run", kills, len(finished))
	if kills < 3 {
		t.Errorf("killed only %d times", kills)
	}
	sameFiles(t, snapshot(t, out), snapshot(t, want))
}

// third picks the blob that is fetched third, now that some are finished.
func (w *world) third(finished map[string]int64) (string, bool) {
	w.t.Helper()
	l, err := lock.Read(w.lock)
	if err != nil {
		w.t.Fatal(err)
	}
	var rest []lock.Slot
	for _, s := range l.Slots() {
		if _, done := finished[string(s.Digest)]; !done && s.Parts == nil && s.Sources[0].Kind == lock.FromRegistry {
			rest = append(rest, s)
		}
	}
	slices.SortStableFunc(rest, func(a, b lock.Slot) int { return cmp.Compare(b.Size, a.Size) })
	if len(rest) < 3 {
		return "", false
	}
	return string(rest[2].Digest), true
}

// Killed inside a large blob, a run goes on inside it.
func TestKilledInsideBlob(t *testing.T) {
	const size, stall = 160 << 20, 150 << 20
	w := newWorldOf(t, upstreamtest.Options{Workload: &upstreamtest.WorkloadOptions{Images: 1, ImageBytes: 1 << 20, ModelBytes: size}}, "workload.yaml")
	large := regexp.MustCompile(`^/cdn/|Big-LLM/resolve/`)
	w.up.Fault(upstreamtest.Fault{Match: large, Kind: upstreamtest.Stall, After: stall})
	out := t.TempDir()
	if w.killAt(out, "2", func(_ int, k event.Kind) bool { return k == event.Retry }) {
		t.Fatal("it ended")
	}
	w.up.ClearFaults()
	w.up.ResetStats()
	r := w.pack(w.options(out))
	if most := int64(size - 128<<20 + 2<<20); r.Fetched > most {
		t.Errorf("%d bytes fetched after the kill, at most %d expected", r.Fetched, most)
	}
	if w.up.Stats().Sum(large).Ranged == 0 {
		t.Error("no range was asked for")
	}
	want := t.TempDir()
	w.pack(w.options(want))
	sameFiles(t, snapshot(t, out), snapshot(t, want))
}

// finished notes which blobs need not be fetched again, and how often they were
// asked for.
func (w *world) finished(out string, asked map[string]int64) {
	w.t.Helper()
	l, err := lock.Read(w.lock)
	if err != nil {
		w.t.Fatal(err)
	}
	var slots []bundle.Slot
	for _, s := range l.Slots() {
		slots = append(slots, bundle.Slot{Key: s.Key, Digest: s.Digest, Size: s.Size})
	}
	b, err := bundle.Create(w.t.Context(), out, l.Metadata.Name+"-"+l.Metadata.Version, l.Digest(), slots, bundle.WriterOptions{VolumeSize: 1 << 20})
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	stats := w.up.Stats().Blobs
	for i, s := range l.Slots() {
		if !b.Finished(i) {
			continue
		}
		for _, blob := range contents(s) {
			if _, known := asked[blob]; !known {
				asked[blob] = stats[blob].Gets
			}
		}
	}
}

// contents lists what is fetched for a slot, by digest.
func contents(s lock.Slot) []string {
	if s.Parts == nil {
		return []string{string(s.Digest)}
	}
	var all []string
	for _, p := range s.Parts {
		if p.File != nil && p.File.LFS {
			all = append(all, string(p.File.SHA256))
		}
	}
	return all
}

// A disk that fills up half-way ends the run; with room again, the next run ends
// the work.
func TestDiskFull(t *testing.T) {
	w := newWorld(t)
	want := t.TempDir()
	w.pack(w.options(want))

	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("skipped: no small disk can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	out, filler := filepath.Join(disk, "out"), filepath.Join(disk, "filler")
	fill := func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for block := make([]byte, 64<<10); err == nil; {
			_, err = f.Write(block)
		}
	}
	var once sync.Once
	_, err := pack.Run(t.Context(), w.options(out), event.Func(func(e event.Event) {
		if e.Kind == event.Start && e.Item != "" {
			once.Do(fill)
		}
	}))
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("error %v", err)
	}
	if _, err := pack.Run(t.Context(), w.options(out), nil); !errors.Is(err, bundle.ErrNoSpace) {
		t.Errorf("on the full disk: error %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.pack(w.options(out))
	sameFiles(t, snapshot(t, out), snapshot(t, want))
}

// killAt runs a packer and kills it at the first event that when accepts; seen
// counts events from 1. It is true when the packer ended by itself.
func (w *world) killAt(out, workers string, when func(seen int, k event.Kind) bool) bool {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PACK_TEST_RUN=1", "PACK_TEST_LOCK="+w.lock, "PACK_TEST_OUT="+out,
		"PACK_TEST_UPSTREAMS="+filepath.Join(w.dir, "upstreams.yaml"), "PACK_TEST_WORKERS="+workers)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	events, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	lines := bufio.NewScanner(events)
	for seen := 1; lines.Scan(); seen++ {
		if when(seen, event.Kind(lines.Text())) {
			_ = cmd.Process.Kill()
			break
		}
	}
	_, _ = io.Copy(io.Discard, events)
	err = cmd.Wait()
	if err != nil && errs.Len() > 0 {
		w.t.Fatalf("%v: %s", err, errs.String())
	}
	return err == nil
}

// The tool's own binary lies beside the bundle, and the statement names it; a
// co-signer does not vouch for another one in its place.
func TestTool(t *testing.T) {
	w := newWorld(t)
	one, onePub := w.key()
	two, _ := w.key()
	out := t.TempDir()
	opt := w.options(out)
	opt.Key, opt.Tool = one, []string{os.Args[0]}
	name := "caisson-" + runtime.GOOS + "-" + runtime.GOARCH
	named := w.pack(opt).Signature.Statement.Predicate.Binaries
	if len(named) != 1 || named[name] == "" {
		t.Fatalf("binaries %v", named)
	}
	path := filepath.Join(out, name)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v %v", info, err)
	}
	countersign := pack.SignOptions{Paths: []string{out}, Key: two, Countersign: []string{onePub}, Now: made}
	if err := os.WriteFile(path, []byte("other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := pack.Sign(t.Context(), countersign, nil); !errors.Is(err, pack.ErrNoStatement) {
		t.Errorf("another binary: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := pack.Sign(t.Context(), countersign, nil); !errors.Is(err, pack.ErrNoStatement) {
		t.Errorf("no binary: %v", err)
	}
	opt.Tool = append(opt.Tool, os.Args[0])
	if _, err := pack.Run(t.Context(), opt, nil); err == nil {
		t.Error("two binaries for one system")
	}
	opt.Tool = []string{w.lock}
	if _, err := pack.Run(t.Context(), opt, nil); err == nil {
		t.Error("a text file is no binary")
	}
}
