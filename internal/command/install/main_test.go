package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

func TestMain(m *testing.M) {
	if options := os.Getenv(envChild); options != "" {
		os.Exit(child(options))
	}
	os.Exit(clustertest.Main(m))
}

// lab is one stack's life on the shared cluster.
type lab struct {
	t       *testing.T
	site    *stacktest.Site
	cluster *clustertest.Cluster
	client  *kube.Client
	state   string
	name    string // of the stack
}

func newLab(t *testing.T) *lab {
	t.Helper()
	c := clustertest.Start(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: c.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	// What a test leaves stays until the cluster goes: every test has its own
	// stack and namespaces, and removing them takes seconds each.
	return &lab{t: t, site: stacktest.NewSite(t, true), cluster: c, client: client, state: t.TempDir(), name: name}
}

func (l *lab) target() Target {
	return Target{Kubeconfig: l.cluster.Kubeconfig, StateDir: l.state, Stack: l.name}
}

// plan packs a stack, loads it and plans it; site is the rest of the site file.
func (l *lab) plan(stack stacktest.Stack, site string) string {
	l.t.Helper()
	stack.Name = l.name
	dir := l.site.Pack(l.t, stack)
	l.site.Load(l.t, dir)
	path, err := l.planOf(dir, site, event.Func(func(e event.Event) {
		if e.Finding != nil && e.Finding.Severity == event.Error {
			l.t.Log(e.Finding.What)
		}
	}))
	if err != nil {
		l.t.Fatal(err)
	}
	return path
}

func (l *lab) planOf(dir, site string, sink event.Sink) (string, error) {
	l.t.Helper()
	return l.planFor(dir, l.site.File(l.t, site), sink)
}

// planWith plans with a site file of the given text after its head.
func (l *lab) planWith(dir, text string, sink event.Sink) (string, error) {
	l.t.Helper()
	path := filepath.Join(l.t.TempDir(), "site.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: caisson.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n"+text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return l.planFor(dir, path, sink)
}

func (l *lab) planFor(dir, site string, sink event.Sink) (string, error) {
	l.t.Helper()
	out := filepath.Join(l.t.TempDir(), "plan.json")
	_, err := preflight.Run(l.t.Context(), preflight.Options{
		Paths: []string{dir}, Keys: []string{l.site.KeyFile}, Site: site, Output: out, Kubeconfig: l.cluster.Kubeconfig,
	}, sink)
	return out, err
}

func (l *lab) options(plan string) Options {
	return Options{Target: l.target(), Plan: plan, Timeout: time.Minute, Tool: "test"}
}

func (l *lab) install(plan string) Result {
	l.t.Helper()
	r, err := Run(l.t.Context(), l.options(plan), event.Discard)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lab) journal() *journal.Journal {
	l.t.Helper()
	uid, err := l.client.UID(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	j, err := archive.Open(l.client, uid, "").Load(l.t.Context(), l.name)
	if err != nil {
		l.t.Fatal(err)
	}
	return j
}

// inventory lists everything in the given namespaces and every definition and
// namespace, but the product's own records, as sorted lines.
func (l *lab) inventory(namespaces ...string) []string {
	l.t.Helper()
	text := l.cluster.Kubectl(l.t, "get", "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings", "-o", "name")
	for _, ns := range namespaces {
		for _, kinds := range []string{"all,configmaps,serviceaccounts,roles,rolebindings,persistentvolumeclaims,ingresses", "secrets"} {
			for line := range strings.Lines(l.cluster.Kubectl(l.t, "get", kinds, "-n", ns, "-o", "name", "--ignore-not-found")) {
				text += ns + "/" + line
			}
		}
	}
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "namespace/"+kube.SystemNamespace {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

func deployment(image string) map[string]string {
	return map[string]string{"templates/d.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas | default 1 }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      {{- with .Values.nodeName }}
      nodeSelector: {kubernetes.io/hostname: {{ . }}}
      {{- end }}
      containers: [{name: main, image: {{ .Values.image | default "` + image + `" }}}]
`}
}

// three is a stack of three components: certs, then db and web beside each
// other, of which web brings a definition and a manifest that uses it.
func three(prefix, version string, sequence int64) stacktest.Stack {
	ns := func(s string) string { return prefix + "-" + s }
	image := func(s string) string { return "ghcr.io/acme/" + s + ":" + version }
	web := deployment(image("web"))
	web["templates/cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: v{{ .Chart.Version | replace \".\" \"-\" }}}\n"
	group := prefix + ".caisson.dev"
	web["crds/widget.yaml"] = strings.ReplaceAll(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, "GROUP", group)
	return stacktest.Stack{Version: version, Sequence: sequence, Components: []stacktest.Component{
		{Name: "certs", Namespace: ns("certs"), Charts: []stacktest.Chart{{Release: "certs", Version: version, Files: deployment(image("certs"))}}, Images: []string{image("certs")}},
		{Name: "db", Namespace: ns("db"), Needs: []string{"certs"}, Optional: true, Charts: []stacktest.Chart{{Release: "db", Version: version, Files: deployment(image("db"))}}, Images: []string{image("db")}},
		{
			Name: "web", Namespace: ns("web"), Needs: []string{"certs"}, Images: []string{image("web")},
			Charts:    []stacktest.Chart{{Release: "web", Version: version, Files: web, Values: map[string]any{"replicas": 2}}},
			Manifests: map[string]string{"extra.yaml": "apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: w}\nspec: {version: \"" + version + "\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra-" + strings.ReplaceAll(version, ".", "-") + "}\n"},
			Ready:     []lock.Condition{{Kind: "Deployment", Name: "web", Condition: "Available"}},
		},
	}}
}
