package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/caisson/caisson/internal/api/object"
)

// Overview is the cluster as a preflight first sees it. What the operator may
// not list is left empty and named in Unread.
type Overview struct {
	Nodes          []corev1.Node
	Namespaces     []corev1.Namespace
	CRDs           []string
	StorageClasses []string
	DefaultClass   string
	Unread         []string // "list nodes"
}

// Overview reads the cluster. It is an error only where the server does not
// answer; what it refuses to tell is in Unread.
func (c *Client) Overview(ctx context.Context) (Overview, error) {
	var v Overview
	var storage Inventory
	reads := []struct {
		what string
		read func() error
	}{
		{"list nodes", func() (err error) { v.Nodes, err = c.Nodes(ctx); return err }},
		{ListNamespaces, func() (err error) { v.Namespaces, err = c.Namespaces(ctx); return err }},
		{ListDefinitions, func() (err error) { v.CRDs, err = c.listNames(ctx, definitions); return err }},
		{ListStorageClasses, func() error { return c.readStorage(ctx, &storage) }},
	}
	for _, r := range reads {
		err := r.read()
		if Forbidden(err) {
			v.Unread = append(v.Unread, r.what)
		} else if err != nil {
			return v, err
		}
	}
	v.StorageClasses, v.DefaultClass = storage.StorageClasses, storage.DefaultClass
	return v, nil
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Forbidden says whether err means that the operator may not do it.
func Forbidden(err error) bool { return apierrors.IsForbidden(err) }

// Namespaces lists the cluster's namespaces.
func (c *Client) Namespaces(ctx context.Context) ([]corev1.Namespace, error) {
	list, err := c.Core.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	return list.Items, nil
}

// Quotas lists the resource quotas and limit ranges of a namespace.
func (c *Client) Quotas(ctx context.Context, namespace string) ([]corev1.ResourceQuota, []corev1.LimitRange, error) {
	quotas, err := c.Core.CoreV1().ResourceQuotas(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("listing quotas of namespace %s: %w", namespace, err)
	}
	ranges, err := c.Core.CoreV1().LimitRanges(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("listing limit ranges of namespace %s: %w", namespace, err)
	}
	return quotas.Items, ranges.Items, nil
}

// Webhook is one admission webhook, of either kind.
type Webhook struct {
	Config            string // ValidatingWebhookConfiguration NAME
	Name              string
	MustAnswer        bool   // failurePolicy Fail
	Namespace         string // of its service; "" where it is reached by URL
	Service           string
	Rules             []admissionv1.RuleWithOperations
	NamespaceSelector *metav1.LabelSelector
	ObjectSelector    *metav1.LabelSelector
	Conditional       bool // has matchConditions
}

// Webhooks lists the cluster's admission webhooks.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	var out []Webhook
	add := func(config, name string, policy *admissionv1.FailurePolicyType, client admissionv1.WebhookClientConfig, w Webhook) {
		w.Config, w.Name = config, name
		w.MustAnswer = policy == nil || *policy == admissionv1.Fail
		if s := client.Service; s != nil {
			w.Namespace, w.Service = s.Namespace, s.Name
		}
		out = append(out, w)
	}
	validating, err := c.Core.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing validating webhooks: %w", err)
	}
	for _, g := range validating.Items {
		for _, w := range g.Webhooks {
			add("ValidatingWebhookConfiguration "+g.Name, w.Name, w.FailurePolicy, w.ClientConfig, Webhook{
				Rules: w.Rules, NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, Conditional: len(w.MatchConditions) > 0})
		}
	}
	mutating, err := c.Core.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing mutating webhooks: %w", err)
	}
	for _, g := range mutating.Items {
		for _, w := range g.Webhooks {
			add("MutatingWebhookConfiguration "+g.Name, w.Name, w.FailurePolicy, w.ClientConfig, Webhook{
				Rules: w.Rules, NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, Conditional: len(w.MatchConditions) > 0})
		}
	}
	return out, nil
}

// ServiceProblem says why nobody answers at a service; "" where somebody does.
func (c *Client) ServiceProblem(ctx context.Context, namespace, name string) (string, error) {
	service, err := c.Core.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "does not exist", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading service %s/%s: %w", namespace, name, err)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return "", nil
	}
	slices, err := c.Core.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return "", fmt.Errorf("listing endpoints of service %s/%s: %w", namespace, name, err)
	}
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				return "", nil
			}
		}
	}
	return "has no ready endpoint", nil
}

