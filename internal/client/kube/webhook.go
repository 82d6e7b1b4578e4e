package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
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
	spaces    *metav1.LabelSelector       // of namespaces that it guards; nil for all
	objects   *metav1.LabelSelector       // of objects that it guards; nil for all
}

// failClosedWebhooks lists the webhooks of a configuration that are asked before something
// is created and whose silence forbids it. Other kinds of objects have none.
func failClosedWebhooks(u *unstructured.Unstructured) (out []webhook) {
	if !IsWebhookConfiguration(object.RefOf(u)) {
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
		h.spaces, h.objects = readSelector(m, "namespaceSelector"), readSelector(m, "objectSelector")
		out = append(out, h)
	}
	return out
}

// readSelector reads a label selector; one that cannot be read selects everything.
func readSelector(webhook map[string]any, field string) *metav1.LabelSelector {
	m, _, _ := unstructured.NestedMap(webhook, field)
	var out metav1.LabelSelector
	if m == nil || runtime.DefaultUnstructuredConverter.FromUnstructured(m, &out) != nil {
		return nil
	}
	return &out
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
		if !slices.Contains(operations, "CREATE") && !slices.Contains(operations, "*") || group == nil || version == nil || resource == nil {
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
// They are asked side by side. report, which may be nil, hears what is waited for,
// and with an empty message that it no longer is; it is called from several
// goroutines. Errors wrap ErrWebhook when ctx ends first.
func (c *Client) WaitWebhooks(ctx context.Context, configs []object.Ref, namespace string, report func(object.Ref, string)) error {
	if report == nil {
		report = func(object.Ref, string) {}
	}
	hooks, err := c.webhooksOf(ctx, configs)
	if err != nil {
		return err
	}
	errs := make([]error, len(hooks))
	var g errgroup.Group
	g.SetLimit(waiters)
	for i, h := range hooks {
		g.Go(func() error { errs[i] = c.waitWebhook(ctx, h, namespace, report); return nil })
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// webhooksOf reads the webhooks of configurations; one that does not exist has none.
func (c *Client) webhooksOf(ctx context.Context, configs []object.Ref) (out []webhook, _ error) {
	for _, o := range configs {
		if !IsWebhookConfiguration(o) {
			continue
		}
		u, err := c.Get(ctx, o)
		if Absent(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", o, err)
		}
		out = append(out, failClosedWebhooks(u)...)
	}
	return out, nil
}

// IsWebhookConfiguration says whether an object tells the server of admission
// webhooks.
func IsWebhookConfiguration(o object.Ref) bool {
	return o.GroupVersionKind().Group == "admissionregistration.k8s.io" && strings.HasSuffix(o.Kind, "WebhookConfiguration")
}

// Unanswered is one webhook that does not answer.
type Unanswered struct {
	Config  object.Ref `json:"config"`
	Webhook string     `json:"webhook"`
	Others  int        `json:"others,omitempty"` // of the same configuration that do not answer
	Why     string     `json:"why"`
}

// String reads "webhook a.b.c (and 3 more) of ValidatingWebhookConfiguration d does not
// answer: why".
func (u Unanswered) String() string {
	more := ""
	if u.Others > 0 {
		more = fmt.Sprintf(" (and %d more)", u.Others)
	}
	return fmt.Sprintf("webhook %s%s of %s does not answer: %s", u.Webhook, more, u.Config, u.Why)
}

// FirstOfEach keeps the first webhook of each configuration, which counts the others.
func FirstOfEach(list []Unanswered) (out []Unanswered) {
	at := map[string]int{}
	for _, u := range list {
		if i, known := at[u.Config.Key()]; known {
			out[i].Others++
			continue
		}
		at[u.Config.Key()] = len(out)
		out = append(out, u)
	}
	return out
}

// UnansweredWebhooks asks, once and side by side, every webhook among the named
// objects that fails closed, as WaitWebhooks does, and lists those that do not
// answer.
func (c *Client) UnansweredWebhooks(ctx context.Context, configs []object.Ref, namespace string) ([]Unanswered, error) {
	hooks, err := c.webhooksOf(ctx, configs)
	if err != nil {
		return nil, err
	}
	why := make([]string, len(hooks))
	var g errgroup.Group
	g.SetLimit(waiters)
	for i, h := range hooks {
		g.Go(func() error { why[i] = c.whyUnanswered(ctx, h, namespace); return nil })
	}
	_ = g.Wait()
	var out []Unanswered
	for i, h := range hooks {
		if why[i] != "" {
			out = append(out, Unanswered{Config: h.config, Webhook: h.name, Why: why[i]})
		}
	}
	return out, ctx.Err()
}

// outwaitWebhooks repeats an attempt while a webhook that is asked about it does not
// answer, for as long as opt allows: while its pods start or are replaced, what it
// guards is refused although nothing is wrong with it.
func outwaitWebhooks(ctx context.Context, o object.Ref, opt ApplyOptions, attempt func() error) error {
	waiting, cancel := context.WithTimeout(ctx, opt.Patience)
	defer cancel()
	last := ""
	for {
		err := attempt()
		name, silent := SilentWebhook(err)
		if !silent || waiting.Err() != nil {
			if opt.Report != nil && last != "" {
				opt.Report(o, "")
			}
			return err
		}
		if opt.Report != nil && name != last {
			opt.Report(o, "waits for webhook "+name+", which does not answer: "+err.Error())
		}
		last = name
		pause(waiting, webhookInterval)
	}
}

// webhookInterval is the time between two attempts that a silent webhook refuses.
const webhookInterval = time.Second

// silent is how the API server says that it got no answer from a webhook, be it one of
// admission or of conversion.
var silent = regexp.MustCompile(`failed calling webhook "([^"]*)"|conversion webhook for (.*?), Kind=([^ ]*) failed`)

// SilentWebhook names the webhook for whose silence the server refused something, one
// of conversion by what it converts: acme.dev/v1 Thing.
func SilentWebhook(err error) (name string, _ bool) {
	if err == nil {
		return "", false
	}
	found := silent.FindStringSubmatch(err.Error())
	if found == nil {
		return "", false
	}
	return cmp.Or(found[1], found[2]+" "+found[3]), true
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
	namespace, err := c.guardedNamespace(ctx, h, namespace)
	if err != nil || namespace == "" {
		return "" // it guards nothing that there is
	}
	if err := c.dryRunCreate(ctx, h, namespace); err != nil && !webhookAnswered(err, h.name) {
		return err.Error()
	}
	return ""
}

// guardedNamespace is a namespace in which the webhook is asked, the given one if it is
// among them, or "".
func (c *Client) guardedNamespace(ctx context.Context, h webhook, given string) (string, error) {
	if h.spaces == nil {
		return given, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(h.spaces)
	if err != nil {
		return given, nil
	}
	list, err := c.Core.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return "", err
	}
	found := ""
	for _, ns := range list.Items {
		if ns.DeletionTimestamp == nil && (found == "" || ns.Name == given) {
			found = ns.Name
		}
	}
	return found, nil
}

// selectedLabels are labels that a selector asks for, as far as it says which.
func selectedLabels(s *metav1.LabelSelector) map[string]string {
	if s == nil {
		return nil
	}
	out := maps.Clone(s.MatchLabels)
	if out == nil {
		out = map[string]string{}
	}
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

// dryRunCreate creates a minimal object that a webhook guards as a dry run. A refusal
// is the usual answer, and any answer will do.
func (c *Client) dryRunCreate(ctx context.Context, h webhook, namespace string) error {
	kind, err := c.mapper.KindFor(h.resource)
	if err != nil {
		return nil // a resource that the server does not have guards nothing yet
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(kind)
	u.SetName("caisson-probe")
	u.SetLabels(selectedLabels(h.objects))
	place, err := c.resourceFor(u, namespace)
	if err != nil {
		return nil
	}
	_, err = place.Create(ctx, u, metav1.CreateOptions{FieldManager: Manager, DryRun: []string{metav1.DryRunAll}})
	return err
}
