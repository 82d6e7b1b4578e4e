package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/caisson/caisson/internal/api/object"
)

// Errors of WaitReady.
var (
	// ErrNotReady: the time given was not enough.
	ErrNotReady = errors.New("not ready in time")
	// ErrFailed: the object says of itself that it failed.
	ErrFailed = errors.New("the object reports failure")
)

// State is one look at a Target.
type State struct {
	Ready   bool   `json:"ready"`
	Missing bool   `json:"missing,omitempty"`
	Failed  bool   `json:"failed,omitempty"` // will not become ready by waiting
	UID     string `json:"uid,omitempty"`
	Message string `json:"message,omitempty"`
	version string
}

// Waiting is what the target waits for; "" where it is ready.
func (s State) Waiting() string {
	if s.Ready {
		return ""
	}
	return textOr(strings.TrimSpace(s.Message), "not ready")
}

// Look reads a target once. A missing object is a State, not an error, and so is one that
// cannot be read for want of a conversion webhook's answer.
func (c *Client) Look(ctx context.Context, t object.Target) (State, error) {
	u, err := c.Get(ctx, t.Object)
	if _, silent := SilentWebhook(err); silent {
		u, err = c.Get(ctx, t.Object) // one that is slow once is not silent
	}
	if apierrors.IsNotFound(err) || errors.Is(err, ErrNoKind) {
		return State{Missing: true, Message: "does not exist"}, nil
	}
	if name, silent := SilentWebhook(err); silent {
		return State{Message: "cannot be read: the conversion webhook for " + name + " does not answer", UID: t.Object.UID}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("reading %s: %w", t.Object, err)
	}
	s := readinessOf(u, t)
	if !s.Ready && c.waitsForConsumer(ctx, u) {
		s = State{Ready: true, Message: "waits for its first consumer"}
	}
	if s.Ready && u.GetNamespace() != "" && isCustom(u) {
		if why := c.brokenBehind(ctx, u); why != "" {
			s = State{Message: "calls itself ready, but " + why}
		}
	}
	s.UID, s.version = string(u.GetUID()), u.GetResourceVersion()
	return s, nil
}

// readinessOf says how ready u is. A status that speaks of an older generation counts
// for nothing. One that counts further than the object itself counts something else:
// KServe writes down the generation of the Deployment that it made.
func readinessOf(u *unstructured.Unstructured, t object.Target) State {
	if u.GetDeletionTimestamp() != nil {
		return State{Message: "is being deleted"}
	}
	observed, found, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if found && observed < u.GetGeneration() {
		return State{Message: fmt.Sprintf("generation %d not yet observed", u.GetGeneration())}
	}
	if observed > u.GetGeneration() {
		u = u.DeepCopy()
		unstructured.RemoveNestedField(u.Object, "status", "observedGeneration")
	}
	if t.Completion {
		return completionOf(u)
	}
	if s := kindReadiness(u); !s.Ready {
		return s
	}
	if t.Condition != "" {
		return conditionState(u, t.Condition)
	}
	r, err := status.Compute(u)
	if err != nil {
		return State{Message: fmt.Sprintf("has no readable status: %v", err)}
	}
	return State{Ready: r.Status == status.CurrentStatus, Failed: r.Status == status.FailedStatus, Message: r.Message}
}

func completionOf(u *unstructured.Unstructured) State {
	switch u.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		if s := conditionState(u, "Failed"); s.Ready {
			return State{Failed: true, Message: s.Message}
		}
		return conditionState(u, "Complete")
	case schema.GroupKind{Kind: "Pod"}:
		phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
		return State{Ready: phase == "Succeeded", Failed: phase == "Failed", Message: "phase is " + phase}
	}
	return State{Ready: true, Message: "exists"}
}

