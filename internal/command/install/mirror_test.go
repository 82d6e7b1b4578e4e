package install

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// agentImage is the first container's image and arguments of an object.
func (l *lab) container(o object.Ref) (image string, args []string) {
	l.t.Helper()
	u, err := l.client.Get(l.t.Context(), o)
	if err != nil {
		l.t.Fatal(err)
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	main := list[0].(map[string]any)
	image, _ = main["image"].(string)
	args, _, _ = unstructured.NestedStringSlice(main, "args")
	return image, args
}

func TestMirrorStrategy(t *testing.T) {
	l := newLab(t)
	before := l.inventory()
	stack := three("mir", "1.0.0", 1)
	stack.Agent = true
	path := l.plan(stack, "references: [mirror]\n")
	p, err := plan.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	base := l.site.Registry.Host + "/mirror/"
	if p.Nodes == nil || !slices.Equal(p.Nodes.Hosts, []string{"ghcr.io"}) || !strings.HasPrefix(string(p.Nodes.Agent), base+"images.caisson.dev/caisson@sha256:") || len(p.Nodes.Files) != 1 {
		t.Fatalf("the plan changes on nodes: %+v", p.Nodes)
	}
	r := l.install(path)
	if r.Components[plan.MirrorComponent] != journal.Done || r.Components["web"] != journal.Done {
		t.Fatalf("%+v", r)
	}
	set := object.Ref{APIVersion: "apps/v1", Kind: "DaemonSet", Namespace: kube.SystemNamespace, Name: "caisson-mirror-" + l.name}
	if image, args := l.container(set); imageref.Ref(image) != p.Nodes.Agent || slices.Contains(args, removeArgument) {
		t.Errorf("the agent is %s %q", image, args)
	}
	web := object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "mir-web", Name: "web"}
	if image, _ := l.container(web); image != "ghcr.io/acme/web:1.0.0" {
		t.Errorf("web runs %s; a mirror keeps upstream names", image)
	}
	u, err := l.client.Get(t.Context(), object.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: kube.SystemNamespace, Name: set.Name})
	if err != nil {
		t.Fatal(err)
	}
	var c mirror.Config
	text, _, _ := unstructured.NestedString(u.Object, "data", "mirror.json")
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.Registry != strings.TrimSuffix(base, "/") || !c.PlainHTTP {
		t.Errorf("%s, %v", text, err)
	}
	if got := c.Containerd()[0].Digest(); got != p.Nodes.Files[0].Digest {
		t.Errorf("the agent writes %s, the plan has %s", got, p.Nodes.Files[0].Digest)
	}
	if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Error(err)
	}

	t.Run("again", func(t *testing.T) {
		if r := l.install(path); r.Components[plan.MirrorComponent] != journal.Skipped {
			t.Errorf("%+v", r.Components)
		}
	})

	t.Run("rewrite as well", func(t *testing.T) {
		stack := three("mir", "1.1.0", 2)
		stack.Agent = true
		l.install(l.plan(stack, "references: [mirror, rewrite]\n"))
		if image, _ := l.container(web); !strings.HasPrefix(image, base+"ghcr.io/acme/web@sha256:") {
			t.Errorf("web runs %s", image)
		}
	})

	t.Run("uninstall", func(t *testing.T) {
		var told []string
		_, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Func(func(e event.Event) { told = append(told, string(e.Kind)+" "+e.Item) }))
		if err != nil {
			t.Fatal(err)
		}
		run := l.journal().Last()
		steps := run.Component(plan.MirrorComponent).Steps
		if len(steps) != 2 || steps[0].Kind != journal.StepNodes || steps[0].State != journal.Done || steps[1].Kind != journal.StepManifests {
			t.Errorf("%+v", steps)
		}
		if last := run.Components[len(run.Components)-1].Name; last != plan.MirrorComponent {
			t.Errorf("%s went last: nodes must be cleared when nothing needs the mirror any more", last)
		}
		if got := l.inventory(); !slices.Equal(got, before) {
			t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
		}
		for _, o := range l.inventory(kube.SystemNamespace) {
			if strings.Contains(o, "caisson-mirror") {
				t.Errorf("uninstalling left %s", o)
			}
		}
	})
}

