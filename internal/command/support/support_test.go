package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

// Values that must not be in any archive, in no form.
const (
	planted  = "planted-in-a-Secret"
	multi    = "-----BEGIN KEY-----\nMIIplantedlineofakey0123456789\n-----END KEY-----"
	invalues = "planted-in-values"
)

// site installs, by hand, what support reads: a journal, a plan with values, and a
// pod that fails and says a secret while it does.
func site(t *testing.T) *clustertest.Cluster {
	t.Helper()
	cluster := clustertest.Start(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: cluster.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{kube.SystemNamespace, "ticket-web"} {
		if _, _, err := client.EnsureNamespace(t.Context(), ns, nil); err != nil {
			t.Fatal(err)
		}
	}
	uid, err := client.UID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"adminPassword": invalues, "replicas": "2"}
	sum, err := plan.DigestValues(values)
	if err != nil {
		t.Fatal(err)
	}
	p := &plan.Plan{
		APIVersion: plan.APIVersion, Kind: plan.Kind, Name: "ticket", Version: "1.0.0", Index: digest.FromString("i"), Lock: digest.FromString("l"),
		Cluster: plan.Cluster{UID: uid, Version: "v1", Digest: plan.Bind(uid, "v1")},
		Site:    plan.Site{Name: "lab", Digest: digest.FromString("s"), References: []string{"rewrite"}},
		Components: []plan.Component{{Name: "web", Namespace: "ticket-web", Releases: []plan.Release{{
			Name: "web", Chart: "ghcr.io/acme/charts/web:1.0.0", ChartDigest: digest.FromString("c"), ChartVersion: "1.0.0",
			Values: values, ValuesDigest: sum, ImagesDigest: digest.FromString("m"), Action: plan.Install,
		}}}},
	}
	p.Site.Registry.Mode, p.Site.Registry.Address = "external", "reg:5000"
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	store := archive.Open(client, uid, "")
	d, err := store.PutPlan(t.Context(), "ticket", data)
	if err != nil {
		t.Fatal(err)
	}
	j := &journal.Journal{Format: journal.Format, Stack: "ticket", Cluster: uid, Installed: []journal.Installed{{Name: "web", Namespace: "ticket-web", Plan: d}}}
	j.Begin(journal.Run{ID: "r", Verb: journal.Install, Began: time.Unix(1_790_000_000, 0), Error: "the chart said " + invalues})
	if err := store.Save(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "create", "secret", "generic", "creds", "-n", "ticket-web", "--from-literal=key="+planted, "--from-literal=pem="+multi, "--from-literal=json={\"auths\":{\"r\":{\"password\":\""+planted+"-2\"}}}")
	cluster.Kubectl(t, "run", "broken", "-n", "ticket-web", "--image=x:1", `--overrides={"spec":{"nodeSelector":{"none":"such"}}}`)
	status, err := json.Marshal(map[string]any{"status": map[string]any{"message": "could not log in with " + planted + " or " + base64.StdEncoding.EncodeToString([]byte(planted)), "containerStatuses": []any{map[string]any{
		"name": "broken", "image": "x:1", "imageID": "", "ready": false, "restartCount": 2,
		"state": map[string]any{"waiting": map[string]any{"reason": "CrashLoopBackOff", "message": "MIIplantedlineofakey0123456789 " + planted + "-2"}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "patch", "pod", "broken", "-n", "ticket-web", "--subresource=status", "--type=merge", "-p", string(status))
	return cluster
}

// unpacked reads an archive: the text of each file by its path.
func unpacked(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		out[name] = string(text)
	}
}

func TestArchiveHoldsNoSecret(t *testing.T) {
	cluster := site(t)
	path := filepath.Join(t.TempDir(), "ticket.tar.gz")
	r, err := Run(t.Context(), Options{Output: path, Kubeconfig: cluster.Kubeconfig, StateDir: t.TempDir(), Tool: "test"}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	files := unpacked(t, path)
	for _, want := range []string{"README.txt", "versions.json", "stacks/ticket/journal.json", "stacks/ticket/objects.json", "namespaces/ticket-web/pods.json", "namespaces/ticket-web/events.json"} {
		if files[want] == "" {
			t.Errorf("there is no %s among %q", want, r.Files)
		}
	}
	if pods := files["namespaces/ticket-web/pods.json"]; !strings.Contains(pods, "CrashLoopBackOff") || !strings.Contains(pods, "could not log in with [redacted]") {
		t.Errorf("the state of pods is\n%s", pods)
	}
	plans := 0
	for name, text := range files {
		for _, secret := range []string{"planted", base64.StdEncoding.EncodeToString([]byte(planted))} {
			if strings.Contains(text, secret) {
				t.Errorf("%s says what it must not:\n%s", name, text)
			}
		}
		if strings.HasPrefix(name, "stacks/ticket/plans/") {
			plans++
			if !strings.Contains(text, `"adminPassword": "[redacted]"`) || !strings.Contains(text, `"replicas": "[redacted]"`) {
				t.Errorf("the plan is\n%s", text)
			}
		}
	}
	if plans != 1 {
		t.Errorf("%d plans among %q; missing: %q", plans, r.Files, r.Missing)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Run(t.Context(), Options{Output: path, Kubeconfig: cluster.Kubeconfig, StateDir: t.TempDir()}, event.Discard); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an archive was overwritten: %v", err)
	}
}

func TestWithoutAClusterThereAreTheCopies(t *testing.T) {
	state := t.TempDir()
	j := &journal.Journal{Format: journal.Format, Stack: "away", Cluster: "c"}
	data, err := j.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "away.journal.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "t.tar.gz")
	var heard event.Recorder
	r, err := Run(t.Context(), Options{Output: path, Kubeconfig: filepath.Join(state, "nowhere"), StateDir: state}, &heard)
	if err != nil || len(r.Missing) == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	files := unpacked(t, path)
	if files["stacks/away/journal.json"] == "" || !strings.Contains(files["missing.txt"], "the cluster") {
		t.Errorf("%q", r.Files)
	}
	warned := false
	for _, e := range heard.Events() {
		warned = warned || e.Kind == event.Warning
	}
	if !warned {
		t.Error("nothing was said of what is missing")
	}
}
