package decide

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

var webKey = Key{"web", "web"}

// with gives release web one part.
func with(r map[Key]Rendered, parts ...Part) {
	made := r[webKey]
	made.Parts = append(made.Parts, parts...)
	r[webKey] = made
}

func TestPreflight(t *testing.T) {
	pod := func(change func(*Part)) Part {
		p := Part{Ref: object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "front", Name: "web"}, Template: "web/templates/d.yaml", Line: 3, Copies: 2,
			Containers: []Container{{Name: "c", Requests: map[string]int64{"cpu": 500}}}}
		if change != nil {
			change(&p)
		}
		return p
	}
	space := func(f *Facts, s SpaceFact) { s.Name = "front"; f.Cluster.Spaces = map[string]SpaceFact{"front": s} }
	class := "gold"
	for name, tc := range map[string]struct {
		spoil func(s *plan.Site, r map[Key]Rendered, f *Facts)
		want  string // CODE SEVERITY: part of what is said
	}{
		"clock before":  {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) { f.Cluster.Skew = 2 * time.Minute }, "clock-skew warn: 2m0s before"},
		"clock behind":  {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) { f.Cluster.Skew = -2 * time.Minute }, "clock-skew warn: 2m0s behind"},
		"clock is fine": {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) { f.Cluster.Skew = 59 * time.Second }, ""},
		"chart version": {func(_ *plan.Site, r map[Key]Rendered, _ *Facts) {
			made := r[webKey]
			made.KubeVersion, made.Problem = ">=1.99.0-0", "chart requires"
			r[webKey] = made
		}, "chart-kubernetes error: wants Kubernetes >=1.99.0-0; the cluster runs v1.34.2"},
		"no node": {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Cluster.Nodes = []NodeFact{{Name: "a", Platform: "linux/amd64"}}
		}, "no-usable-node error: none of the cluster's 1 nodes"},
		"a variant is the platform": {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Cluster.Nodes = []NodeFact{{Name: "a", Platform: "linux/amd64", Ready: true, Disk: 1 << 40}}
		}, ""},
		"old containerd, rewrite": {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Cluster.Nodes = []NodeFact{{Name: "a", Platform: "linux/amd64", Ready: true, Runtime: "containerd://1.5.2"}}
		}, ""},
		"served": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(nil))
			f.Cluster.Serves = map[string]bool{"apps/v1/Deployment": true}
		}, ""},
		"removed": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(func(p *Part) { p.APIVersion = "extensions/v1beta1" }))
			f.Cluster.Serves = map[string]bool{"apps/v1/Deployment": true}
		}, "api-removed error: Deployment front/web (web/templates/d.yaml line 3) is extensions/v1beta1"},
		"other version": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, Part{Ref: object.Ref{APIVersion: "acme.dev/v1alpha1", Kind: "Widget", Namespace: "front", Name: "w"}})
			f.Cluster.Serves = map[string]bool{"acme.dev/v1/Widget": true}
		}, "api-removed error: Widget front/w"},
		"brought by the same component": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, Part{Ref: object.Ref{APIVersion: "acme.dev/v1", Kind: "Widget", Namespace: "front", Name: "w"}},
				Part{Ref: object.Ref{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "widgets.acme.dev"}, Defines: &DefinesFact{Group: "acme.dev", Kind: "Widget", Versions: []string{"v1"}}})
			f.Cluster.Serves = map[string]bool{"apiextensions.k8s.io/v1/CustomResourceDefinition": true}
		}, ""},
		"brought too late": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			certs := r[Key{"certs", "certs"}]
			certs.Parts = []Part{{Ref: object.Ref{APIVersion: "acme.dev/v1", Kind: "Widget", Namespace: "certs", Name: "w"}}}
			r[Key{"certs", "certs"}] = certs
			with(r, Part{Ref: object.Ref{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "widgets.acme.dev"}, Defines: &DefinesFact{Group: "acme.dev", Kind: "Widget", Versions: []string{"v1"}}})
			f.Cluster.Serves = map[string]bool{"apiextensions.k8s.io/v1/CustomResourceDefinition": true}
		}, "crd-too-late error: Widget certs/w"},
		"class missing": {func(_ *plan.Site, r map[Key]Rendered, _ *Facts) {
			with(r, pod(func(p *Part) { p.Claims = []Claim{{Name: "d", Class: &class}} }))
		}, "no-storage-class error: storage class gold"},
		"class of the plan": {func(_ *plan.Site, r map[Key]Rendered, _ *Facts) {
			with(r, pod(func(p *Part) { p.Claims = []Claim{{Name: "d", Class: &class}} }), Part{Ref: object.Ref{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass", Name: "gold"}})
		}, ""},
		"class of the site": {func(s *plan.Site, _ map[Key]Rendered, _ *Facts) {
			s.StorageClass = "gold"
		}, "no-storage-class error: the site file names storage class gold"},
		"class of the site, of the plan": {func(s *plan.Site, r map[Key]Rendered, _ *Facts) {
			s.StorageClass = "gold"
			with(r, Part{Ref: object.Ref{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass", Name: "gold"}})
		}, ""},
		"classes that could not be listed": {func(s *plan.Site, r map[Key]Rendered, f *Facts) {
			s.StorageClass, f.StorageClasses = "gold", nil
			f.Cluster.Nodes = []NodeFact{{Name: "a", Platform: "linux/amd64", Ready: true, Disk: 1 << 40}}
			with(r, pod(func(p *Part) { p.Claims = []Claim{{Name: "d", Class: &class}, {Name: "e"}} }))
		}, ""},
		"baseline allows": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(func(p *Part) { p.Breaches = []Breach{{"restricted", "runs as user 0"}} }))
			space(f, SpaceFact{Enforce: "baseline"})
		}, ""},
		"baseline forbids": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(func(p *Part) { p.Breaches = []Breach{{"baseline", "hostNetwork"}} }))
			space(f, SpaceFact{Enforce: "baseline"})
		}, "pod-security error: hostNetwork"},
		"a Secret that no server takes": {func(_ *plan.Site, r map[Key]Rendered, _ *Facts) {
			with(r, Part{Ref: object.Ref{APIVersion: "v1", Kind: "Secret", Namespace: "web", Name: "pw"}, Template: "web/templates/a.yaml", Line: 3, Faults: []string{"stringData.a is not text"}})
		}, "secret-value error: Secret web/pw (web/templates/a.yaml line 3): stringData.a is not text"},
		"quota exact": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(nil))
			space(f, SpaceFact{Quotas: []QuotaFact{{Name: "q", Hard: map[string]int64{"cpu": 1500}, Used: map[string]int64{"cpu": 500}}}})
		}, ""},
		"quota too small": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(nil))
			space(f, SpaceFact{Quotas: []QuotaFact{{Name: "q", Hard: map[string]int64{"cpu": 1500}, Used: map[string]int64{"cpu": 501}}}})
		}, "quota error: leaves 999m of cpu, and the plan takes 1"},
		"quota counts what is there": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(func(p *Part) { p.Exists = true }))
			space(f, SpaceFact{Quotas: []QuotaFact{{Name: "q", Hard: map[string]int64{"cpu": 1500}, Used: map[string]int64{"cpu": 1500}}}})
		}, ""},
		"limits by default": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, pod(nil))
			space(f, SpaceFact{Quotas: []QuotaFact{{Name: "q", Hard: map[string]int64{"limits.memory": 1 << 50}}}, Ranges: []RangeFact{{Name: "r", Limits: map[string]int64{"memory": 1000 << 20}}}})
		}, ""},
		"stored version lost": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, Part{Ref: object.Ref{Kind: "CustomResourceDefinition", Name: "a.acme.dev"}, Defines: &DefinesFact{Versions: []string{"v2"}}})
			f.Cluster.Definitions = []DefinitionFact{{Name: "a.acme.dev", Stored: []string{"v1", "v2"}}}
		}, "crd-version-lost error: version v1"},
		"kept elsewhere, no conflict": {func(_ *plan.Site, r map[Key]Rendered, f *Facts) {
			with(r, Part{Ref: object.Ref{Kind: "CustomResourceDefinition", Name: "a.acme.dev"}, Defines: &DefinesFact{Versions: []string{"v1"}}})
			f.Cluster.Definitions = []DefinitionFact{{Name: "a.acme.dev", Keeper: "Flux"}}
		}, "crd-foreign warn: kept by Flux"},
		"webhook that the plan brings": {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Cluster.Webhooks = []WebhookFact{{Config: "ValidatingWebhookConfiguration x", Webhook: "w", Service: "a/b", Problem: "does not exist", Matches: []string{"Pod p"}, Ours: true}}
		}, "webhook-unanswered warn: a/b does not exist"},
		"not looked at": {func(_ *plan.Site, _ map[Key]Rendered, f *Facts) {
			f.Cluster.Unread = []string{"list admission webhooks"}
		}, "not-looked-at warn: list admission webhooks"},
	} {
		t.Run(name, func(t *testing.T) {
			_, found := decide(t, func(_ *lock.Lock, s *plan.Site, r map[Key]Rendered, f *Facts) { tc.spoil(s, r, f) })
			if tc.want == "" {
				if len(found) != 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			head, what, _ := strings.Cut(tc.want, ": ")
			code, severity, _ := strings.Cut(head, " ")
			there := slices.ContainsFunc(found, func(f event.Finding) bool {
				return f.Code == code && f.Severity == event.Severity(severity) && strings.Contains(f.What, what) && f.Why != "" && f.Hint != ""
			})
			if len(found) == 0 || !there {
				t.Errorf("not found: %s, in %+v", tc.want, found)
			}
		})
	}
}