// TestMirrorLogin: the agent gets the pull secret as a file, and what it is told, the plan and
// the journal have no password.
func TestMirrorLogin(t *testing.T) {
	l := newLab(t)
	l.withLogin("robot", "hunter2")
	stack := three("mirl", "1.0.0", 1)
	stack.Name, stack.Agent = l.name, true
	dir := l.site.Pack(t, stack)
	l.site.Load(t, dir)
	l.cluster.Kubectl(t, "create", "secret", "docker-registry", "mirror-login", "-n", "default",
		"--docker-server="+l.site.Registry.Host, "--docker-username=robot", "--docker-password=hunter2")
	t.Cleanup(func() {
		l.cluster.Kubectl(t, "delete", "secret", "mirror-login", "-n", "default", "--ignore-not-found")
	})
	path, err := l.planWith(dir, l.registryText(", pullSecretRef: {name: mirror-login, namespace: default}")+"references: [mirror]\n",
		event.Func(func(e event.Event) {
			if e.Finding != nil && e.Finding.Code == event.CodeMirrorPullSecret {
				t.Errorf("the plan warns: %+v", e.Finding)
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Read(path)
	if err != nil || p.Nodes.Login != "mirror-login" || len(p.Nodes.Files) != 2 || !p.Nodes.Files[0].Login {
		t.Fatalf("%+v, %v", p.Nodes, err)
	}
	l.install(path)
	name := "caisson-mirror-" + l.name
	set, err := l.client.Get(t.Context(), object.Ref{APIVersion: "apps/v1", Kind: "DaemonSet", Namespace: kube.SystemNamespace, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	volumes, _, _ := unstructured.NestedSlice(set.Object, "spec", "template", "spec", "volumes")
	if !slices.ContainsFunc(volumes, func(v any) bool {
		secret, _, _ := unstructured.NestedMap(v.(map[string]any), "secret")
		return secret["secretName"] == "mirror-login" && secret["optional"] == true
	}) {
		t.Errorf("the agent does not get the Secret: %v", volumes)
	}
	told, err := l.client.Get(t.Context(), object.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: kube.SystemNamespace, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	planned, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	journalText, err := json.Marshal(l.journal())
	if err != nil {
		t.Fatal(err)
	}
	set.SetManagedFields(nil)
	objects, err := json.Marshal([]any{set.Object, told.Object})
	if err != nil {
		t.Fatal(err)
	}
	secret := mirror.NewLogin("robot", "hunter2").Authorization()
	for where, text := range map[string]string{"plan": string(planned), "journal": string(journalText), "objects": string(objects)} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, strings.TrimPrefix(secret, "Basic ")) {
			t.Errorf("the password is in the %s", where)
		}
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
}

// TestMirrorCutOff ends an install while it waits for the agent.
func TestMirrorCutOff(t *testing.T) {
	l := newLab(t)
	before := l.inventory()
	stack := three("mirc", "1.0.0", 1)
	stack.Agent = true
	path := l.plan(stack, "references: [mirror]\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := l.gate()
	applied := false
	g.act, g.when = cancel, func(r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/daemonsets/caisson-mirror-"+l.name) {
			return false
		}
		applied = applied || r.Method == http.MethodPatch && r.URL.Query().Get("dryRun") == ""
		return applied && r.Method == http.MethodGet
	}
	opt := l.options(path)
	opt.Kubeconfig = g.Kubeconfig
	_, err := Run(ctx, opt, event.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	if c := l.journal().Component(plan.MirrorComponent); c == nil || c.Complete || len(c.Objects) != 2 {
		t.Errorf("the journal has %+v", c)
	}
	if r := l.install(path); r.Components["web"] != journal.Done {
		t.Errorf("%+v", r)
	}
	if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	for _, o := range l.inventory(kube.SystemNamespace) {
		if strings.Contains(o, "caisson-mirror") {
			t.Errorf("going back to nothing left %s", o)
		}
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := l.inventory(); !slices.Equal(got, before) {
		t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
	}
}

const mirrorSet = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: PLURAL.config.openshift.io}
spec:
  group: config.openshift.io
  scope: Cluster
  names: {plural: PLURAL, singular: SINGULAR, kind: KIND}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

func TestIDMSStrategy(t *testing.T) {
	l := newLab(t)
	for _, kind := range []string{"ImageDigestMirrorSet", "ImageTagMirrorSet"} {
		singular := strings.ToLower(kind)
		file := filepath.Join(t.TempDir(), "crd.yaml")
		text := strings.NewReplacer("PLURAL", singular+"s", "SINGULAR", singular, "KIND", kind).Replace(mirrorSet)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l.cluster.Kubectl(t, "apply", "-f", file)
		l.cluster.Kubectl(t, "wait", "--for=condition=Established", "crd/"+singular+"s.config.openshift.io")
		defer l.cluster.Kubectl(t, "delete", "-f", file)
	}
	p, err := plan.Read(l.plan(three("idms", "1.0.0", 1), ""))
	if err != nil || !slices.Equal(p.Site.References, []string{plan.IDMS, plan.Rewrite}) || p.Site.ReferencesWhy == "" || p.Nodes == nil {
		t.Errorf("without a choice the plan has %+v, %v", p, err)
	}
	l.install(l.plan(three("idms", "1.0.0", 1), "references: [idms]\n"))
	sets := l.cluster.Kubectl(t, "get", "imagedigestmirrorsets,imagetagmirrorsets", "-o", "yaml")
	if strings.Count(sets, "source: ghcr.io") != 2 || strings.Count(sets, l.site.Registry.Host+"/mirror/ghcr.io") != 2 {
		t.Errorf("%s", sets)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if left := l.cluster.Kubectl(t, "get", "imagedigestmirrorsets,imagetagmirrorsets", "-o", "name", "--ignore-not-found"); strings.TrimSpace(left) != "" {
		t.Errorf("uninstalling left %s", left)
	}
}

func TestMirrorWithoutAgent(t *testing.T) {
	l := newLab(t)
	dir := l.site.Pack(t, three("noagent", "1.0.0", 1))
	l.site.Load(t, dir)
	var found []string
	_, err := l.planOf(dir, "references: [mirror]\n", event.Func(func(e event.Event) {
		if e.Finding != nil && e.Finding.Severity == event.Error {
			found = append(found, e.Finding.Code)
		}
	}))
	if err == nil || !slices.Equal(found, []string{"no-agent"}) {
		t.Errorf("findings are %q, error is %v", found, err)
	}
}
