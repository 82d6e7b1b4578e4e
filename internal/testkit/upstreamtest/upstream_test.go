package upstreamtest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// TestContentIsTheSameEverywhere holds all content against a list of digests, so
// that a change of one byte does not pass unseen.
func TestContentIsTheSameEverywhere(t *testing.T) {
	golden := filepath.Join("testdata", "digests.golden")
	first := census(t, start(t, upstreamtest.Options{Workload: small()}))
	second := census(t, start(t, upstreamtest.Options{Workload: small()}))
	if first != second {
		t.Fatalf("two starts differ:\n%s\n%s", first, second)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(first), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if first != string(want) {
		t.Fatalf("content differs from %s:\n%s", golden, first)
	}
}

// census lists all that an upstream serves, with digests.
func census(t *testing.T, up *upstreamtest.Upstream) string {
	t.Helper()
	var lines []string
	add := func(kind, name, digest string) { lines = append(lines, kind+" "+name+" "+digest) }
	refs := append(demoImages, "ghcr.io/acme/web:1.2.3", "ghcr.io/acme/charts/certs:0.4.0", "ghcr.io/acme/charts/web:1.2.3", "ghcr.io/acme/charts/tool:1.0.0_acme.1")
	web := "ghcr.io/acme/web:" + strings.Replace(up.Digest("ghcr.io/acme/web:1.2.3").String(), ":", "-", 1)
	for _, ref := range append(refs, web, web+".sig") {
		add("manifest", ref, up.Digest(ref).String())
	}
	for _, ref := range []string{"img00:v1", "img02:v1", "img02:v2"} {
		add("workload", ref, digests(workloadImages(t, up, ref)))
	}
	for _, model := range []string{upstreamtest.ModelID, upstreamtest.GatedModelID, upstreamtest.WorkloadModelID} {
		add("model", model, modelSHA(t, up, model))
	}
	for _, path := range []string{"index.yaml", "old-0.9.0.tgz", "old-0.8.0.tgz"} {
		add("chart", path, sha(get(t, "http://"+up.Addresses().Charts+"/stable/"+path).body))
	}
	for _, path := range []string{"driver.run", "firmware.bin", "SHA256SUMS"} {
		add("file", path, sha(get(t, "http://"+up.Addresses().Files+"/"+path).body))
	}
	for name, data := range up.Local() {
		if name != "upstreams.yaml" {
			add("local", name, sha(data))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

// modelSHA returns a model's commit, which follows from all of its files.
func modelSHA(t *testing.T, up *upstreamtest.Upstream, model string) string {
	t.Helper()
	r := get(t, "http://"+up.Addresses().Hub+"/api/models/"+model, "Authorization: Bearer "+upstreamtest.GatedToken)
	var info struct{ SHA string }
	if err := json.Unmarshal(r.body, &info); err != nil || r.status != http.StatusOK {
		t.Fatalf("%s: %d, %v", model, r.status, err)
	}
	return info.SHA
}

func TestUpstreamsLeadToTheServers(t *testing.T) {
	up := start(t, upstreamtest.Options{Workload: small()})
	var doc struct {
		APIVersion, Kind string
		Rewrites         []struct{ From, To string }
	}
	if err := yaml.Unmarshal(up.UpstreamsYAML(), &doc); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range doc.Rewrites {
		got[r.From] = r.To
	}
	a := up.Addresses()
	want := map[string]string{
		"ghcr.io": a.Registry + "/ghcr.io", "quay.io": a.Registry + "/quay.io", "docker.io": a.Registry + "/docker.io",
		"registry.k8s.io": a.Registry + "/registry.k8s.io", "https://huggingface.co": a.Hub,
		"https://charts.acme.example": a.Charts, "https://dl.acme.example": a.Files,
		"https://github.com": a.Files + "/github.com", "https://raw.githubusercontent.com": a.Files + "/raw.githubusercontent.com",
		"bench.acme.example": a.Workload + "/bench.acme.example",
	}
	for from, to := range want {
		if got[from] != "http://"+to {
			t.Errorf("%s leads to %s", from, got[from])
		}
	}
	if doc.Kind != "Upstreams" || len(got) != len(want) {
		t.Errorf("%s with %d rewrites", doc.Kind, len(got))
	}
}

func TestWriteDir(t *testing.T) {
	up := start(t, upstreamtest.Options{Workload: small()})
	dir := t.TempDir()
	if err := up.WriteDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stack.yaml", "upstreams.yaml", "web.yaml", "extra.yaml", "workload.yaml", "workload-2.yaml"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := yaml.Unmarshal(data, &doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestControl(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	control := "http://" + up.Addresses().Control + "/_control/"
	file := "http://" + up.Addresses().Files + "/SHA256SUMS"
	post := func(body string) int {
		res, err := http.Post(control+"faults", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	if code := post(`{"match":"SUMS$","kind":"status","status":503,"times":1}`); code != http.StatusNoContent {
		t.Fatalf("one fault: %d", code)
	}
	if code := post(`[{"match":"SUMS$","kind":"corrupt","after":2}]`); code != http.StatusNoContent {
		t.Fatalf("a list: %d", code)
	}
	for _, bad := range []string{`{"kind":"nothing"}`, `{"kind":"drop","match":"("}`, `{"kind":"drop","soon":1}`, `x`} {
		if code := post(bad); code != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, code)
		}
	}
	if r := get(t, file); r.status != http.StatusServiceUnavailable {
		t.Fatalf("status %d", r.status)
	}
	corrupt := get(t, file).body
	if list := get(t, control+"faults").body; !bytes.Contains(list, []byte(`"hits":1`)) {
		t.Errorf("faults: %s", list)
	}
	do(t, http.MethodDelete, control+"faults")
	if bytes.Equal(corrupt, get(t, file).body) {
		t.Error("the fault did not act, or did not go")
	}
	var stats upstreamtest.Stats
	if err := json.Unmarshal(get(t, control+"stats").body, &stats); err != nil || stats.Paths["/SHA256SUMS"].Gets != 3 {
		t.Errorf("%+v, %v", stats, err)
	}
	do(t, http.MethodDelete, control+"stats")
	if body := get(t, control+"stats").body; bytes.Contains(body, []byte("SHA256SUMS")) {
		t.Errorf("after the reset: %s", body)
	}
	if body := get(t, control+"addresses").body; !bytes.Contains(body, fmt.Appendf(nil, "%q", up.Addresses().Hub)) {
		t.Errorf("addresses: %s", body)
	}
	before := up.ModelCommit()
	if do(t, http.MethodPost, control+"advance"); up.ModelCommit() == before {
		t.Error("nothing advanced")
	}
}
