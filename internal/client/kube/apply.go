package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/rules/document"
)

// Marks on every object that Apply writes.
const (
	AnnotationOwner = "caisson.dev/owner" // STACK/COMPONENT
	annotationMade  = "caisson.dev/made"  // on what did not exist before: it may be removed again
	labelManagedBy  = "app.kubernetes.io/managed-by"
)

// Errors of Apply.
var (
	// ErrForeign: somebody else manages fields that would change.
	ErrForeign = errors.New("the object belongs to somebody else")
	// ErrNoKind: the server does not serve the object's kind.
	ErrNoKind = errors.New("the cluster does not serve this kind")
	// ErrStoredVersion: a definition lacks a version that objects may be stored
	// in, so that they could be read no more.
	ErrStoredVersion = errors.New("the definition lacks a version that objects are stored in")
)

// Outcome is what Apply did to an object.
type Outcome string

// The outcomes of Apply.
const (
	Created   Outcome = "created"
	Changed   Outcome = "changed"
	Unchanged Outcome = "unchanged"
)

// Applied is one object after Apply.
type Applied struct {
	Object  object.Ref
	Outcome Outcome
	// Made: it was created by Apply, now or at an earlier time, for an owner.
	Made bool
}

// ApplyOptions are the optional inputs of Apply.
type ApplyOptions struct {
	Namespace string // for namespaced objects that name none
	// Owner marks the objects as this owner's. Objects that carry the mark
	// already are taken by force, fields of others included; on objects without
	// it a field that another manager holds is an ErrForeign.
	Owner string
	// Force takes every conflicting field whoever holds it.
	Force bool
	// Patience is how long an object that a webhook guards is tried again while
	// that webhook does not answer. What a webhook denies is tried again for ten
	// seconds of it.
	Patience time.Duration
	// Report, which may be nil, hears what is waited for.
	Report func(object.Ref, string)
}

// Apply applies objects server-side, in order, with field manager Manager. It
// stops at the first error and returns what it applied until then. The objects
// are not changed. Errors wrap ErrForeign, ErrNoKind or the server's answer.
func (c *Client) Apply(ctx context.Context, objects []*unstructured.Unstructured, opt ApplyOptions) ([]Applied, error) {
	var done []Applied
	for _, u := range objects {
		a, err := c.applyOne(ctx, u.DeepCopy(), opt)
		if errors.Is(err, ErrNoKind) {
			c.Refresh() // something that runs in the cluster may have defined it since
			a, err = c.applyOne(ctx, u.DeepCopy(), opt)
		}
		if err != nil {
			return done, fmt.Errorf("applying %s: %w", object.RefOf(u), err)
		}
		done = append(done, a)
	}
	return done, nil
}

// applyOne applies u, again while a webhook is silent: reading what is there may need
// one that converts.
func (c *Client) applyOne(ctx context.Context, u *unstructured.Unstructured, opt ApplyOptions) (a Applied, _ error) {
	resource, err := c.resourceFor(u, opt.Namespace)
	if err != nil {
		return Applied{}, err
	}
	err = outwaitWebhooks(ctx, object.RefOf(u), opt, func() (err error) {
		a, err = applyOver(ctx, resource, u.DeepCopy(), opt)
		return err
	})
	return a, err
}

