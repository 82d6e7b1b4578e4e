package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/testkit/bundletest"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/ui/explain"
)

// codes are all exit codes, as the README's table promises them.
var codes = []int{explain.Done, explain.Failed, explain.Usage, explain.NotTrusted, explain.Damaged, explain.Preflight, explain.Drift, explain.Interrupted}

// TestReadmeListsExitCodes: the README has the codes of the program, and no
// other.
func TestReadmeListsExitCodes(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []int
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.Atoi(m[1])
		listed = append(listed, n)
	}
	if !slices.Equal(listed, codes) {
		t.Errorf("the README lists %v, the program has %v", listed, codes)
	}
}

// ends requires an exit code, in text and in JSON, where the last line says it
// again.
func (r *road) ends(code int, args ...string) {
	r.t.Helper()
	what := "caisson " + strings.Join(args, " ")
	s := say(r.t.Context(), args...)
	if s.code != code {
		r.t.Errorf("%s: exit code %d, not %d\n%s%s", what, s.code, code, s.out, s.err)
	}
	if code == explain.Done {
		return
	}
	if !strings.HasPrefix(s.err, "error: ") && !strings.Contains(s.err, "\nerror: ") || !strings.Contains(s.err, "next:") {
		r.t.Errorf("%s: it does not say what is wrong and what to do next:\n%s", what, s.err)
	}
	events := say(r.t.Context(), append([]string{"--output", "json"}, args...)...).events(r.t)
	if len(events) == 0 {
		r.t.Errorf("%s: no event", what)
		return
	}
	if last := events[len(events)-1]; last.Kind != kindError || last.Fields["exitCode"] != float64(code) {
		r.t.Errorf("%s: the last event is %+v", what, last)
	}
}

// TestExitCodes provokes every code that needs no cluster, by more than one
// command where there is.
func TestExitCodes(t *testing.T) {
	r := packedRoad(t, "1MiB")
	r.must("keys", "generate", "--out", r.path("other"))
	out, key, other := r.path("out"), r.key(), r.path("other/caisson.pub")
	registry := bundletest.NewRegistry(t, true)

	r.ends(explain.Done, "version")
	r.ends(explain.Done, "verify", out, "--key", key)
	r.ends(explain.Failed, "keys", "generate", "--out", r.path("other")) // it is there
	r.ends(explain.Failed, "verify", r.path("nowhere"), "--key", key)
	r.ends(explain.Usage, "verify", out)
	r.ends(explain.Usage, "verify", out, "--key", key, "--nothing")
	r.ends(explain.Usage, "nothing")
	for _, verb := range [][]string{{"verify"}, {"inspect"}, {"load", "--registry", registry.Host, "--state-dir", r.path("state")}, {"serve", "--listen", "127.0.0.1:0"}} {
		r.ends(explain.NotTrusted, append(verb, out, "--key", other)...)
	}
	if err := os.Truncate(filepath.Join(out, packName+".vol-00002.tar"), 1000); err != nil {
		t.Fatal(err)
	}
	r.ends(explain.Damaged, "verify", out, "--key", key)
	r.ends(explain.Damaged, "load", out, "--key", key, "--registry", registry.Host, "--state-dir", r.path("state"))
	if err := os.Truncate(filepath.Join(out, packName+".head.tar"), 1000); err != nil {
		t.Fatal(err)
	}
	for _, verb := range [][]string{{"verify"}, {"load", "--registry", registry.Host, "--state-dir", r.path("state")}, {"serve", "--listen", "127.0.0.1:0"}} {
		r.ends(explain.Damaged, append(verb, out, "--key", key)...)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if s := say(ended, "verify", out, "--key", key); s.code != explain.Interrupted {
		t.Errorf("an ended context: exit code %d", s.code)
	}
}

// siteYAML is a site whose registry is at the address that follows.
const siteYAML = "apiVersion: caisson.dev/v1alpha1\nkind: Site\nmetadata: {name: hall}\nregistry: {mode: external, plainHTTP: true, address: "

// smallStack needs one image and brings one object.
const smallStack = `apiVersion: caisson.dev/v1alpha1
kind: Stack
metadata: {name: demo, version: 1.0.0}
platforms: [linux/amd64]
kubernetes: {versions: ["1.36"]}
components:
  - name: web
    namespace: web
    images: [quay.io/acme/tool:1]
    manifests: [./extra.yaml]
`

// TestExitCodesAtACluster provokes what only a cluster can: a site that lacks
// something, and drift.
func TestExitCodesAtACluster(t *testing.T) {
	cluster := clustertest.Fresh(t)
	registry := bundletest.NewRegistry(t, true)
	r := newRoad(t)
	t.Setenv("KUBECONFIG", cluster.Kubeconfig)
	for name, text := range map[string]string{
		"stack.yaml": smallStack,
		"none.yaml":  siteYAML + `"127.0.0.1:1"}` + "\n",
		"site.yaml":  siteYAML + `"` + registry.Host + `"}` + "\n",
	} {
		if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.must("keys", "generate", "--out", r.path("keys"))
	r.resolve()
	r.must("pack", r.path("demo.lock.yaml"), "-o", r.path("out"), "--upstreams", r.path("upstreams.yaml"), "--signing-key", r.path("keys/caisson.key"))
	plan := func(site string) []string {
		return []string{"plan", r.path("out"), "--key", r.key(), "--site", r.path(site), "-o", r.path("plan.json")}
	}
	r.ends(explain.Preflight, plan("none.yaml")...) // nothing answers there
	r.ends(explain.Preflight, plan("site.yaml")...) // the image is not there
	if _, err := os.Stat(r.path("plan.json")); err == nil {
		t.Error("a plan was written although the site cannot take it")
	}
	r.must("load", r.path("out"), "--key", r.key(), "--registry", registry.Host, "--state-dir", r.path("state"))
	r.must(plan("site.yaml")...)
	r.must("install", r.path("plan.json"), "--state-dir", r.path("state"))
	r.ends(explain.Done, "status", "--state-dir", r.path("state"))
	kubectl := exec.CommandContext(t.Context(), filepath.Join(cluster.Bin, "kubectl"), "delete", "configmap", "extra", "-n", "web")
	if text, err := kubectl.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	r.ends(explain.Drift, "status", "--state-dir", r.path("state"))
}
