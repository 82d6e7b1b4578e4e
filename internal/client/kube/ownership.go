package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// ownership is who manages the fields of a live object, as its managedFields say
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/).
type ownership struct {
	ours   *fieldpath.Set
	others []foreignFields
}

// foreignFields are those that another manager has.
type foreignFields struct {
	manager string
	scaling bool // through the scale subresource
	fields  *fieldpath.Set
}

// ownershipOf reads who manages what. The status, which no chart applies, is left
// out, and so is an entry that cannot be read.
func ownershipOf(live *unstructured.Unstructured) ownership {
	out := ownership{ours: fieldpath.NewSet()}
	for _, e := range live.GetManagedFields() {
		set := fieldpath.NewSet()
		if e.FieldsV1 == nil || (e.Subresource != "" && e.Subresource != "scale") || set.FromJSON(e.FieldsV1.GetRawReader()) != nil {
			continue
		}
		if e.Manager == Manager {
			out.ours = out.ours.Union(set)
			continue
		}
		out.others = append(out.others, foreignFields{manager: e.Manager, scaling: e.Subresource == "scale", fields: set})
	}
	return out
}

// holds says whether a set has the element, or anything below it.
func holds(set *fieldpath.Set, e fieldpath.PathElement) bool {
	_, below := set.Children.Get(e)
	return below || set.Members.Has(e)
}

// childSet is what a set has below an element.
func childSet(set *fieldpath.Set, e fieldpath.PathElement) *fieldpath.Set {
	if below, ok := set.Children.Get(e); ok {
		return below
	}
	return fieldpath.NewSet()
}

// yieldTo makes of u what applying it over live takes nothing from others that is theirs.
func yieldTo(live, u *unstructured.Unstructured) {
	leaveFilled(u, live)
	adoptForms(u, live)
}

// leaveFilled takes out of u what it has as empty and others have filled in live:
// what a controller puts where a chart renders nothing, as the certificate in a
// Secret, is not taken back.
func leaveFilled(u, live *unstructured.Unstructured) {
	leaveFilledFields(u.Object, live.Object, ownershipOf(live).ours)
}

func leaveFilledFields(want, live map[string]any, ours *fieldpath.Set) {
	for key, value := range want {
		there, ok := live[key]
		if !ok {
			continue
		}
		e := fieldpath.FieldNameElement(key)
		if isEmpty(value) && !isEmpty(there) && !holds(ours, e) {
			delete(want, key)
			continue
		}
		leaveFilledBelow(value, there, childSet(ours, e), ours.Members.Has(e))
	}
}

// leaveFilledBelow goes on inside of maps and of lists whose elements have names.
// whole: the value is managed as one, so that leaving out a part would remove it.
func leaveFilledBelow(want, live any, ours *fieldpath.Set, whole bool) {
	whole = whole && ours.Empty()
	switch want := want.(type) {
	case map[string]any:
		if there, ok := live.(map[string]any); ok && !whole {
			leaveFilledFields(want, there, ours)
		}
	case []any:
		there, ok := live.([]any)
		if !ok || ours.Empty() {
			return
		}
		wanted, named := byName(want)
		found, alsoNamed := byName(there)
		if !named || !alsoNamed {
			return
		}
		for name, e := range wanted {
			if f, ok := found[name].(map[string]any); ok {
				leaveFilledFields(e.(map[string]any), f, childSet(ours, fieldpath.KeyElementByFields("name", name)))
			}
		}
	}
}

// adoptForms gives values of a custom resource the form that live has them in, where that
// says the same: a controller that wrote 4 as "4" would write it again each time it is
// applied. Of its own kinds, Kubernetes knows itself what says the same.
func adoptForms(u, live *unstructured.Unstructured) {
	if isCustom(u) {
		adoptFields(u.Object, live.Object)
	}
}

func adoptFields(want, live map[string]any) {
	for key, value := range want {
		if there, ok := live[key]; ok && key != "metadata" {
			want[key] = adoptForm(value, there)
		}
	}
}

