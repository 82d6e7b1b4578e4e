package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
)

// ErrWebhook: a webhook does not answer, and what it guards cannot be changed.
var ErrWebhook = errors.New("the webhook does not answer")

// webhook is one entry of a webhook configuration that fails closed.
type webhook struct {
	config    object.Ref
	name      string
	namespace string // of its Service; "" where it has a URL
	service   string
	resource  schema.GroupVersionResource // one of those it is asked about at creation; zero for none
}

// failClosedWebhooks lists the webhooks of a configuration that are asked before something
// is created and whose silence forbids it. Other kinds of objects have none.
func failClosedWebhooks(u *unstructured.Unstructured) (out []webhook) {
	if u.GroupVersionKind().Group != "admissionregistration.k8s.io" || !strings.HasSuffix(u.GetKind(), "WebhookConfiguration") {
		return nil
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
	for _, e := range list {
		m, _ := e.(map[string]any)
		if policy, _ := m["failurePolicy"].(string); policy != "Fail" && policy != "" {
			continue
		}
		h := webhook{config: object.RefOf(u)}
		h.name, _ = m["name"].(string)
		h.namespace, _, _ = unstructured.NestedString(m, "clientConfig", "service", "namespace")
		h.service, _, _ = unstructured.NestedString(m, "clientConfig", "service", "name")
		h.resource = guardedResource(m)
		out = append(out, h)
	}
	return out
}

// guardedResource picks a resource, named in full, at whose creation the webhook is
// asked.
func guardedResource(webhook map[string]any) schema.GroupVersionResource {
	rules, _, _ := unstructured.NestedSlice(webhook, "rules")
	for _, e := range rules {
		m, _ := e.(map[string]any)
		operations, _, _ := unstructured.NestedStringSlice(m, "operations")
		group, version := firstExactName(m, "apiGroups"), firstExactName(m, "apiVersions")
		resource := firstExactName(m, "resources")
		if !containsString(operations, "CREATE") && !containsString(operations, "*") || group == nil || version == nil || resource == nil {
			continue
		}
		return schema.GroupVersionResource{Group: *group, Version: *version, Resource: *resource}
	}
	return schema.GroupVersionResource{}
}

// firstExactName is the first entry of a list of names that is no pattern and no
// subresource.
func firstExactName(rule map[string]any, key string) *string {
	list, _, _ := unstructured.NestedStringSlice(rule, key)
	for _, s := range list {
		if !strings.ContainsAny(s, "*/") {
			return &s
		}
	}
	return nil
}

// WaitWebhooks waits until every webhook among the named objects that fails
// closed answers: its Service has a ready endpoint, and creating something it
// guards, in namespace and as a dry run, does not fail for want of an answer.
// report, which may be nil, hears what is waited for, and with an empty message that
// it no longer is. Errors wrap ErrWebhook when ctx ends first.
func (c *Client) WaitWebhooks(ctx context.Context, configs []object.Ref, namespace string, report func(object.Ref, string)) error {
	if report == nil {
		report = func(object.Ref, string) {}
	}
	for _, o := range configs {
		if !strings.HasSuffix(o.Kind, "WebhookConfiguration") {
			continue
		}
		u, err := c.Get(ctx, o)
		if Absent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", o, err)
		}
		for _, h := range failClosedWebhooks(u) {
			if err := c.waitWebhook(ctx, h, namespace, report); err != nil {
				return err
			}
		}
	}
	return nil
}

// notAsked is what is known of a webhook at first.
const notAsked = "not asked"

func (c *Client) waitWebhook(ctx context.Context, h webhook, namespace string, report func(object.Ref, string)) error {
	last := notAsked
	for {
		why := c.whyUnanswered(ctx, h, namespace)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("webhook %s of %s: %w: %s: %w", h.name, h.config, ErrWebhook, last, context.Cause(ctx))
		case why == "":
			if last != notAsked {
				report(h.config, "")
			}
			return nil
		case why != last:
			report(h.config, "webhook "+h.name+": "+why)
		}
		last = why
		pause(ctx, time.Second)
	}
}

// whyUnanswered says why a webhook does not answer, or "".
func (c *Client) whyUnanswered(ctx context.Context, h webhook, namespace string) string {
	if h.service != "" && !c.hasReadyEndpoint(ctx, h.namespace, h.service) {
		return fmt.Sprintf("Service %s/%s has no ready endpoint", h.namespace, h.service)
	}
	if h.resource.Resource == "" {
		return ""
	}
	if err := c.dryRunCreate(ctx, h.resource, namespace); err != nil && !webhookAnswered(err, h.name) {
		return err.Error()
	}
	return ""
}

// webhookAnswered says whether the refusal of a probe came after the named webhook was
// asked, or without its being asked at all.
func webhookAnswered(err error, name string) bool {
	var status apierrors.APIStatus
	switch {
	case !errors.As(err, &status), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err):
		return false
	}
	return !strings.Contains(err.Error(), "failed calling webhook") || !strings.Contains(err.Error(), name)
}

// hasReadyEndpoint says whether a Service has a ready endpoint. One that names a host
// outside the cluster needs none.
func (c *Client) hasReadyEndpoint(ctx context.Context, namespace, name string) bool {
	s, err := c.Core.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return true
	}
	list, err := c.Core.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return true // the dry run tells
	}
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				return true
			}
		}
	}
	return false
}

// dryRunCreate creates a minimal object of a resource as a dry run. A refusal is
// the usual answer, and any answer will do.
func (c *Client) dryRunCreate(ctx context.Context, r schema.GroupVersionResource, namespace string) error {
	kind, err := c.mapper.KindFor(r)
	if err != nil {
		return nil // a resource that the server does not have guards nothing yet
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(kind)
	u.SetName("caisson-probe")
	place, err := c.resourceFor(u, namespace)
	if err != nil {
		return nil
	}
	_, err = place.Create(ctx, u, metav1.CreateOptions{FieldManager: Manager, DryRun: []string{metav1.DryRunAll}})
	return err
}