func conditionState(u *unstructured.Unstructured, condition string) State {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, e := range list {
		c, _ := e.(map[string]any)
		if c["type"] != condition {
			continue
		}
		if observed, ok := c["observedGeneration"].(int64); ok && observed < u.GetGeneration() {
			return State{Message: fmt.Sprintf("condition %s speaks of generation %d, not %d", condition, observed, u.GetGeneration())}
		}
		text := fmt.Sprintf("condition %s is %v", condition, c["status"])
		if m, _ := c["message"].(string); m != "" {
			text += ": " + m
		}
		return State{Ready: c["status"] == "True", Message: text}
	}
	return State{Message: fmt.Sprintf("condition %s is not reported", condition)}
}

// waiters bounds the targets watched at once.
const waiters = 64

// WaitReady waits until every target is ready or ctx ends. report, which may be
// nil, hears each target's state whenever its message changes; it is called
// from several goroutines. When the wait lasts, messages hold what Why finds. Errors
// name every target that is not ready, with the same, and wrap ErrNotReady (ctx ended)
// or ErrFailed.
func (c *Client) WaitReady(ctx context.Context, targets []object.Target, report func(object.Target, State)) error {
	return c.waitReady(ctx, targets, report, "not looked at")
}

// waitReady is WaitReady for targets of which something is known.
func (c *Client) waitReady(ctx context.Context, targets []object.Target, report func(object.Target, State), known string) error {
	if report == nil {
		report = func(object.Target, State) {}
	}
	errs := make([]error, len(targets))
	var g errgroup.Group
	g.SetLimit(waiters)
	for i, t := range targets {
		w := &wait{Client: c, target: t, report: report, asks: newPace(), bare: known}
		g.Go(func() error { errs[i] = w.untilReady(ctx); return nil })
	}
	_ = g.Wait()
	return joinDistinct(errs)
}

// joinDistinct joins errors, those with the same words once: an object may be waited for
// as itself and for a condition.
func joinDistinct(errs []error) error {
	said := map[string]bool{}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		if err == nil || said[err.Error()] {
			return true
		}
		said[err.Error()] = true
		return false
	})...)
}

// settleTime is what the controller of a custom resource is given to see a change.
const settleTime = 2 * time.Second

// WaitSettled is WaitReady after a change. A custom resource that is ready at once may
// only not have been looked at by its controller yet: it must still be ready a moment
// later. Other kinds are not asked again: a Job that is done may be gone by then. Where
// the time is up before, what was seen counts.
func (c *Client) WaitSettled(ctx context.Context, targets []object.Target, report func(object.Target, State)) error {
	if err := c.WaitReady(ctx, targets, report); err != nil {
		return err
	}
	custom := slices.DeleteFunc(slices.Clone(targets), func(t object.Target) bool { return !isCustomGroup(t.Object.GroupVersionKind().Group) })
	if len(custom) == 0 {
		return nil
	}
	pause(ctx, settleTime)
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return nil
	}
	return c.waitReady(ctx, custom, report, "was ready, and is looked at again")
}

// lookAgain is the longest time between two looks at an object that waits.
const lookAgain = 15 * time.Second

// awaitChange returns when the object may differ from what it was at version, when
// within or lookAgain has passed or when ctx ends.
func (c *Client) awaitChange(ctx context.Context, o object.Ref, version string, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, min(within, lookAgain))
	defer cancel()
	resource, err := c.resourceNamed(o)
	if errors.Is(err, ErrNoKind) {
		c.Refresh()
	}
	if err != nil || !watchOnce(ctx, resource, o.Name, version) {
		pause(ctx, time.Second)
	}
}

// watchOnce waits for one event of the named object; false when watching did
// not work.
func watchOnce(ctx context.Context, resource dynamic.ResourceInterface, name, version string) bool {
	seconds := int64(lookAgain / time.Second)
	w, err := resource.Watch(ctx, metav1.ListOptions{
		FieldSelector:   "metadata.name=" + name,
		ResourceVersion: version,
		TimeoutSeconds:  &seconds,
	})
	if err != nil {
		return false
	}
	defer w.Stop()
	select {
	case <-ctx.Done():
		return true
	case e, open := <-w.ResultChan():
		return open && e.Type != "ERROR"
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
