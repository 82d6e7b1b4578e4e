package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func at(s int) time.Time { return time.Unix(1_790_000_000+int64(s), 0).UTC() }

func history(b *bundletest.Bundle, index digest.Digest) *journal.Journal {
	j := &journal.Journal{Format: journal.Format, Stack: "demo", Cluster: "5d3c0a3e-0000-4000-8000-000000000001"}
	r := j.Begin(journal.Run{
		ID: "a", Verb: journal.Install, Began: at(0), Version: "1.0.0", Index: index, Lock: b.Lock.Digest(), Plan: digest.FromString("plan"), Sequence: 3,
		KeyIDs: []string{b.Key.Public.ID}, Operator: journal.Operator{User: "ops@example", Host: "jump-1"},
	})
	for i, name := range []string{"certs", "database", "web <script>"} {
		c := r.Component(name)
		c.State, c.Began, c.Ended = journal.Done, at(3*i), at(3*i+4)
		c.Steps = []journal.Step{{Kind: journal.StepNamespace, Name: name, State: journal.Done, Began: at(3 * i), Ended: at(3 * i)}, {Kind: journal.StepRelease, Name: name, State: journal.Done, Began: at(3 * i), Ended: at(3*i + 4), After: 1}}
		j.Put(journal.Installed{Name: name, Namespace: "web", Version: "1.0.0", Plan: digest.FromString("plan"), Complete: true, Releases: []journal.Release{{Name: "r", Revision: 1, Chart: "ghcr.io/acme/charts/web:1.2.3", ChartDigest: digest.FromString("c"), ValuesDigest: digest.FromString("v")}}})
	}
	r = j.Last()
	r.State, r.Ended = journal.Done, at(11)
	failed := j.Begin(journal.Run{ID: "b", Verb: journal.Install, Began: at(100), Version: "1.1.0", Index: digest.FromString("other"), KeyIDs: []string{b.Key.Public.ID}})
	failed.State, failed.Ended, failed.Error = journal.Failed, at(160), "component web failed and was rolled back"
	c := failed.Component("web <script>")
	c.State, c.Began, c.Ended, c.Error = journal.RolledBack, at(100), at(150), "not ready in time"
	return j
}

