package preflight_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: {{ .Release.Name }}}\nspec: {containers: [{name: c, image: {{ .Values.image | default \"ghcr.io/acme/web:1\" | quote }}}]}\n"

func stack() stacktest.Stack {
	return stacktest.Stack{Components: []stacktest.Component{
		{Name: "web", Namespace: "survey-web", Charts: []stacktest.Chart{{Release: "web", Files: map[string]string{"templates/p.yaml": pod}}}, Images: []string{"ghcr.io/acme/web:1"}},
		{Name: "extra", Optional: true, Needs: []string{"web"}, Manifests: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"}},
	}}
}

// runPlan plans and returns the plan, the codes of the findings and the error.
func runPlan(t *testing.T, s *stacktest.Site, dir, site string) (*plan.Plan, []string, error) {
	t.Helper()
	var codes []string
	out := filepath.Join(t.TempDir(), "plan.json")
	p, err := preflight.Run(t.Context(), preflight.Options{
		Paths: []string{dir}, Keys: []string{s.KeyFile}, Site: s.File(t, site), Output: out, Kubeconfig: clustertest.Start(t).Kubeconfig,
	}, event.Func(func(e event.Event) {
		if e.Finding != nil {
			codes = append(codes, e.Finding.Code)
		}
	}))
	if _, missing := os.Stat(out); (missing == nil) != (err == nil) {
		t.Errorf("error %v, plan file: %v", err, missing)
	}
	return p, codes, err
}

func TestPlanOfARealSite(t *testing.T) {
	clustertest.Start(t)
	s := stacktest.NewSite(t, true)
	dir := s.Pack(t, stack())

	t.Run("images not loaded", func(t *testing.T) {
		_, codes, err := runPlan(t, s, dir, "")
		if !errors.Is(err, plan.ErrPreflight) || !slices.Equal(codes, []string{"image-not-in-registry", "registry-disk"}) {
			t.Errorf("%q, %v", codes, err)
		}
	})
	s.Load(t, dir)
	t.Run("everything there", func(t *testing.T) {
		p, codes, err := runPlan(t, s, dir, "")
		if err != nil || len(codes) != 0 || len(p.Components) != 2 || len(p.Images) != 1 || p.Cluster.UID == "" || p.Bytes.Missing != 0 || p.Bytes.Total == 0 {
			t.Fatalf("%+v, %q, %v", p, codes, err)
		}
		again, _, err := runPlan(t, s, dir, "")
		if err != nil {
			t.Fatal(err)
		}
		one, _ := p.Digest()
		if two, _ := again.Digest(); one != two {
			t.Errorf("planned twice: %s and %s", one, two)
		}
	})
	t.Run("everything wrong at once", func(t *testing.T) {
		site := "storageClass: none\ncomponents: {web: {values: {web: {image: docker.io/evil/x:1}}}}\n"
		_, codes, err := runPlan(t, s, dir, site)
		slices.Sort(codes)
		if !errors.Is(err, plan.ErrPreflight) || !slices.Equal(codes, []string{"image-outside-bundle", "no-storage-class"}) {
			t.Errorf("%q, %v", codes, err)
		}
	})
	t.Run("two bundles", func(t *testing.T) {
		other := stack()
		other.Name = "other"
		_, err := preflight.Run(t.Context(), preflight.Options{Paths: []string{dir, s.Pack(t, other)}, Keys: []string{s.KeyFile}, Site: s.File(t, ""), Kubeconfig: clustertest.Start(t).Kubeconfig}, event.Discard)
		if !errors.Is(err, cargo.ErrSeveral) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("registry away", func(t *testing.T) {
		gone := stacktest.NewSite(t, true)
		gone.Key, gone.KeyFile = s.Key, s.KeyFile
		gone.Registry.Host = "127.0.0.1:1"
		_, codes, err := runPlan(t, gone, dir, "")
		if !errors.Is(err, plan.ErrPreflight) || !slices.Equal(codes, []string{"registry-unreachable"}) {
			t.Errorf("%q, %v", codes, err)
		}
	})
	t.Run("a user without rights", func(t *testing.T) {
		c := clustertest.Start(t)
		weak := filepath.Join(t.TempDir(), "kubeconfig")
		raw, err := os.ReadFile(c.Kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(weak, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		c.Kubectl(t, "create", "clusterrolebinding", "survey-view", "--clusterrole=view", "--serviceaccount=default:default")
		c.Kubectl(t, "create", "clusterrole", "survey-read", "--verb=get,list", "--resource=nodes,customresourcedefinitions,storageclasses,secrets")
		c.Kubectl(t, "create", "clusterrolebinding", "survey-read", "--clusterrole=survey-read", "--serviceaccount=default:default")
		token := c.Kubectl(t, "create", "token", "default", "-n", "default")
		c.Kubectl(t, "--kubeconfig", weak, "config", "set-credentials", "weak", "--token="+token)
		c.Kubectl(t, "--kubeconfig", weak, "config", "set-context", "--current", "--user=weak")
		var denied []string
		_, err = preflight.Run(t.Context(), preflight.Options{Paths: []string{dir}, Keys: []string{s.KeyFile}, Site: s.File(t, ""), Kubeconfig: weak}, event.Func(func(e event.Event) {
			if e.Finding != nil && e.Finding.Code == "not-allowed" {
				denied = append(denied, e.Finding.What)
			}
		}))
		const want = "the operator may not create, patch, delete pods in namespace survey-web"
		if !errors.Is(err, plan.ErrPreflight) || len(denied) != 6 || !slices.Contains(denied, want) {
			t.Errorf("missing rights are %q, %v", denied, err)
		}
	})
	t.Run("no cluster", func(t *testing.T) {
		_, err := preflight.Run(t.Context(), preflight.Options{Paths: []string{dir}, Keys: []string{s.KeyFile}, Site: s.File(t, ""), Kubeconfig: "/does/not/exist"}, event.Discard)
		if err == nil || errors.Is(err, kube.ErrUnreachable) {
			t.Errorf("error is %v", err)
		}
	})
}
