package helm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	helmkube "helm.sh/helm/v3/pkg/kube"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"

	"helm.sh/helm/v3/pkg/chart"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
)

// actionClient is the cluster as Helm's actions see it, for one action. It
// keeps Helm's own way of building objects and replaces how they are written,
// waited for and deleted. It carries the action's context because Helm's
// interface has none.
type actionClient struct {
	*helmkube.Client
	ctx      context.Context
	engine   *Engine
	rendered *handover // nil where a stored revision comes back
	patience time.Duration
}

var (
	_ helmkube.Interface                    = (*actionClient)(nil)
	_ helmkube.InterfaceExt                 = (*actionClient)(nil)
	_ helmkube.InterfaceDeletionPropagation = (*actionClient)(nil)
)

// parts are what an action needs of a release, made afresh: Helm changes the chart and
// the values.
type parts struct {
	chart    *chart.Chart
	values   map[string]any
	rendered *handover // what the action's client holds against it what it is given
}

func (e *Engine) makeParts(spec Spec) (p parts, err error) {
	objects, err := spec.Rendering.Objects()
	if err != nil {
		return parts{}, err
	}
	if p.chart, err = renderedChart(spec.Chart, objects, spec.Rendering.Notes); err != nil {
		return parts{}, err
	}
	p.rendered = newHandover(objects, e.pulls)
	p.values, err = NativeValues(spec.Values)
	return p, err
}

// Create applies the resources, in order.
func (a *actionClient) Create(resources helmkube.ResourceList) (*helmkube.Result, error) {
	for _, info := range resources {
		if err := a.apply(info); err != nil {
			return nil, err
		}
	}
	return &helmkube.Result{Created: resources}, nil
}

// Update applies target and deletes what original has beyond it, unless the
// object says it wants to be kept. The result is never nil.
func (a *actionClient) Update(original, target helmkube.ResourceList, _ bool) (*helmkube.Result, error) {
	result := &helmkube.Result{}
	for _, info := range target {
		if err := a.apply(info); err != nil {
			return result, err
		}
		result.Updated = append(result.Updated, info)
	}
	var gone []object.Ref
	for _, info := range original.Difference(target) {
		keep, err := a.kept(info)
		if err != nil {
			return result, err
		}
		if !keep {
			gone = append(gone, objectOf(info))
			result.Deleted = append(result.Deleted, info)
		}
	}
	return result, a.engine.cluster.Delete(a.ctx, gone)
}

// kept says whether the live object carries Helm's keep policy.
func (a *actionClient) kept(info *resource.Info) (bool, error) {
	live, err := a.engine.cluster.Get(a.ctx, objectOf(info))
	if kube.Absent(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return live.GetAnnotations()[helmkube.ResourcePolicyAnno] == helmkube.KeepPolicy, nil
}

func (a *actionClient) apply(info *resource.Info) error {
	if err := context.Cause(a.ctx); err != nil {
		return err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(info.Object)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", objectOf(info), err)
	}
	u := &unstructured.Unstructured{Object: content}
	if err := RewriteObject(u, a.engine.pulls); err != nil {
		return err
	}
	if a.rendered != nil {
		if err := a.rendered.check(u); err != nil {
			return err
		}
	}
	// Helm has checked that the object is the release's or nobody's.
	_, err = a.engine.cluster.Apply(a.ctx, []*unstructured.Unstructured{u}, kube.ApplyOptions{
		Namespace: info.Namespace, Force: true, Patience: a.patience, Report: a.engine.report,
	})
	return err
}

// Wait waits until every resource is current.
func (a *actionClient) Wait(resources helmkube.ResourceList, timeout time.Duration) error {
	return a.wait(resources, timeout, false)
}

// WaitWithJobs waits as Wait does.
func (a *actionClient) WaitWithJobs(resources helmkube.ResourceList, timeout time.Duration) error {
	return a.wait(resources, timeout, false)
}

// WatchUntilReady waits until hooks have run to completion.
func (a *actionClient) WatchUntilReady(resources helmkube.ResourceList, timeout time.Duration) error {
	return a.wait(resources, timeout, true)
}

func (a *actionClient) wait(resources helmkube.ResourceList, timeout time.Duration, completion bool) error {
	ctx, cancel := context.WithTimeout(a.ctx, timeout)
	defer cancel()
	targets := make([]object.Target, len(resources))
	for i, info := range resources {
		targets[i] = object.Target{Object: objectOf(info), Completion: completion}
	}
	return a.engine.cluster.WaitReady(ctx, targets, func(t object.Target, s kube.State) { a.engine.report(t.Object, s.Waiting()) })
}

// WaitForDelete waits until the resources are gone.
func (a *actionClient) WaitForDelete(resources helmkube.ResourceList, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(a.ctx, timeout)
	defer cancel()
	return a.engine.cluster.WaitGone(ctx, objectsOf(resources))
}

// Delete deletes in reverse order and waits.
func (a *actionClient) Delete(resources helmkube.ResourceList) (*helmkube.Result, []error) {
	return a.DeleteWithPropagationPolicy(resources, metav1.DeletePropagationBackground)
}

// DeleteWithPropagationPolicy deletes as Delete does; the policy is always
// background. Helm gives the resources in the order they should go.
func (a *actionClient) DeleteWithPropagationPolicy(resources helmkube.ResourceList, _ metav1.DeletionPropagation) (*helmkube.Result, []error) {
	var errs []error
	objects := objectsOf(resources)
	// Custom resources go first, while what handles their finalizers is there.
	slices.SortStableFunc(objects, func(x, y object.Ref) int { return rank(x) - rank(y) })
	for _, o := range objects {
		if err := a.engine.cluster.Delete(a.ctx, []object.Ref{o}); err != nil {
			errs = append(errs, err)
		}
	}
	return &helmkube.Result{Deleted: resources}, errs
}

func rank(o object.Ref) int {
	if group := o.GroupVersionKind().Group; strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io") {
		return 0
	}
	return 1
}

func objectOf(info *resource.Info) object.Ref {
	apiVersion, kind := info.Mapping.GroupVersionKind.ToAPIVersionAndKind()
	return object.Ref{APIVersion: apiVersion, Kind: kind, Namespace: info.Namespace, Name: info.Name}
}

func objectsOf(resources helmkube.ResourceList) []object.Ref {
	out := make([]object.Ref, len(resources))
	for i, info := range resources {
		out[i] = objectOf(info)
	}
	return out
}