// applyOver applies u over what is there.
func applyOver(ctx context.Context, resource dynamic.ResourceInterface, u *unstructured.Unstructured, opt ApplyOptions) (Applied, error) {
	before, err := resource.Get(ctx, u.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return Applied{}, err
	}
	exists := err == nil
	if exists {
		opt.Owner = ownerOver(before, opt.Owner)
	}
	prepareForApply(u, opt.Owner)
	if opt.Owner != "" && (!exists || isMarkedMade(before)) {
		markMade(u)
	}
	force := opt.Force || !exists || (opt.Owner != "" && before.GetAnnotations()[AnnotationOwner] == opt.Owner)
	if exists {
		yieldTo(before, u)
	}
	after, err := applyVia(ctx, resource, u, metav1.ApplyOptions{Force: force})
	if err == nil && exists && force && !isAdopted(before, opt.Owner) {
		after, err = takeBack(ctx, resource, after)
	}
	if apierrors.IsConflict(err) && !force {
		err = fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if err != nil {
		return Applied{}, err
	}
	a := Applied{Object: object.RefOf(after), Outcome: Changed, Made: isMarkedMade(after)}
	switch {
	case !exists:
		a.Outcome = Created
	case before.GetResourceVersion() == after.GetResourceVersion():
		a.Outcome = Unchanged
	}
	return a, nil
}

// ownerOver is whose mark an object gets that is there already: owner's, but a namespace
// that was made for the components of a stack stays the stack's when one of them brings
// it too.
func ownerOver(live *unstructured.Unstructured, owner string) string {
	stack, _, _ := strings.Cut(owner, "/")
	if IsNamespace(object.RefOf(live)) && stack != "" && live.GetAnnotations()[AnnotationOwner] == stack {
		return stack
	}
	return owner
}

// IsNamespace says whether an object is a namespace.
func IsNamespace(o object.Ref) bool { return o.APIVersion == "v1" && o.Kind == "Namespace" }

// takeBackTries bounds how often additions are looked for anew because somebody wrote
// meanwhile.
const takeBackTries = 5

// takeBack removes what somebody added to an object and that changes what was applied,
// which applying alone leaves.
func takeBack(ctx context.Context, resource dynamic.ResourceInterface, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for range takeBackTries {
		patch, err := removalOf(live)
		if patch == nil || err != nil {
			return live, err
		}
		after, refused := resource.Patch(ctx, live.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: Manager})
		if refused == nil {
			return after, nil
		}
		last := live.GetResourceVersion()
		if live, err = resource.Get(ctx, live.GetName(), metav1.GetOptions{}); err != nil {
			return nil, err
		}
		if live.GetResourceVersion() == last {
			return nil, fmt.Errorf("taking back what was added to it: %w", refused)
		}
	}
	return live, nil
}

// removalOf is the JSON patch (RFC 6902) that removes what was added to exactly this
// version of an object, or nil. The last element of a list goes first.
func removalOf(live *unstructured.Unstructured) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	patch := []operation{{Op: "test", Path: "/metadata/resourceVersion", Value: live.GetResourceVersion()}}
	added := slices.DeleteFunc(additions(live), func(a addition) bool { return !a.isTampering(live) })
	slices.SortFunc(added, func(a, b addition) int { return slices.CompareFunc(b.pointer, a.pointer, compareTokens) })
	for _, a := range added {
		remove := operation{Op: "remove", Path: jsonPointer(a.pointer)}
		if patch[len(patch)-1] != remove { // two managers may share a field
			patch = append(patch, remove)
		}
	}
	if len(patch) == 1 {
		return nil, nil
	}
	return json.Marshal(patch)
}

// compareTokens orders the tokens of JSON pointers, indices by their number.
func compareTokens(a, b string) int {
	i, notIndex := strconv.Atoi(a)
	j, nor := strconv.Atoi(b)
	if notIndex == nil && nor == nil {
		return i - j
	}
	return strings.Compare(a, b)
}

func jsonPointer(tokens []string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString("/" + escape.Replace(t))
	}
	return b.String()
}

// isMarkedMade says whether u bears the mark of what the product created.
func isMarkedMade(u *unstructured.Unstructured) bool { return u.GetAnnotations()[annotationMade] != "" }

// isAdopted says whether an object was there before owner's, so that what others have in
// it is theirs. Without an owner nothing is marked, and Helm says itself what it made.
func isAdopted(live *unstructured.Unstructured, owner string) bool {
	return owner != "" && !isMarkedMade(live)
}

func markMade(u *unstructured.Unstructured) {
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationMade] = "true"
	u.SetAnnotations(annotations)
}