func adoptForm(want, live any) any {
	switch w := want.(type) {
	case map[string]any:
		if there, ok := live.(map[string]any); ok {
			adoptFields(w, there)
		}
	case []any:
		there, _ := live.([]any)
		found, named := byName(there)
		for i, e := range w {
			m, _ := e.(map[string]any)
			name, _ := m["name"].(string)
			switch {
			case named && found[name] != nil:
				w[i] = adoptForm(e, found[name])
			case !named && len(there) == len(w):
				w[i] = adoptForm(e, there[i])
			}
		}
	default:
		if live != nil && sameInOtherForm(want, live) {
			return live
		}
	}
	return want
}

// isEmpty says whether a chart that renders v renders nothing: "", {}, [], and the
// newline in base64 that code generators put where a CA bundle will be.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == "" || v == "Cg=="
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// addition is a field that another manager put into an object, where nothing was
// applied.
type addition struct {
	manager string
	scaling bool
	path    []string // as people read it, one element each: spec, containers[main]
	pointer []string // as JSON Pointer has it (RFC 6901), not escaped
	value   any
}

func (a addition) String() string { return strings.Join(a.path, ".") }

// additions lists what others added to a live object, the topmost field of each.
// Values that were applied and that another manager changed are not among them:
// comparing finds those.
func additions(live *unstructured.Unstructured) []addition {
	owners := ownershipOf(live)
	var out []addition
	for _, o := range owners.others {
		w := additionWalk{found: &out, addition: addition{manager: o.manager, scaling: o.scaling}}
		w.walk(o.fields, owners.ours, live.Object)
	}
	return out
}

type additionWalk struct {
	addition
	found *[]addition
}

func (w additionWalk) walk(theirs, ours *fieldpath.Set, value any) {
	for _, e := range elementsOf(theirs) {
		next, ok := w.descend(e, value)
		if !ok || len(next.path) == 1 && next.path[0] == "status" {
			continue
		}
		if !holds(ours, e) && !(e.FieldName != nil && *e.FieldName == "annotations") { // of these each counts by itself
			*w.found = append(*w.found, next.addition)
			continue
		}
		if below, ok := theirs.Children.Get(e); ok {
			next.walk(below, childSet(ours, e), next.value)
		}
	}
}

// elementsOf lists what a set has at its top, in order.
func elementsOf(set *fieldpath.Set) []fieldpath.PathElement {
	var out []fieldpath.PathElement
	set.Members.Iterate(func(e fieldpath.PathElement) { out = append(out, e) })
	set.Children.Iterate(func(e fieldpath.PathElement) { out = append(out, e) })
	slices.SortFunc(out, fieldpath.PathElement.Compare)
	return slices.CompactFunc(out, fieldpath.PathElement.Equals)
}

// descend follows one element; false where the object does not have it.
func (w additionWalk) descend(e fieldpath.PathElement, value any) (additionWalk, bool) {
	if e.FieldName != nil {
		m, _ := value.(map[string]any)
		v, ok := m[*e.FieldName]
		return w.at(append(slices.Clone(w.path), *e.FieldName), *e.FieldName, v), ok
	}
	list, _ := value.([]any)
	i := slices.IndexFunc(list, func(v any) bool { return matchesElement(e, v) })
	if e.Index != nil && *e.Index < len(list) {
		i = *e.Index
	}
	if i < 0 || len(w.path) == 0 {
		return w, false
	}
	path := slices.Clone(w.path)
	path[len(path)-1] += "[" + nameOfElement(list[i], i) + "]"
	return w.at(path, strconv.Itoa(i), list[i]), true
}

func (w additionWalk) at(path []string, token string, value any) additionWalk {
	w.path, w.pointer, w.value = path, append(slices.Clone(w.pointer), token), value
	return w
}

