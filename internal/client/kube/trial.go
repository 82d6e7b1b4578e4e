package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// Bounds of what is tried for one webhook.
const (
	maxTrials = 8  // requests
	maxLive   = 50 // objects that are listed of one kind
)

// trialName is the name of objects that are created on trial.
const trialName = "caisson-probe"

// answer is what is known of a webhook once it was asked: nothing where it answered, or
// guards nothing that there is.
type answer struct {
	silent  string // why it does not answer
	unasked string // why nothing on trial reached it
}

// trial asks one webhook: it has objects that it guards created and changed as dry runs
// until one of them reaches it. The server asks a validating webhook only about what its
// schema and its own checks let through.
type trial struct {
	*Client
	hook   webhook
	given  string   // namespace that is preferred
	spaces []string // namespaces that it guards; nil for all
	left   int      // requests
	last   string   // why the last one did not reach it
}

// askWebhook asks a webhook.
func (c *Client) askWebhook(ctx context.Context, h webhook, namespace string) answer {
	if s := h.settings.ClientConfig.Service; s != nil && !c.hasReadyEndpoint(ctx, s.Namespace, s.Name) {
		return answer{silent: fmt.Sprintf("Service %s/%s has no ready endpoint", s.Namespace, s.Name)}
	}
	kinds, askable := c.guardedKinds(h)
	if !askable {
		return answer{unasked: "it is asked about nothing that can be created or changed on trial"}
	}
	t := &trial{Client: c, hook: h, given: namespace, left: maxTrials}
	if err := t.findNamespaces(ctx); err != nil {
		if Forbidden(err) {
			return answer{unasked: err.Error()}
		}
		return answer{silent: err.Error()}
	}
	if t.spaces != nil && len(t.spaces) == 0 {
		kinds = slices.DeleteFunc(kinds, func(k guardedKind) bool { return k.namespaced })
	}
	if len(kinds) == 0 {
		return answer{} // it guards nothing that there is
	}
	return t.tryAll(ctx, kinds)
}

// findNamespaces lists the namespaces that the webhook guards.
func (t *trial) findNamespaces(ctx context.Context) error {
	selector, err := metav1.LabelSelectorAsSelector(t.hook.settings.NamespaceSelector)
	if t.hook.settings.NamespaceSelector == nil || err != nil || selector.Empty() {
		return nil
	}
	list, err := t.Core.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return fmt.Errorf("listing the namespaces that it guards: %w", err)
	}
	t.spaces = []string{}
	for _, ns := range list.Items {
		if ns.DeletionTimestamp == nil {
			t.spaces = append(t.spaces, ns.Name)
		}
	}
	return nil
}

// tryAll goes from what is made for the purpose to what is there.
func (t *trial) tryAll(ctx context.Context, kinds []guardedKind) answer {
	for _, k := range kinds {
		if u := t.newObject(k); u != nil && k.creates {
			if a, done := t.readOutcome(ctx, t.create(ctx, u)); done {
				return a
			}
		}
	}
	for _, k := range kinds {
		for _, u := range t.liveObjects(ctx, k) {
			if a, done := t.tryLive(ctx, k, u); done {
				return a
			}
		}
	}
	if t.last == "" {
		t.last = "there is nothing that it guards, and nothing can be made on trial"
	}
	return answer{unasked: t.last}
}

// tryLive changes nothing of an object that is there, or creates another like it.
func (t *trial) tryLive(ctx context.Context, k guardedKind, u *unstructured.Unstructured) (answer, bool) {
	if k.updates && t.left > 0 {
		if a, done := t.readOutcome(ctx, t.update(ctx, u.DeepCopy())); done {
			return a, true
		}
	}
	if !k.creates || t.left <= 0 {
		return answer{}, false
	}
	like := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	delete(like.Object, "status")
	like.Object["metadata"] = map[string]any{}
	like.SetName(trialName)
	like.SetNamespace(u.GetNamespace())
	like.SetLabels(u.GetLabels())
	like.SetAnnotations(u.GetAnnotations())
	return t.readOutcome(ctx, t.create(ctx, like))
}

var errSpent = errors.New("what was tried did not reach it")

func (t *trial) create(ctx context.Context, u *unstructured.Unstructured) error {
	place, err := t.resourceFor(u, u.GetNamespace())
	if err != nil || t.left <= 0 {
		return errors.Join(err, errSpent)
	}
	t.left--
	_, err = place.Create(ctx, u, metav1.CreateOptions{FieldManager: Manager, DryRun: []string{metav1.DryRunAll}})
	return err
}

func (t *trial) update(ctx context.Context, u *unstructured.Unstructured) error {
	place, err := t.resourceFor(u, u.GetNamespace())
	if err != nil || t.left <= 0 {
		return errors.Join(err, errSpent)
	}
	t.left--
	_, err = place.Update(ctx, u, metav1.UpdateOptions{FieldManager: Manager, DryRun: []string{metav1.DryRunAll}})
	return err
}

