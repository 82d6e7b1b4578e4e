package decide

import (
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

var certsKey = Key{"certs", "certs"}

// give gives a rendering more parts.
func give(r map[Key]Rendered, k Key, parts ...Part) {
	made := r[k]
	made.Parts = append(made.Parts, parts...)
	r[k] = made
}

// foundOf are the findings of a code.
func foundOf(found []event.Finding, code string) []event.Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f event.Finding) bool { return f.Code != code })
}

func TestTwoThatMakeOneObject(t *testing.T) {
	deployment := Part{Ref: object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "jobs", Name: "manager"}}
	role := Part{Ref: object.Ref{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "manager"}}
	space := Part{Ref: object.Ref{APIVersion: "v1", Kind: "Namespace", Name: "jobs"}}
	hook := Part{Ref: object.Ref{APIVersion: "batch/v1", Kind: "Job", Namespace: "jobs", Name: "check"}, Hook: true}
	_, found := decide(t, func(_ *lock.Lock, _ *plan.Site, r map[Key]Rendered, _ *Facts) {
		give(r, certsKey, deployment, role, space, hook)
		other := role
		other.APIVersion = "rbac.authorization.k8s.io/v1beta1"
		give(r, webKey, other, deployment, space, hook)
	})
	rivals := foundOf(found, event.CodeObjectTwice)
	if len(rivals) != 1 || rivals[0].Severity != event.Error {
		t.Fatalf("%+v", found)
	}
	want := "component certs (release certs) and component web (release web) both make ClusterRole manager, Deployment jobs/manager"
	if rivals[0].What != want {
		t.Errorf("found %q, want %q", rivals[0].What, want)
	}
}

// TestTwoManifestsOfOneComponent: what both say alike is no finding, and where they differ
// the later one wins.
func TestTwoManifestsOfOneComponent(t *testing.T) {
	part := func(content string) Part {
		return Part{Ref: object.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: "web", Name: "settings"}, Content: content}
	}
	for name, test := range map[string]struct {
		first, second string
		want          []string
	}{
		"alike":   {"a", "a", nil},
		"differ":  {"a", "b", []string{"warn manifests m/a.yaml and m/b.yaml of component web both have ConfigMap web/settings, and the two differ"}},
		"unknown": {"", "", []string{"warn manifests m/a.yaml and m/b.yaml of component web both have ConfigMap web/settings, and the two differ"}},
	} {
		_, found := decide(t, func(l *lock.Lock, _ *plan.Site, r map[Key]Rendered, _ *Facts) {
			web := slices.IndexFunc(l.Components, func(c lock.Component) bool { return c.Name == "web" })
			l.Components[web].Manifests = append(l.Components[web].Manifests, "m/a.yaml", "m/b.yaml")
			r[Key{"web", "m/a.yaml"}] = Rendered{Parts: []Part{part(test.first)}}
			r[Key{"web", "m/b.yaml"}] = Rendered{Parts: []Part{part(test.second)}}
		})
		var got []string
		for _, f := range foundOf(found, event.CodeObjectTwice) {
			got = append(got, string(f.Severity)+" "+f.What)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: found %q, want %q", name, got, test.want)
		}
	}
}

// TestSeveralDefiners: a kind is served in time where one of its definers is; what
// they say must be the same.
func TestSeveralDefiners(t *testing.T) {
	definition := func(content string, versions ...string) Part {
		return Part{
			Ref:     object.Ref{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "widgets.acme.dev"},
			Defines: &DefinesFact{Group: "acme.dev", Kind: "Widget", Versions: versions, Served: versions, Content: content},
		}
	}
	widget := Part{Ref: object.Ref{APIVersion: "acme.dev/v1", Kind: "Widget", Namespace: "certs", Name: "w"}}
	for name, test := range map[string]struct {
		certs, web Part
		want       string // SEVERITY of the finding that they differ
	}{
		"the same":       {definition("a", "v1"), definition("a", "v1"), ""},
		"other words":    {definition("a", "v1"), definition("b", "v1"), string(event.Warn)},
		"other versions": {definition("a", "v1"), definition("b", "v1", "v2"), string(event.Error)},
	} {
		_, found := decide(t, func(_ *lock.Lock, _ *plan.Site, r map[Key]Rendered, f *Facts) {
			give(r, certsKey, test.certs, widget)
			give(r, webKey, test.web)
			f.Cluster.Serves = map[string]bool{"apiextensions.k8s.io/v1/CustomResourceDefinition": true}
		})
		if late := foundOf(found, event.CodeCRDTooLate); len(late) > 0 {
			t.Errorf("%s: %+v", name, late)
		}
		got := ""
		for _, f := range foundOf(found, event.CodeCRDTwice) {
			got += string(f.Severity)
			if !strings.Contains(f.What, "component certs (release certs)") || !strings.Contains(f.What, "component web (release web)") {
				t.Errorf("%s: %q names only one", name, f.What)
			}
		}
		if got != test.want {
			t.Errorf("%s: found %q, want %q", name, got, test.want)
		}
	}
}

