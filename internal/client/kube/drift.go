package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/rules/document"
)

// Difference is one field that is not as it was applied. Want or Have is empty
// where the field is absent. Both are where they could hold a secret, and where the
// field is a mapping or a list.
type Difference struct {
	Path string `json:"path"` // spec.template.spec.containers[main].image
	Want string `json:"want,omitempty"`
	Have string `json:"have,omitempty"`
}

// String reads "spec.replicas is 5, applied was 2".
func (d Difference) String() string {
	switch {
	case d.Want == "" && d.Have == "":
		return d.Path + " was changed"
	case d.Want == "":
		return fmt.Sprintf("%s is %s, applied was nothing", d.Path, d.Have)
	case d.Have == "":
		return fmt.Sprintf("%s is gone, applied was %s", d.Path, d.Want)
	}
	return fmt.Sprintf("%s is %s, applied was %s", d.Path, d.Have, d.Want)
}

// maxDifferences bounds what is told of one object.
const maxDifferences = 20

// Comparison is a live object beside what was applied.
type Comparison struct {
	Differences []Difference
	Kept        []Kept // by others, and not compared
}

// Comparer compares objects with what was applied. It is for one look at a cluster: where
// the server refused a comparison for want of a webhook's answer, which takes it up to
// half a minute, the next objects of the same kind and namespace are not tried.
type Comparer struct {
	cluster *Client
	mu      sync.Mutex
	refused map[string]error // by kind and namespace
}

// NewComparer begins a look.
func (c *Client) NewComparer() *Comparer {
	return &Comparer{cluster: c, refused: map[string]error{}}
}

// Compare says where the live object differs from u in what applying u, with opt,
// put there: the server is asked what applying it again would make of it. What
// others added counts where it changes what was applied. Not compared are fields
// that others are meant to fill: those that u has as empty, injected CA bundles,
// what controllers add to the objects they serve, and the replicas of what an
// autoscaler scales. A missing object is apierrors.IsNotFound, and an error that
// SilentWebhook knows tells that a webhook which may guard the object did not answer twice.
// Nothing is changed.
func (r *Comparer) Compare(ctx context.Context, u *unstructured.Unstructured, opt ApplyOptions) (Comparison, error) {
	u = u.DeepCopy()
	resource, err := r.cluster.resourceFor(u, opt.Namespace)
	if err != nil {
		return Comparison{}, err
	}
	live, err := resource.Get(ctx, u.GetName(), metav1.GetOptions{})
	if err != nil {
		return Comparison{}, err
	}
	guarded := u.GroupVersionKind().GroupKind().String() + " " + live.GetNamespace()
	if err := r.refusal(guarded); err != nil {
		return Comparison{}, err
	}
	found, err := r.cluster.compareLive(ctx, resource, live, u.DeepCopy(), opt)
	if _, silent := SilentWebhook(err); silent {
		found, err = r.cluster.compareLive(ctx, resource, live, u, opt) // one that is slow once is not silent
	}
	if _, silent := SilentWebhook(err); silent {
		r.noteRefusal(guarded, err)
	}
	return found, err
}

func (r *Comparer) refusal(guarded string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[guarded]
}

func (r *Comparer) noteRefusal(guarded string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[guarded] = err
}

// compareLive compares until no controller writes between the two answers of the server
// that are compared.
func (c *Client) compareLive(ctx context.Context, resource dynamic.ResourceInterface, live, u *unstructured.Unstructured, opt ApplyOptions) (Comparison, error) {
	for range compareTries {
		found, err := c.compareOnce(ctx, resource, live, u.DeepCopy(), opt)
		if err != nil || len(found.Differences) == 0 {
			return found, err
		}
		later, err := resource.Get(ctx, u.GetName(), metav1.GetOptions{})
		if err != nil {
			return Comparison{}, err
		}
		if later.GetResourceVersion() == live.GetResourceVersion() {
			return found, nil
		}
		live = later
	}
	return c.compareOnce(ctx, resource, live, u, opt)
}

// compareTries bounds how often an object that keeps changing is compared anew.
const compareTries = 4