// newObject is a minimal object of a kind that the webhook selects, or nil.
func (t *trial) newObject(k guardedKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: k.sampleContent()}
	u.SetGroupVersionKind(k.kind)
	u.SetName(trialName)
	wanted := selectedLabels(t.hook.settings.ObjectSelector)
	if k.isNamespace() {
		maps.Copy(wanted, selectedLabels(t.hook.settings.NamespaceSelector))
		wanted["kubernetes.io/metadata.name"] = trialName
	}
	u.SetLabels(wanted)
	if k.namespaced {
		u.SetNamespace(t.chooseNamespace())
	}
	if !t.selects(k, u) {
		return nil
	}
	return u
}

func (t *trial) chooseNamespace() string {
	if t.spaces == nil || slices.Contains(t.spaces, t.given) {
		return t.given
	}
	return t.spaces[0]
}

// selects says whether the webhook is asked about an object with these labels, in this
// namespace.
func (t *trial) selects(k guardedKind, u *unstructured.Unstructured) bool {
	if k.namespaced && t.spaces != nil && !slices.Contains(t.spaces, u.GetNamespace()) {
		return false
	}
	if k.isNamespace() && !selectorMatches(t.hook.settings.NamespaceSelector, u) {
		return false
	}
	return selectorMatches(t.hook.settings.ObjectSelector, u)
}

func selectorMatches(s *metav1.LabelSelector, u *unstructured.Unstructured) bool {
	if s == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(u.GetLabels()))
}

// selectedLabels are labels that a selector asks for, as far as it says which.
func selectedLabels(s *metav1.LabelSelector) map[string]string {
	out := map[string]string{}
	if s == nil {
		return out
	}
	maps.Copy(out, s.MatchLabels)
	for _, e := range s.MatchExpressions {
		switch {
		case e.Operator == metav1.LabelSelectorOpIn && len(e.Values) > 0:
			out[e.Key] = e.Values[0]
		case e.Operator == metav1.LabelSelectorOpExists:
			out[e.Key] = "probe"
		}
	}
	return out
}

// liveObjects are a few objects of the kind that the webhook is asked about.
func (t *trial) liveObjects(ctx context.Context, k guardedKind) (out []*unstructured.Unstructured) {
	resource, _, err := t.resourceOfKind(k.kind)
	if err != nil || t.left <= 0 {
		return nil
	}
	list, err := resource.List(ctx, metav1.ListOptions{Limit: maxLive})
	if err != nil {
		t.last = err.Error()
		return nil
	}
	for i := range list.Items {
		if u := &list.Items[i]; len(out) < 2 && u.GetDeletionTimestamp() == nil && t.selects(k, u) {
			out = append(out, u)
		}
	}
	return out
}

// named finds the webhook that the server speaks of.
var named = regexp.MustCompile(`(?:failed calling|admission) webhook "([^"]*)"`)

// readOutcome reads out of the server's answer whether the webhook was asked. done is false
// where it was not.
func (t *trial) readOutcome(ctx context.Context, err error) (_ answer, done bool) {
	certain := len(t.hook.settings.MatchConditions) == 0 // else what was tried may not fulfil them
	if err == nil {
		t.last = "what was tried does not tell: it has conditions of its own"
		return answer{}, certain
	}
	var status apierrors.APIStatus
	name := t.hook.settings.Name
	text := errorText(err)
	speaks := named.FindStringSubmatch(text)
	switch {
	case strings.Contains(text, fmt.Sprintf("failed calling webhook %q", name)):
		return answer{silent: err.Error()}, true
	case errors.Is(err, errSpent):
		return answer{}, false
	case !errors.As(err, &status), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err):
		return answer{silent: err.Error()}, true
	case strings.Contains(text, "does not support dry run"):
	case speaks != nil && speaks[1] == name:
		return answer{}, true
	case speaks != nil:
		done = certain && !t.isMutating(ctx, speaks[1]) // those that mutate are asked one by one, before the others
	case apierrors.IsAlreadyExists(err):
		done = certain
	case apierrors.IsInvalid(err):
		done = certain && t.hook.mutates // they are asked before the object is checked
	}
	t.last = "what was tried did not reach it: " + oneLine(err.Error())
	return answer{}, done
}

// errorText is all that an error of the server says: of several webhooks that failed it
// tells one, and the others among the causes.
func errorText(err error) string {
	var status apierrors.APIStatus
	text := err.Error()
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			text += "\n" + c.Message
		}
	}
	return text
}

// isMutating says whether a webhook of that name mutates; where that cannot be read, it
// may.
func (t *trial) isMutating(ctx context.Context, name string) bool {
	list, err := t.Core.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return true
	}
	return slices.ContainsFunc(list.Items, func(m admissionv1.MutatingWebhookConfiguration) bool {
		return slices.ContainsFunc(m.Webhooks, func(h admissionv1.MutatingWebhook) bool { return h.Name == name })
	})
}
