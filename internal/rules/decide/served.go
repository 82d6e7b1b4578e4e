package decide

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/event"
)

// removed says what became of APIs that Kubernetes once served, by
// group/version/kind. "*" is every kind of the version.
var removed = map[string]string{
	"extensions/v1beta1/Ingress":                                    "networking.k8s.io/v1 (gone since 1.22)",
	"extensions/v1beta1/Deployment":                                 "apps/v1 (gone since 1.16)",
	"extensions/v1beta1/DaemonSet":                                  "apps/v1 (gone since 1.16)",
	"extensions/v1beta1/ReplicaSet":                                 "apps/v1 (gone since 1.16)",
	"extensions/v1beta1/NetworkPolicy":                              "networking.k8s.io/v1 (gone since 1.16)",
	"extensions/v1beta1/PodSecurityPolicy":                          "Pod Security labels on the namespace (gone since 1.16)",
	"apps/v1beta1/*":                                                "apps/v1 (gone since 1.16)",
	"apps/v1beta2/*":                                                "apps/v1 (gone since 1.16)",
	"networking.k8s.io/v1beta1/Ingress":                             "networking.k8s.io/v1 (gone since 1.22)",
	"networking.k8s.io/v1beta1/IngressClass":                        "networking.k8s.io/v1 (gone since 1.22)",
	"policy/v1beta1/PodSecurityPolicy":                              "Pod Security labels on the namespace (gone since 1.25)",
	"policy/v1beta1/PodDisruptionBudget":                            "policy/v1 (gone since 1.25)",
	"batch/v1beta1/CronJob":                                         "batch/v1 (gone since 1.25)",
	"batch/v2alpha1/CronJob":                                        "batch/v1 (gone since 1.21)",
	"discovery.k8s.io/v1beta1/EndpointSlice":                        "discovery.k8s.io/v1 (gone since 1.25)",
	"events.k8s.io/v1beta1/Event":                                   "events.k8s.io/v1 (gone since 1.25)",
	"node.k8s.io/v1beta1/RuntimeClass":                              "node.k8s.io/v1 (gone since 1.25)",
	"autoscaling/v2beta1/HorizontalPodAutoscaler":                   "autoscaling/v2 (gone since 1.25)",
	"autoscaling/v2beta2/HorizontalPodAutoscaler":                   "autoscaling/v2 (gone since 1.26)",
	"flowcontrol.apiserver.k8s.io/v1alpha1/*":                       "flowcontrol.apiserver.k8s.io/v1 (gone since 1.21)",
	"flowcontrol.apiserver.k8s.io/v1beta1/*":                        "flowcontrol.apiserver.k8s.io/v1 (gone since 1.26)",
	"flowcontrol.apiserver.k8s.io/v1beta2/*":                        "flowcontrol.apiserver.k8s.io/v1 (gone since 1.29)",
	"flowcontrol.apiserver.k8s.io/v1beta3/*":                        "flowcontrol.apiserver.k8s.io/v1 (gone since 1.32)",
	"storage.k8s.io/v1beta1/*":                                      "storage.k8s.io/v1",
	"rbac.authorization.k8s.io/v1alpha1/*":                          "rbac.authorization.k8s.io/v1 (gone since 1.22)",
	"rbac.authorization.k8s.io/v1beta1/*":                           "rbac.authorization.k8s.io/v1 (gone since 1.22)",
	"admissionregistration.k8s.io/v1beta1/*":                        "admissionregistration.k8s.io/v1",
	"apiextensions.k8s.io/v1beta1/CustomResourceDefinition":         "apiextensions.k8s.io/v1 (gone since 1.22)",
	"apiregistration.k8s.io/v1beta1/APIService":                     "apiregistration.k8s.io/v1 (gone since 1.22)",
	"authentication.k8s.io/v1beta1/TokenReview":                     "authentication.k8s.io/v1 (gone since 1.22)",
	"authorization.k8s.io/v1beta1/*":                                "authorization.k8s.io/v1 (gone since 1.22)",
	"certificates.k8s.io/v1beta1/CertificateSigningRequest":         "certificates.k8s.io/v1 (gone since 1.22)",
	"coordination.k8s.io/v1beta1/Lease":                             "coordination.k8s.io/v1 (gone since 1.22)",
	"scheduling.k8s.io/v1alpha1/PriorityClass":                      "scheduling.k8s.io/v1 (gone since 1.17)",
	"scheduling.k8s.io/v1beta1/PriorityClass":                       "scheduling.k8s.io/v1 (gone since 1.22)",
	"resource.k8s.io/v1alpha2/*":                                    "resource.k8s.io/v1",
	"resource.k8s.io/v1alpha3/*":                                    "resource.k8s.io/v1",
	"snapshot.storage.k8s.io/v1beta1/*":                             "snapshot.storage.k8s.io/v1",
	"admissionregistration.k8s.io/v1alpha1/MutatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
}