// Skew is how far the API server's clock is before this machine's, to about a
// second. Errors wrap ErrUnreachable.
func (c *Client) Skew(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return 0, fmt.Errorf("asking for the server's clock: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.config.Host, "/")+"/version", nil)
	if err != nil {
		return 0, fmt.Errorf("asking for the server's clock: %w", err)
	}
	before := time.Now()
	answer, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking for the server's clock: %w: %w", ErrUnreachable, err)
	}
	_ = answer.Body.Close()
	middle := before.Add(time.Since(before) / 2)
	there, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return 0, nil // a server that tells no time has no skew to speak of
	}
	return there.Add(time.Second / 2).Sub(middle), nil
}

// Resource is the resource of a kind and whether it lives in namespaces. Errors
// wrap ErrNoKind where the server does not serve it.
func (c *Client) Resource(gvk schema.GroupVersionKind) (schema.GroupVersionResource, bool, error) {
	m, err := c.mapKind(gvk)
	if err != nil {
		return schema.GroupVersionResource{}, false, err
	}
	return m.Resource, m.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

// Marks are an object's labels and annotations, without its content. A missing
// object is apierrors.IsNotFound, as Absent tells.
func (c *Client) Marks(ctx context.Context, r schema.GroupVersionResource, namespace, name string) (labels, annotations map[string]string, err error) {
	o, err := c.metadata.Resource(r).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	return o.Labels, o.Annotations, nil
}

// Keeper says in words who keeps an object with these marks, "" where nobody
// says.
func Keeper(labels, annotations map[string]string) string {
	switch {
	case annotations[AnnotationOwner] != "":
		return "caisson's " + annotations[AnnotationOwner]
	case annotations[object.AnnotationRelease] != "":
		return "Helm release " + annotations[object.AnnotationReleaseNamespace] + "/" + annotations[object.AnnotationRelease]
	case labels["olm.managed"] == "true" || labels["operators.coreos.com/olm.managed"] != "":
		return "the Operator Lifecycle Manager"
	case labels["argocd.argoproj.io/instance"] != "" || annotations["argocd.argoproj.io/tracking-id"] != "":
		return "Argo CD"
	case labels["kustomize.toolkit.fluxcd.io/name"] != "" || labels["helm.toolkit.fluxcd.io/name"] != "":
		return "Flux"
	case labels[labelManagedBy] != "":
		return labels[labelManagedBy]
	}
	return ""
}

// Refusal tries in words what applying u would meet, without writing (a dry
// run): the conflict with another manager, or "".
func (c *Client) Refusal(ctx context.Context, u *unstructured.Unstructured, namespace, owner string) (string, error) {
	u = u.DeepCopy()
	resource, err := c.resourceFor(u, namespace)
	if err != nil {
		return "", err
	}
	prepareForApply(u, owner)
	_, err = applyVia(ctx, resource, u, metav1.ApplyOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsConflict(err) {
		return err.Error(), nil
	}
	return "", err
}

// Rules are what a role of the cluster gives; namespace is "" for a
// ClusterRole. One that is not there gives nothing.
func (c *Client) Rules(ctx context.Context, namespace, name string) ([]rbacv1.PolicyRule, error) {
	if namespace == "" {
		r, err := c.Core.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading ClusterRole %s: %w", name, err)
		}
		return r.Rules, nil
	}
	r, err := c.Core.RbacV1().Roles(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Role %s/%s: %w", namespace, name, err)
	}
	return r.Rules, nil
}

// StoredVersions are the versions in which objects of a definition lie in the
// cluster's store, with the definition's marks.
func (c *Client) StoredVersions(ctx context.Context, name string) (stored []string, labels, annotations map[string]string, err error) {
	u, err := c.dynamic.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, nil, err
	}
	stored, _, _ = unstructured.NestedStringSlice(u.Object, "status", "storedVersions")
	slices.Sort(stored)
	return stored, u.GetLabels(), u.GetAnnotations(), nil
}

// Unknown says whether err means that the server does not serve a kind.
func Unknown(err error) bool { return errors.Is(err, ErrNoKind) }