func TestRemovedAPIsNameWhatTookTheirPlace(t *testing.T) {
	for key, want := range map[string]string{
		"extensions/v1beta1 Ingress": "networking.k8s.io/v1", "policy/v1beta1 PodSecurityPolicy": "Pod Security", "policy/v1beta1 PodDisruptionBudget": "policy/v1",
		"batch/v1beta1 CronJob": "batch/v1", "autoscaling/v2beta2 HorizontalPodAutoscaler": "autoscaling/v2", "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema": "flowcontrol.apiserver.k8s.io/v1",
		"apps/v1beta1 StatefulSet": "apps/v1", "apps/v1 Deployment": "",
	} {
		version, kind, _ := strings.Cut(key, " ")
		if got := replacementType(version, kind); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q", key, got)
		}
	}
}

func TestEstimate(t *testing.T) {
	p := &plan.Plan{Bytes: plan.Bytes{Total: 10 << 30}, Components: []plan.Component{
		{CRDs: []plan.CRD{{}}, Releases: []plan.Release{{Action: plan.Install}, {Action: plan.Keep}}}, {Manifests: []plan.Manifest{{}}},
	}}
	if e := EstimateOf(p, 1<<30); e.Pull != 10*time.Second || e.Apply != 2*perApply+perRelease || e.Total() != e.Pull+e.Apply {
		t.Errorf("%+v", e)
	}
	if e := EstimateOf(p, 0); e.Rate != DefaultRate {
		t.Errorf("rate %d", e.Rate)
	}
}