// replacementType is what stands for a type that is no longer served; "" where
// nothing is known.
func replacementType(apiVersion, kind string) string {
	if r := removed[apiVersion+"/"+kind]; r != "" {
		return r
	}
	return removed[apiVersion+"/*"]
}

// checkServed finds objects whose type the cluster does not serve, and no definition
// of the plan brings in time.
func (m *maker) checkServed() {
	if m.facts.Cluster.Serves == nil {
		return
	}
	parts := m.allParts()
	bring := map[string][]ownedPart{} // each definer
	for _, p := range parts {
		if p.Defines != nil {
			for _, v := range p.Defines.served() {
				key := p.Defines.Group + "/" + v + "/" + p.Defines.Kind
				bring[key] = append(bring[key], p)
			}
		}
	}
	for _, p := range parts {
		key := p.APIVersion + "/" + p.Kind
		if m.facts.Cluster.Serves[key] {
			continue
		}
		if by := bring[key]; len(by) > 0 {
			m.checkInTime(p, by)
			continue
		}
		m.reportUnserved(p)
	}
}

// served are the versions that a definition serves.
func (d *DefinesFact) served() []string {
	if d.Served == nil {
		return d.Versions
	}
	return d.Served
}

// checkInTime finds an object that comes before each of its definitions.
func (m *maker) checkInTime(p ownedPart, definers []ownedPart) {
	inTime := func(by ownedPart) bool {
		return p.component == by.component || m.needsComponent(p.component, by.component)
	}
	if slices.ContainsFunc(definers, inTime) {
		return
	}
	by := definers[0]
	m.addFinding(event.Finding{
		Severity: event.Error, Code: event.CodeCRDTooLate, Item: p.component,
		What: fmt.Sprintf("%s (%s) is of a kind that component %s defines, and component %s does not need that one", p, p.location(), by.component, p.component),
		Why:  "it may be made before its kind exists",
		Hint: fmt.Sprintf("add %s to needs: of component %s in the stack and pack again", by.component, p.component),
	})
}

// needsComponent says whether component a needs b, through others as well.
func (m *maker) needsComponent(a, b string) bool {
	if m.needs == nil {
		m.needs = map[string]map[string]bool{}
	}
	if m.needs[a] == nil {
		m.needs[a] = m.findNeeds(a)
	}
	return m.needs[a][b]
}

// findNeeds are all components that one needs, through others as well. It goes to each
// once.
func (m *maker) findNeeds(name string) map[string]bool {
	direct := map[string][]string{}
	for _, c := range m.selection.Components {
		direct[c.Component.Name] = c.Component.Needs
	}
	found := map[string]bool{}
	open := []string{name}
	for len(open) > 0 {
		next := open[len(open)-1]
		open = open[:len(open)-1]
		for _, n := range direct[next] {
			if !found[n] {
				found[n] = true
				open = append(open, n)
			}
		}
	}
	return found
}

func (m *maker) reportUnserved(p ownedPart) {
	f := event.Finding{
		Severity: event.Error, Code: event.CodeAPIRemoved, Item: p.component,
		What: fmt.Sprintf("%s (%s) is %s, which Kubernetes %s does not serve", p, p.location(), p.APIVersion, m.facts.Version),
		Why:  "the API server refuses it",
	}
	group, _, grouped := strings.Cut(p.APIVersion, "/")
	switch r := replacementType(p.APIVersion, p.Kind); {
	case r != "":
		f.Hint = "its place is taken by " + r + ": use a newer chart, or the value that turns the object off"
	case !grouped || !strings.Contains(group, ".") || m.othersOf(group, p.Kind) != "":
		f.Hint = "use a newer chart, or the value that turns the object off"
		if there := m.othersOf(group, p.Kind); there != "" {
			f.Hint = "the cluster serves the kind as " + there + ": " + f.Hint
		}
	default:
		f.Severity, f.Code = event.Warn, event.CodeKindUnknown
		f.Why = "no definition of the plan brings it; the object waits for a component that makes it known while it runs"
		f.Hint = "add the definition to the stack, or the component that brings it to needs: of " + p.component
	}
	m.addFinding(f)
}

// othersOf is the apiVersion under which the cluster serves a kind of the group.
func (m *maker) othersOf(group, kind string) string {
	found := ""
	for key := range m.facts.Cluster.Serves {
		if strings.HasPrefix(key, group+"/") && strings.HasSuffix(key, "/"+kind) && (found == "" || key < found) {
			found = key
		}
	}
	return strings.TrimSuffix(found, "/"+kind)
}