// onDisk writes a state directory and returns it.
func onDisk(t *testing.T, j *journal.Journal, l *lock.Lock) string {
	t.Helper()
	dir := t.TempDir()
	sub := filepath.Join(dir, j.Cluster)
	if err := os.MkdirAll(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := j.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, "demo.journal.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if l != nil {
		text, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, l.Digest().Encoded()+".lock.yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func nowhere(t *testing.T, state string) Options {
	return Options{Output: filepath.Join(t.TempDir(), "out"), Kubeconfig: "/does/not/exist", StateDir: state, Tool: "v0.1.0"}
}

func TestReportFromDiskAlone(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	j := history(b, b.Open(t).IndexDigest())
	r, err := Run(t.Context(), nowhere(t, onDisk(t, j, b.Lock)), event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(r.HTML)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{"ghcr.io/acme/web:1.2.3", "license apache-2.0", b.Key.Public.ID, "ops@example on jump-1", "rolled back", "the copy in", "Payload by component and kind", `lang="en"`, "<caption>", "prefers-color-scheme: dark", "@media print"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "<script") || strings.Contains(text, "http://") || strings.Contains(text, "src=") || strings.Contains(text, "@import") || strings.Contains(text, "url(") {
		t.Error("the page has a script or needs something beside it")
	}
	if strings.Contains(text, "ZgotmplZ") {
		t.Error("the template put something where it is not allowed")
	}
	wellFormed(t, page)
	if len(r.Report.Items) != len(b.Lock.Items) || r.Report.Bytes == 0 {
		t.Errorf("%d items of %d, %d bytes", len(r.Report.Items), len(b.Lock.Items), r.Report.Bytes)
	}
	var sum int64
	for _, s := range r.Report.Composition {
		sum += s.Bytes
	}
	if sum != r.Report.Bytes {
		t.Errorf("the shares add up to %d of %d", sum, r.Report.Bytes)
	}
	if keep := os.Getenv("CAISSON_TEST_REPORT"); keep != "" {
		if err := os.WriteFile(keep, page, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// wellFormed reads the page with an XML parser, void elements made closed:
// every element is closed in its place.
func wellFormed(t *testing.T, page []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = true, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
	}
}

func TestReportSaysWhatItLacks(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{})
	j := history(b, b.Open(t).IndexDigest())
	j.Runs = j.Runs[:1]
	state := onDisk(t, j, nil)
	r, err := Run(t.Context(), nowhere(t, state), event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if missing := strings.Join(r.Report.Missing, "\n"); !strings.Contains(missing, "the lock of what is installed") || r.Report.Items != nil {
		t.Errorf("missing is %s", missing)
	}
	opt := nowhere(t, state)
	opt.Bundles = []string{b.Dir}
	if r, err = Run(t.Context(), opt, event.Discard); err != nil || len(r.Report.Items) == 0 || !strings.Contains(strings.Join(r.Report.Missing, "\n"), "no key was given") {
		t.Errorf("%+v, %v", r.Report, err)
	}
	opt.Keys = []string{b.KeyFile}
	if r, err = Run(t.Context(), opt, event.Discard); err != nil || strings.Contains(strings.Join(r.Report.Missing, "\n"), "no key was given") {
		t.Errorf("%+v, %v", r.Report, err)
	}
	other := bundletest.Make(t, bundletest.Options{Salt: "other"})
	opt.Bundles, opt.Keys = []string{other.Dir}, []string{other.KeyFile}
	if r, err = Run(t.Context(), opt, event.Discard); err != nil || len(r.Report.Items) != 0 || !strings.Contains(strings.Join(r.Report.Missing, "\n"), "not what is installed") {
		t.Errorf("%+v, %v", r.Report, err)
	}
}

// TestReportGoesOnWithoutALockThatItCannotRead: such a bundle is noted as missing
// where it is the installed one, and as of no use where it is another.
func TestReportGoesOnWithoutALockThatItCannotRead(t *testing.T) {
	good := bundletest.Make(t, bundletest.Options{})
	bad := bundletest.Make(t, bundletest.Options{Name: "bad", LockText: "kind: Lock\n", Key: good.Key, KeyFile: good.KeyFile})
	index := func(b *bundletest.Bundle) digest.Digest {
		found, err := cargo.Find("reading", b.Dir)
		if err != nil {
			t.Fatal(err)
		}
		h, err := cargo.ReadHead(found[0])
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		return h.IndexDigest()
	}
	for _, c := range []struct {
		name      string
		installed *bundletest.Bundle
		bundles   []string
		keys      []string
		missing   string
		items     int
	}{
		{"installed, trusted", bad, []string{bad.Dir}, []string{bad.KeyFile}, "a readable lock: ", 0},
		{"installed, not verified", bad, []string{bad.Dir}, nil, "a readable lock: ", 0},
		{"beside, trusted", good, []string{bad.Dir, good.Dir}, []string{good.KeyFile}, "not what is installed", len(good.Lock.Items)},
		{"beside, not verified", good, []string{bad.Dir, good.Dir}, nil, "not what is installed", len(good.Lock.Items)},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := history(c.installed, index(c.installed))
			j.Runs = j.Runs[:1]
			opt := nowhere(t, onDisk(t, j, nil))
			opt.Bundles, opt.Keys = c.bundles, c.keys
			r, err := Run(t.Context(), opt, event.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if missing := strings.Join(r.Report.Missing, "\n"); !strings.Contains(missing, c.missing) {
				t.Errorf("missing is %s", missing)
			}
			if len(r.Report.Items) != c.items {
				t.Errorf("%d items, want %d", len(r.Report.Items), c.items)
			}
		})
	}
}

// TestReportReadsALedgerOfANewerCaisson: the fields that this one does not know are
// left out, and the checks count.
func TestReportReadsALedgerOfANewerCaisson(t *testing.T) {
	g := &ledger.Ledger{
		APIVersion: ledger.APIVersion, Kind: ledger.Kind, Name: "demo", Version: "1.0.0", Created: "2026-01-01T00:00:00Z",
		Index: digest.FromString("index"), Lock: digest.FromString("lock"),
	}
	g.Append(ledger.Check{Item: bundletest.Web, What: "layer", Rule: "sha256", Result: ledger.Passed})
	text, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(text), `"result"`, `"grade": 3, "result"`, 1)
	b := bundletest.Make(t, bundletest.Options{LedgerText: newer})
	j := history(b, b.Open(t).IndexDigest())
	j.Runs = j.Runs[:1]
	opt := nowhere(t, onDisk(t, j, b.Lock))
	opt.Bundles, opt.Keys = []string{b.Dir}, []string{b.KeyFile}
	r, err := Run(t.Context(), opt, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if missing := strings.Join(r.Report.Missing, "\n"); strings.Contains(missing, "ledger") {
		t.Errorf("missing is %s", missing)
	}
}

func TestReportOnNothing(t *testing.T) {
	if _, err := Run(t.Context(), nowhere(t, t.TempDir()), event.Discard); !errors.Is(err, ErrStack) {
		t.Errorf("error is %v", err)
	}
}

func TestSquarify(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		weights := make([]float64, rng.IntN(40))
		var total float64
		for i := range weights {
			weights[i] = math.Exp(rng.Float64()*12) - 1
			total += weights[i]
		}
		outer := rect{10, 20, 50 + rng.Float64()*900, 50 + rng.Float64()*400}
		pieces := squarify(weights, outer)
		var area float64
		for i, p := range pieces {
			area += p.W * p.H
			if want := weights[i] / total * outer.W * outer.H; math.Abs(p.W*p.H-want) > 1e-6*outer.W*outer.H {
				t.Fatalf("piece %d has area %f, want %f", i, p.W*p.H, want)
			}
			if p.X < outer.X-1e-6 || p.Y < outer.Y-1e-6 || p.X+p.W > outer.X+outer.W+1e-6 || p.Y+p.H > outer.Y+outer.H+1e-6 {
				t.Fatalf("piece %d leaves the drawing: %+v in %+v", i, p, outer)
			}
			for k, q := range pieces[:i] {
				if min(p.X+p.W, q.X+q.W)-max(p.X, q.X) > 1e-6 && min(p.Y+p.H, q.Y+q.H)-max(p.Y, q.Y) > 1e-6 {
					t.Fatalf("pieces %d and %d overlap", k, i)
				}
			}
		}
		if total > 0 && math.Abs(area-outer.W*outer.H) > 1e-6*area {
			t.Fatalf("the pieces cover %f of %f", area, outer.W*outer.H)
		}
	}
	for _, r := range squarify([]float64{0, -1}, rect{0, 0, 10, 10}) {
		if r.W*r.H != 0 {
			t.Error("nothing takes up room")
		}
	}
}