// prepareForApply removes what server-side apply refuses and adds our marks.
func prepareForApply(u *unstructured.Unstructured, owner string) {
	dropNulls(u.Object)
	encodeStringData(u)
	u.SetManagedFields(nil)
	u.SetResourceVersion("")
	u.SetUID("")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "metadata", "generation")
	unstructured.RemoveNestedField(u.Object, "status")
	if owner == "" {
		return
	}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationOwner] = owner
	u.SetAnnotations(annotations)
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	if labels[labelManagedBy] == "" {
		labels[labelManagedBy] = Manager
	}
	u.SetLabels(labels)
}

// dropNulls takes out of maps what has no value, as creating an object does:
// server-side apply would keep the null, and a schema that wants a map refuse it.
func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			if e == nil {
				delete(v, key)
				continue
			}
			dropNulls(e)
		}
	case []any:
		for _, e := range v {
			dropNulls(e)
		}
	}
}

// encodeStringData puts a Secret's stringData into its data, as the server does, whose
// managedFields then say whose the keys are.
func encodeStringData(u *unstructured.Unstructured) {
	plain, _, err := unstructured.NestedStringMap(u.Object, "stringData")
	if !document.IsSecret(u.Object) || err != nil || len(plain) == 0 {
		return
	}
	data, _, err := unstructured.NestedMap(u.Object, "data")
	if err != nil {
		return // the server says what is wrong
	}
	if data == nil {
		data = map[string]any{}
	}
	for key, value := range plain {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	u.Object["data"] = data
	delete(u.Object, "stringData")
}

// resourceFor is the interface for reading and writing u, which gets the default
// namespace if it needs one.
func (c *Client) resourceFor(u *unstructured.Unstructured, namespace string) (dynamic.ResourceInterface, error) {
	resource, scoped, err := c.resourceOfKind(u.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if !scoped {
		u.SetNamespace("")
		return resource, nil
	}
	if u.GetNamespace() == "" {
		u.SetNamespace(namespace)
	}
	return resource.Namespace(u.GetNamespace()), nil
}

func (c *Client) resourceOfKind(gvk schema.GroupVersionKind) (_ dynamic.NamespaceableResourceInterface, namespaced bool, _ error) {
	mapping, err := c.mapKind(gvk)
	if err != nil {
		return nil, false, err
	}
	return c.dynamic.Resource(mapping.Resource), mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

func (c *Client) mapKind(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) && gvk.Version == "" {
		mapping, err = c.mapper.RESTMapping(gvk.GroupKind())
	}
	if meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("%w: %s", ErrNoKind, gvk)
	}
	if err != nil {
		return nil, err
	}
	// The mapper finds kinds in lower case too; no object is written so.
	if kind, err := c.mapper.KindFor(mapping.Resource); err == nil && kind.Kind != gvk.Kind && strings.EqualFold(kind.Kind, gvk.Kind) {
		return nil, fmt.Errorf("%w: %s; it is written %s", ErrNoKind, gvk, kind.Kind)
	}
	return mapping, nil
}

// resourceNamed is the interface for an object of which only the name is known.
func (c *Client) resourceNamed(o object.Ref) (dynamic.ResourceInterface, error) {
	resource, scoped, err := c.resourceOfKind(o.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if scoped {
		return resource.Namespace(o.Namespace), nil
	}
	return resource, nil
}

// Get reads one object. A missing one is apierrors.IsNotFound.
func (c *Client) Get(ctx context.Context, o object.Ref) (*unstructured.Unstructured, error) {
	resource, err := c.resourceNamed(o)
	if err != nil {
		return nil, err
	}
	return resource.Get(ctx, o.Name, metav1.GetOptions{})
}

// establishTimeout bounds the wait for a definition to be served.
const establishTimeout = 2 * time.Minute

// discoverAgain is the time between two looks at what the server lists.
const discoverAgain = 100 * time.Millisecond

// ApplyCRDs applies custom resource definitions of any size and waits until each
// is Established and listed by discovery, so that their kinds can be used at
// once.
func (c *Client) ApplyCRDs(ctx context.Context, crds []*unstructured.Unstructured, opt ApplyOptions) ([]Applied, error) {
	if len(crds) == 0 {
		return nil, nil
	}
	if err := c.keepStored(ctx, crds); err != nil {
		return nil, err
	}
	done, err := c.Apply(ctx, crds, opt)
	if err != nil {
		return done, err
	}
	ctx, cancel := context.WithTimeout(ctx, establishTimeout)
	defer cancel()
	targets := make([]object.Target, len(done))
	for i, a := range done {
		targets[i] = object.Target{Object: a.Object, Condition: "Established"}
	}
	if err := c.WaitReady(ctx, targets, nil); err != nil {
		c.Refresh()
		return done, err
	}
	return done, c.awaitKinds(ctx, crds)
}

// awaitKinds returns when discovery lists every served version of the
// definitions: the server says Established before it does.
func (c *Client) awaitKinds(ctx context.Context, crds []*unstructured.Unstructured) error {
	for {
		c.Refresh()
		err := c.checkDiscovered(crds)
		if !errors.Is(err, ErrNoKind) {
			return err
		}
		pause(ctx, discoverAgain)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// checkDiscovered looks up every served version of the definitions.
func (c *Client) checkDiscovered(crds []*unstructured.Unstructured) error {
	for _, u := range crds {
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
		for _, v := range versions {
			version, _ := v.(map[string]any)
			if version["served"] != true {
				continue
			}
			name, _ := version["name"].(string)
			if _, err := c.mapKind(schema.GroupVersionKind{Group: group, Version: name, Kind: kind}); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepStored requires of definitions that they still have each version that the
// server says objects of theirs may be stored in.
func (c *Client) keepStored(ctx context.Context, crds []*unstructured.Unstructured) error {
	var errs []error
	for _, u := range crds {
		live, err := c.Get(ctx, object.RefOf(u))
		if Absent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", object.RefOf(u), err)
		}
		stored, _, _ := unstructured.NestedStringSlice(live.Object, "status", "storedVersions")
		for _, version := range stored {
			if !hasVersion(u, version) {
				errs = append(errs, fmt.Errorf("applying %s: %w: %s", object.RefOf(u), ErrStoredVersion, version))
			}
		}
	}
	return errors.Join(errs...)
}

func hasVersion(crd *unstructured.Unstructured, name string) bool {
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		if m, _ := v.(map[string]any); m["name"] == name {
			return true
		}
	}
	return false
}

// Absent says whether err means that an object, or its kind, does not exist.
func Absent(err error) bool { return apierrors.IsNotFound(err) || errors.Is(err, ErrNoKind) }

// Place names u as it would be applied with the given default namespace.
func (c *Client) Place(u *unstructured.Unstructured, namespace string) object.Ref {
	u = u.DeepCopy()
	_, _ = c.resourceFor(u, namespace) // an unknown kind keeps its name as written
	return object.RefOf(u)
}

// Complete fills in what a reference to an object left out: the API version, as
// the server prefers it for the kind, and no namespace where the kind has none.
// A kind that the server does not know stays as it is.
func (c *Client) Complete(o object.Ref) object.Ref {
	if o.APIVersion == "" {
		o.APIVersion = c.preferredVersion(o.Kind)
	}
	if mapping, err := c.mapKind(o.GroupVersionKind()); err == nil && mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		o.Namespace = ""
	}
	return o
}

// preferredVersion finds the API version of a kind by its name alone, the server's own
// groups before others.
func (c *Client) preferredVersion(kind string) string {
	lists, _ := c.discovery.ServerPreferredResources()
	found := ""
	for _, l := range lists {
		for _, r := range l.APIResources {
			if r.Kind == kind && (found == "" || !strings.Contains(l.GroupVersion, ".")) {
				found = l.GroupVersion
			}
		}
	}
	return found
}