func (c *Client) compareOnce(ctx context.Context, resource dynamic.ResourceInterface, live, u *unstructured.Unstructured, opt ApplyOptions) (Comparison, error) {
	prepareForApply(u, ownerOver(live, opt.Owner))
	if isMarkedMade(live) {
		markMade(u)
	}
	yieldTo(live, u)
	d := newDiffer(u)
	d.live = true
	if !isAsApplied(live, u) {
		again, err := applyVia(ctx, resource, u, metav1.ApplyOptions{Force: true, DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) {
			return Comparison{Differences: []Difference{{Path: "a field that cannot be changed back"}}}, nil
		}
		if err != nil {
			return Comparison{}, fmt.Errorf("comparing %s: %w", object.RefOf(u), err)
		}
		d.compareValues("", withoutServerFields(again), withoutServerFields(live))
	}
	kept := d.addForeign(live, isAdopted(live, opt.Owner))
	out := Comparison{Differences: d.found, Kept: keptFields(kept)}
	out.Differences = slices.DeleteFunc(out.Differences, func(f Difference) bool { return f.Path == "spec.replicas" && c.isAutoscaled(ctx, live) })
	return out, nil
}

// withoutServerFields is an object without what the server keeps in it.
func withoutServerFields(u *unstructured.Unstructured) map[string]any {
	out := u.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"} {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	delete(out.Object, "status")
	return out.Object
}

// isAutoscaled says whether an autoscaler sets the replicas of u.
func (c *Client) isAutoscaled(ctx context.Context, u *unstructured.Unstructured) bool {
	list, err := c.Core.AutoscalingV2().HorizontalPodAutoscalers(u.GetNamespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false
	}
	for _, h := range list.Items {
		if h.Spec.ScaleTargetRef.Kind == u.GetKind() && h.Spec.ScaleTargetRef.Name == u.GetName() {
			return true
		}
	}
	return false
}

type differ struct {
	secret bool
	live   bool // the second is a live object, which controllers may have written in their own form
	custom bool // of a custom resource
	found  []Difference
}

func newDiffer(u *unstructured.Unstructured) *differ {
	return &differ{secret: document.IsSecret(u.Object), custom: isCustom(u)}
}

// addForeign adds what others put into the object and that changes what was applied.
// It returns what else they added; in an object that was adopted that is all.
func (d *differ) addForeign(live *unstructured.Unstructured, adopted bool) (kept []addition) {
	for _, a := range additions(live) {
		if !adopted && a.isTampering(live) {
			d.addDifference(a.String(), nil, a.value)
			continue
		}
		kept = append(kept, a)
	}
	return kept
}

func (d *differ) addDifference(path string, want, have any) {
	if len(d.found) >= maxDifferences {
		return
	}
	f := Difference{Path: path}
	if !d.secret && !isPrivate(path, want) && !isPrivate(path, have) {
		f.Want, f.Have = briefValue(want), briefValue(have)
	}
	d.found = append(d.found, f)
}

// briefValue is a value as people read it.
func briefValue(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if r := []rune(string(text)); len(r) > 120 {
		return string(r[:117]) + "..."
	}
	return string(text)
}

func (d *differ) compareValues(path string, want, have any) {
	w, isMap := want.(map[string]any)
	h, alsoMap := have.(map[string]any)
	if isMap && alsoMap {
		d.compareMappings(path, w, h)
		return
	}
	wl, isList := want.([]any)
	hl, alsoList := have.([]any)
	if isList && alsoList {
		d.compareLists(path, wl, hl)
		return
	}
	if !reflect.DeepEqual(want, have) && !(d.live && d.isRewritten(want, have)) {
		d.addDifference(path, want, have)
	}
}

// isRewritten says whether have is want, in a custom resource, in the form that a
// controller's or a webhook's own types have: 4 as "4", 1024Mi as 1Gi, 24h as 24h0m0s,
// nothing for what is empty.
func (d *differ) isRewritten(want, have any) bool {
	return d.custom && (have == nil && isEmpty(want) || sameInOtherForm(want, have))
}

// sameInOtherForm says whether have is the scalar want as Kubernetes' types for
// quantities and durations write it. Two strings of digits are no quantities: "2.0" may
// be a version.
func sameInOtherForm(want, have any) bool {
	w, h := scalarText(want), scalarText(have)
	if w == "" || h == "" {
		return false
	}
	_, wantText := want.(string)
	_, haveText := have.(string)
	hasUnit := strings.ContainsFunc(w+h, unicode.IsLetter)
	if q, err := resource.ParseQuantity(w); err == nil && q.String() == h && (hasUnit || !wantText || !haveText) {
		return true
	}
	length, err := time.ParseDuration(w)
	return err == nil && length.String() == h
}

// scalarText is a number or a string as text, "" for anything else.
func scalarText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

func (d *differ) compareMappings(path string, want, have map[string]any) {
	keys := maps.Clone(want)
	maps.Copy(keys, have)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if key == "caBundle" {
			continue
		}
		at := key
		if path != "" {
			at = path + "." + key
		}
		d.compareValues(at, want[key], have[key])
	}
}

// compareLists compares elements that have names by name, others by index.
func (d *differ) compareLists(path string, want, have []any) {
	w, named := byName(want)
	h, alsoNamed := byName(have)
	if named && alsoNamed {
		keys := maps.Clone(w)
		maps.Copy(keys, h)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			d.compareValues(path+"["+key+"]", w[key], h[key])
		}
		return
	}
	for i := range max(len(want), len(have)) {
		d.compareValues(fmt.Sprintf("%s[%d]", path, i), elementAt(want, i), elementAt(have, i))
	}
}

func elementAt(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func byName(list []any) (map[string]any, bool) {
	out := map[string]any{}
	for _, e := range list {
		m, _ := e.(map[string]any)
		name, _ := m["name"].(string)
		if _, twice := out[name]; name == "" || twice {
			return nil, false
		}
		out[name] = e
	}
	return out, true
}
