package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/caisson/caisson/internal/api/object"
)

// ErrWebhook: a webhook does not answer, and what it guards cannot be changed.
var ErrWebhook = errors.New("the webhook does not answer")

// webhook is one entry of a webhook configuration that fails closed.
type webhook struct {
	config   object.Ref
	mutates  bool
	settings admissionv1.ValidatingWebhook // a mutating one has these too
}

// failClosedWebhooks lists the webhooks of a configuration whose silence forbids what they
// guard. Other kinds of objects have none, and one that cannot be read is left out.
func failClosedWebhooks(u *unstructured.Unstructured) (out []webhook) {
	if !IsWebhookConfiguration(object.RefOf(u)) {
		return nil
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
	for _, e := range list {
		m, _ := e.(map[string]any)
		h := webhook{config: object.RefOf(u), mutates: strings.HasPrefix(u.GetKind(), "Mutating")}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(m, &h.settings) != nil {
			continue
		}
		if p := h.settings.FailurePolicy; p == nil || *p == admissionv1.Fail {
			out = append(out, h)
		}
	}
	return out
}

// WaitWebhooks waits until every webhook among the named objects that fails
// closed answers: its Service has a ready endpoint, and creating or changing something
// it guards, in namespace and as a dry run, does not fail for want of an answer. One that
// nothing on trial reaches is not waited for beyond its endpoint.
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

// Unasked is one webhook that nothing on trial reaches: it may answer or not.
type Unasked struct {
	Config  object.Ref `json:"config"`
	Webhook string     `json:"webhook"`
	Why     string     `json:"why"`
}

// UnansweredWebhooks asks, side by side, every webhook among the named objects that fails
// closed, as WaitWebhooks does, and lists those that do not answer. One that is silent is
// asked once more: it may only have been slow.
func (c *Client) UnansweredWebhooks(ctx context.Context, configs []object.Ref, namespace string) ([]Unanswered, error) {
	silent, _, err := c.AskWebhooks(ctx, configs, namespace)
	return silent, err
}

// AskWebhooks is UnansweredWebhooks, and lists as well those of which the endpoint is all
// that is known.
func (c *Client) AskWebhooks(ctx context.Context, configs []object.Ref, namespace string) (silent []Unanswered, unasked []Unasked, _ error) {
	hooks, err := c.webhooksOf(ctx, configs)
	if err != nil {
		return nil, nil, err
	}
	answers := make([]answer, len(hooks))
	var g errgroup.Group
	g.SetLimit(waiters)
	for i, h := range hooks {
		g.Go(func() error { answers[i] = c.askWebhookAgain(ctx, h, namespace); return nil })
	}
	_ = g.Wait()
	for i, h := range hooks {
		switch a := answers[i]; {
		case a.silent != "":
			silent = append(silent, Unanswered{Config: h.config, Webhook: h.settings.Name, Why: a.silent})
		case a.unasked != "":
			unasked = append(unasked, Unasked{Config: h.config, Webhook: h.settings.Name, Why: a.unasked})
		}
	}
	return silent, unasked, ctx.Err()
}

// askWebhookAgain asks a webhook, and once more where it is silent.
func (c *Client) askWebhookAgain(ctx context.Context, h webhook, namespace string) answer {
	if a := c.askWebhook(ctx, h, namespace); a.silent == "" {
		return a
	}
	return c.askWebhook(ctx, h, namespace)
}

// outwaitWebhooks repeats an attempt while a webhook that is asked about it does not
// answer, for as long as opt allows: while its pods start or are replaced, what it
// guards is refused although nothing is wrong with it. What a webhook denies is tried
// again for a moment.
func outwaitWebhooks(ctx context.Context, o object.Ref, opt ApplyOptions, attempt func() error) error {
	waiting, cancel := context.WithTimeout(ctx, opt.Patience)
	defer cancel()
	last, began := "", time.Now()
	for {
		err := attempt()
		trouble := webhookTrouble(err, time.Since(began))
		if trouble == "" || waiting.Err() != nil {
			if opt.Report != nil && last != "" {
				opt.Report(o, "")
			}
			return err
		}
		if opt.Report != nil && trouble != last {
			opt.Report(o, trouble+": "+err.Error())
		}
		last = trouble
		pause(waiting, webhookInterval)
	}
}

// webhookTrouble says of an error, after so long, for which webhook's sake it is worth
// trying again; "" for none.
func webhookTrouble(err error, after time.Duration) string {
	if name, silent := SilentWebhook(err); silent {
		return "waits for webhook " + name + ", which does not answer"
	}
	if err == nil || after >= deniedFor {
		return ""
	}
	if found := denied.FindStringSubmatch(err.Error()); found != nil {
		return "is denied by webhook " + found[1] + ", which may not know yet what was made just before"
	}
	return ""
}

// deniedFor is how long what a webhook denies is tried again. Many decide by what they
// have in their cache, where a new object arrives a moment after it was made.
const deniedFor = 10 * time.Second

// denied is how the API server says that a webhook said no, and how that reads where it
// was about a Secret.
var denied = regexp.MustCompile(`admission webhook "([^"]*)" (?:denied the request|refuses it)`)

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
		why := c.askWebhook(ctx, h, namespace).silent
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("webhook %s of %s: %w: %s: %w", h.settings.Name, h.config, ErrWebhook, last, context.Cause(ctx))
		case why == "":
			if last != notAsked {
				report(h.config, "")
			}
			return nil
		case why != last:
			report(h.config, "webhook "+h.settings.Name+": "+why)
		}
		last = why
		pause(ctx, time.Second)
	}
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
		return true // the trial tells
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