// matchesElement says whether a list's element is the one that e names by its keys
// or its value.
func matchesElement(e fieldpath.PathElement, v any) bool {
	if e.Value != nil {
		return fmt.Sprint((*e.Value).Unstructured()) == fmt.Sprint(v)
	}
	m, isMap := v.(map[string]any)
	if !isMap || e.Key == nil {
		return false
	}
	for _, k := range *e.Key {
		if fmt.Sprint(k.Value.Unstructured()) != fmt.Sprint(m[k.Name]) {
			return false
		}
	}
	return true
}

func nameOfElement(v any, i int) string {
	m, _ := v.(map[string]any)
	name, _ := m["name"].(string)
	return cmp.Or(name, strconv.Itoa(i))
}

// people are the field managers of tools by which somebody changes objects by hand,
// by the beginnings of their names. The names of client libraries are not among them:
// controllers have them too.
var people = []string{"kubectl", "oc", "k9s", "helm", "Lens", "OpenLens", "freelens", "Mozilla", "dashboard", "headlamp", "rancher", "curl"}

// byHand says whether a manager is such a tool. Its name ends there or goes on with
// what is no letter, like kubectl-edit.
func byHand(manager string) bool {
	return slices.ContainsFunc(people, func(tool string) bool {
		rest, ok := strings.CutPrefix(manager, tool)
		return ok && (rest == "" || !isLetter(rest[0]))
	})
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// settled are kinds that no controller adds to, but for those of the cluster itself:
// what another manager added to one was put there by somebody. Services and Ingresses
// are not among them: load balancers and issuers of certificates add to those.
var settled = map[string]bool{
	"apps/Deployment": true, "apps/StatefulSet": true, "apps/DaemonSet": true, "batch/CronJob": true,
	"rbac.authorization.k8s.io/Role": true, "rbac.authorization.k8s.io/RoleBinding": true,
	"rbac.authorization.k8s.io/ClusterRole": true, "rbac.authorization.k8s.io/ClusterRoleBinding": true,
	"networking.k8s.io/NetworkPolicy": true, "policy/PodDisruptionBudget": true,
}

// clusterManagers are the cluster's own.
var clusterManagers = map[string]bool{
	"kube-controller-manager": true, "kube-apiserver": true, "kube-scheduler": true, "kubelet": true,
	"cloud-controller-manager": true, "clusterrole-aggregation-controller": true,
}

// harmless are fields that tools write when they do what they are meant to.
var harmless = map[string]bool{"kubectl.kubernetes.io/restartedAt": true}

// isTampering says whether an addition changes what was installed. What a controller
// adds to objects that controllers serve is its work, labels and annotations of the
// object itself change nothing in it, and more keys of a ConfigMap or Secret are often
// what a chart leaves to the operator.
func (a addition) isTampering(u *unstructured.Unstructured) bool {
	gvk := u.GroupVersionKind()
	switch {
	case a.path[0] == "metadata" || harmless[a.pointer[len(a.pointer)-1]]:
		return false
	case gvk.Group == "" && (gvk.Kind == "ConfigMap" || gvk.Kind == "Secret"):
		return false
	case byHand(a.manager):
		return true
	}
	return settled[gvk.Group+"/"+gvk.Kind] && !clusterManagers[a.manager] && !a.scaling
}

// Kept are fields of an object that another manager keeps and that are not compared.
type Kept struct {
	Manager string   `json:"manager"`
	Fields  []string `json:"fields"` // sorted
}

func keptFields(list []addition) []Kept {
	fields := map[string]map[string]bool{}
	for _, a := range list {
		if a.path[0] == "metadata" && clusterManagers[a.manager] {
			continue // as the revision of a Deployment: every object of the kind has it
		}
		if fields[a.manager] == nil {
			fields[a.manager] = map[string]bool{}
		}
		fields[a.manager][a.String()] = true
	}
	var out []Kept
	for _, manager := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, Kept{Manager: manager, Fields: slices.Sorted(maps.Keys(fields[manager]))})
	}
	return out
}