// TestOwnWebhooksOrderComponents: what a webhook of the plan guards comes after it,
// unless the component that brings it needs the guarded one.
func TestOwnWebhooksOrderComponents(t *testing.T) {
	guard := GuardFact{
		Component: "certs", Config: "MutatingWebhookConfiguration certs", Webhook: "mjob.acme.dev",
		Guards: map[string][]string{"web": {"Job web/init", "Job web/late"}},
	}
	for name, test := range map[string]struct {
		change func(l *lock.Lock, r map[Key]Rendered)
		needs  string // of web and of certs in the plan
		told   int
	}{
		"side by side": {func(l *lock.Lock, _ map[Key]Rendered) { needs(l, "web"); needs(l, "certs") }, "certs|", 1},
		"after it":     {func(l *lock.Lock, _ map[Key]Rendered) { needs(l, "web", "certs"); needs(l, "certs") }, "certs|", 0},
		"before it":    {func(l *lock.Lock, _ map[Key]Rendered) { needs(l, "web"); needs(l, "certs", "web") }, "|web", 0},
		"it uses a kind of the other": {func(l *lock.Lock, r map[Key]Rendered) {
			needs(l, "web")
			needs(l, "certs")
			give(r, webKey, Part{Ref: object.Ref{Kind: "CustomResourceDefinition", Name: "w"}, Defines: &DefinesFact{Group: "acme.dev", Kind: "Widget"}})
			give(r, certsKey, Part{Ref: object.Ref{APIVersion: "acme.dev/v1", Kind: "Widget", Name: "x"}})
		}, "|", 0},
	} {
		p, found := decide(t, func(l *lock.Lock, _ *plan.Site, r map[Key]Rendered, f *Facts) {
			test.change(l, r)
			f.Cluster.Guards = []GuardFact{guard, guard}
		})
		if p == nil {
			t.Fatalf("%s: %+v", name, found)
		}
		web, _ := p.Component("web")
		certs, _ := p.Component("certs")
		if got := strings.Join(web.Needs, ",") + "|" + strings.Join(certs.Needs, ","); got != test.needs {
			t.Errorf("%s: needs %q, want %q", name, got, test.needs)
		}
		if got := foundOf(found, event.CodeWebhookOrder); len(got) != test.told {
			t.Errorf("%s: told %+v", name, got)
		} else if test.told == 1 && !strings.Contains(got[0].What, "component web is installed after certs: webhook mjob.acme.dev") {
			t.Errorf("%s: %q", name, got[0].What)
		}
	}
}

// needs says what a component of the lock needs.
func needs(l *lock.Lock, name string, list ...string) {
	for i := range l.Components {
		if l.Components[i].Name == name {
			l.Components[i].Needs = list
		}
	}
}

// TestSilentWebhooksAreToldOnce: one finding for a configuration, and nobody is told to
// delete what the stack brings.
func TestSilentWebhooksAreToldOnce(t *testing.T) {
	_, found := decide(t, func(_ *lock.Lock, _ *plan.Site, _ map[Key]Rendered, f *Facts) {
		foreign := WebhookFact{Config: "ValidatingWebhookConfiguration x", Webhook: "a.x", Service: "x/x", Problem: "has no ready endpoint", Matches: []string{"Job web/a"}}
		second := foreign
		second.Webhook = "b.x"
		own := WebhookFact{Config: "MutatingWebhookConfiguration certs", Webhook: "c.x", Problem: "does not answer: refused", Matches: []string{"Job web/a"}, Component: "certs"}
		f.Cluster.Webhooks = []WebhookFact{foreign, second, own}
	})
	got := foundOf(found, event.CodeWebhookUnanswered)
	if len(got) != 2 || got[0].Severity != event.Error || got[1].Severity != event.Warn {
		t.Fatalf("%+v", got)
	}
	if !strings.Contains(got[0].What, "webhook a.x (and 1 more) of ValidatingWebhookConfiguration x") || !strings.Contains(got[0].Hint, "kubectl delete") {
		t.Errorf("%+v", got[0])
	}
	if strings.Contains(got[1].Hint, "delete") || !strings.Contains(got[1].Hint, "caisson install PLAN --component certs") || !strings.Contains(got[1].What, "it does not answer") {
		t.Errorf("%+v", got[1])
	}
}
