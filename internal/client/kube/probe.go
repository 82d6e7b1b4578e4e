package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/caisson/caisson/internal/api/object"
)

// ErrLeft: something that was brought for a while could not be taken away again.
var ErrLeft = errors.New("it is still in the cluster")

// Question is a DaemonSet whose pods each say something once, in their log.
type Question struct {
	// Set belongs in namespace SystemNamespace. Its selector must be its own
	// alone, and its nodeSelector says which nodes are asked.
	Set *unstructured.Unstructured
	// Secret is put beside Set under its own name; nil for none.
	Secret *unstructured.Unstructured
	// Timeout bounds the wait for the nodes, not the clearing up after it.
	Timeout time.Duration
	// Limit bounds what is read of one log, in bytes.
	Limit int64
	// Enough says whether a log holds all that is asked for.
	Enough func(log []byte) bool
	// Report hears now and then how many nodes have answered and what keeps one that
	// has not; nil hears nothing.
	Report func(text string)
}

// Answer is what the pod on one node said, or why it said nothing.
type Answer struct {
	Node    string
	Log     []byte // as much as was enough
	Trouble string // "" where Log is enough
	NoImage bool   // the trouble is that the image does not come
}

const (
	askEvery    = 500 * time.Millisecond
	askAtOnce   = 16 // logs read side by side
	logTimeout  = 10 * time.Second
	forgetAfter = 2 * time.Hour       // a set that old was left by a run that was killed
	clearWithin = 90 * time.Second    // for taking everything away again
	labelAgent  = "caisson.dev/agent" // kind of a set
)

// Ask brings the question's set, waits until the pod on every node that it is
// for has said enough or the time is up, and takes everything away again,
// whatever comes, also when ctx has ended: the set, its pods and its secret, and
// the namespace if it was made here and nothing else is in it. Nodes that are not
// ready are not waited for. The answers are in the order of the nodes. An error
// beside answers is an ErrLeft.
func (c *Client) Ask(ctx context.Context, q Question) (_ []Answer, err error) {
	a, err := c.newAsking(ctx, q)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cleared := a.deleteAll(ctx); cleared != nil {
			err = errors.Join(err, fmt.Errorf("removing %s: %w: %w", a.object, ErrLeft, cleared))
		}
	}()
	if err := a.createSet(ctx); err != nil {
		return nil, fmt.Errorf("creating %s: %w", a.object, err)
	}
	return a.awaitAnswers(ctx)
}

// asking is one run of Ask.
type asking struct {
	*Client
	Question
	object    object.Ref // the set
	sets      dynamic.ResourceInterface
	selector  string // of its pods
	namespace object.Ref
	made      bool // the namespace was
	nodes     []corev1.Node

	mu     sync.Mutex
	logs   map[string][]byte // by node, those that are enough
	failed map[string]error  // by node, why a log was not read
}

func (c *Client) newAsking(ctx context.Context, q Question) (*asking, error) {
	a := &asking{Client: c, Question: q, logs: map[string][]byte{}, failed: map[string]error{}}
	resource, _, err := c.resourceOfKind(q.Set.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	a.sets = resource.Namespace(SystemNamespace)
	a.object = object.RefOf(q.Set)
	a.object.Namespace = SystemNamespace
	match, _, _ := unstructured.NestedStringMap(q.Set.Object, "spec", "selector", "matchLabels")
	a.selector = labels.Set(match).String()
	where, _, _ := unstructured.NestedStringMap(q.Set.Object, "spec", "template", "spec", "nodeSelector")
	all, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if labels.SelectorFromSet(where).Matches(labels.Set(n.Labels)) {
			a.nodes = append(a.nodes, n)
		}
	}
	return a, nil
}

// createSet removes what a killed run left and creates the set with what it needs.
func (a *asking) createSet(ctx context.Context) (err error) {
	a.deleteStaleSets(ctx)
	if a.namespace, a.made, err = a.EnsureNamespace(ctx, SystemNamespace, nil); err != nil {
		return err
	}
	if a.made {
		if err := a.permitNodeFiles(ctx); err != nil {
			return err
		}
	}
	if a.Secret != nil {
		if _, err := a.Core.CoreV1().Secrets(SystemNamespace).Create(ctx, a.secretToCreate(), metav1.CreateOptions{FieldManager: Manager}); err != nil {
			return err
		}
	}
	made, err := a.sets.Create(ctx, a.Set, metav1.CreateOptions{FieldManager: Manager})
	if err != nil {
		return err
	}
	a.object.UID = string(made.GetUID())
	return nil
}

// permitNodeFiles lets pods of the namespace have files of the node, where Pod Security
// would not by default.
func (a *asking) permitNodeFiles(ctx context.Context) error {
	const patch = `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged","pod-security.kubernetes.io/warn":"privileged","pod-security.kubernetes.io/audit":"privileged"}}}`
	_, err := a.Core.CoreV1().Namespaces().Patch(ctx, SystemNamespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: Manager})
	return err
}

// deleteStaleSets removes sets of the kind that nobody can be waiting for any more.
func (a *asking) deleteStaleSets(ctx context.Context) {
	list, err := a.sets.List(ctx, metav1.ListOptions{LabelSelector: labelAgent + "=" + a.Set.GetLabels()[labelAgent]})
	if err != nil {
		return
	}
	for i := range list.Items {
		if u := &list.Items[i]; time.Since(u.GetCreationTimestamp().Time) > forgetAfter {
			_ = a.sets.Delete(ctx, u.GetName(), foregroundDeletion())
			_ = a.Core.CoreV1().Secrets(SystemNamespace).Delete(ctx, u.GetName(), metav1.DeleteOptions{})
		}
	}
}

func foregroundDeletion() metav1.DeleteOptions {
	policy := metav1.DeletePropagationForeground
	return metav1.DeleteOptions{PropagationPolicy: &policy}
}

// awaitAnswers reads the logs of the pods until all have answered or time is up.
func (a *asking) awaitAnswers(ctx context.Context) ([]Answer, error) {
	waiting, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	reports := newPace()
	for {
		pods, err := a.podsByNode(waiting)
		if err != nil && waiting.Err() == nil {
			return nil, err
		}
		a.readLogs(waiting, pods)
		if a.allAnswered() || waiting.Err() != nil {
			break
		}
		if a.Report != nil && reports.isDue() {
			a.Report(a.describeWait(waiting, pods))
		}
		pause(waiting, askEvery)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return a.collectAnswers(ctx)
}

// podsByNode are those of the set, by node. What else bears their labels does not count.
func (a *asking) podsByNode(ctx context.Context) (map[string]*corev1.Pod, error) {
	list, err := a.Core.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of %s: %w", a.object, err)
	}
	out := map[string]*corev1.Pod{}
	for i := range list.Items {
		p := &list.Items[i]
		if owner := metav1.GetControllerOf(p); owner != nil && string(owner.UID) == a.object.UID && p.DeletionTimestamp == nil {
			out[assignedNode(p)] = p
		}
	}
	return out, nil
}

// assignedNode is the node a pod is on; one that waits for the scheduler is bound by
// its affinity to the node that it was made for.
func assignedNode(p *corev1.Pod) string {
	if p.Spec.NodeName != "" || p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return p.Spec.NodeName
	}
	for _, term := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == metav1.ObjectNameField && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// readLogs reads the logs of pods that began to run and have not answered yet.
func (a *asking) readLogs(ctx context.Context, pods map[string]*corev1.Pod) {
	var g errgroup.Group
	g.SetLimit(askAtOnce)
	for node, p := range pods {
		if a.logs[node] != nil || !hasBegun(p) {
			continue
		}
		g.Go(func() error {
			log, err := a.readLog(ctx, p.Name)
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.failed[node] = err; err == nil && a.Enough(log) {
				a.logs[node] = log
			}
			return nil
		})
	}
	_ = g.Wait()
}

func hasBegun(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil || s.State.Terminated != nil {
			return true
		}
	}
	return false
}

func (a *asking) readLog(ctx context.Context, pod string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	stream, err := a.Core.CoreV1().Pods(SystemNamespace).GetLogs(pod, &corev1.PodLogOptions{LimitBytes: &a.Limit}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return io.ReadAll(io.LimitReader(stream, a.Limit))
}

// allAnswered says whether every node that is ready has answered.
func (a *asking) allAnswered() bool {
	for i := range a.nodes {
		if a.logs[a.nodes[i].Name] == nil && nodeReady(&a.nodes[i]) {
			return false
		}
	}
	return true
}

// describeWait says how many nodes have answered, and of one that has not, why.
func (a *asking) describeWait(ctx context.Context, pods map[string]*corev1.Pod) string {
	answered, asked, silent := 0, 0, ""
	for i := range a.nodes {
		n := &a.nodes[i]
		if !nodeReady(n) {
			continue
		}
		if asked++; a.logs[n.Name] != nil {
			answered++
			continue
		}
		if silent == "" {
			why, _ := a.findTrouble(ctx, n, pods[n.Name])
			silent = "; node " + n.Name + ": " + oneLine(why)
		}
	}
	return fmt.Sprintf("%d of %d nodes have answered%s", answered, asked, silent)
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// collectAnswers gives for each node its log, or why there is none.
func (a *asking) collectAnswers(ctx context.Context) ([]Answer, error) {
	pods, err := a.podsByNode(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Answer, len(a.nodes))
	for i := range a.nodes {
		n := &a.nodes[i]
		out[i] = Answer{Node: n.Name, Log: a.logs[n.Name]}
		if out[i].Log == nil {
			out[i].Trouble, out[i].NoImage = a.findTrouble(ctx, n, pods[n.Name])
		}
	}
	return out, nil
}

func (a *asking) findTrouble(ctx context.Context, n *corev1.Node, p *corev1.Pod) (text string, noImage bool) {
	switch {
	case !nodeReady(n):
		return "the node is not ready", false
	case p == nil:
		return textOr(a.newestWarning(ctx, SystemNamespace, a.object.UID), "no pod was made for the node"), false
	}
	if text, noImage = waitsFor(p); text != "" {
		return text, noImage
	}
	if text = a.newestWarning(ctx, SystemNamespace, string(p.UID)); text != "" {
		return text, false
	}
	if err := a.failed[n.Name]; err != nil {
		return fmt.Sprintf("the log of its pod cannot be read: %v", err), false
	}
	return fmt.Sprintf("its pod is %s and said nothing in %s", textOr(string(p.Status.Phase), "unknown"), a.Timeout), false
}

func textOr(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// waitsFor is what a pod says of itself.
func waitsFor(p *corev1.Pod) (text string, noImage bool) {
	for _, s := range p.Status.ContainerStatuses {
		for _, ended := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			if ended != nil {
				return strings.TrimSuffix(fmt.Sprintf("it ended with code %d: %s", ended.ExitCode, strings.TrimSpace(ended.Message)), ": "), false
			}
		}
		if w := s.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": "), unpulled[w.Reason]
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Message, false
		}
	}
	return strings.TrimPrefix(p.Status.Reason+": "+p.Status.Message, ": "), false
}

// deleteAll takes everything away again.
func (a *asking) deleteAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearWithin)
	defer cancel()
	errs := []error{a.removeSet(ctx)}
	if a.Secret != nil {
		if err := a.Core.CoreV1().Secrets(SystemNamespace).Delete(ctx, a.secretToCreate().Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	if a.made && errs[0] == nil {
		_, _, err := a.RemoveNamespace(ctx, a.namespace) // what others put there stays
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeSet deletes the set and waits until its pods are gone with it. Where no
// kubelet answers, nobody else would ever let go of them.
func (a *asking) removeSet(ctx context.Context) error {
	err := a.sets.Delete(ctx, a.object.Name, foregroundDeletion())
	for err == nil {
		if _, err = a.sets.Get(ctx, a.object.Name, metav1.GetOptions{}); err == nil {
			a.letGo(ctx)
			pause(ctx, askEvery)
			err = ctx.Err()
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// letGo has the server forget the set's pods on nodes that are not ready.
func (a *asking) letGo(ctx context.Context) {
	away := map[string]bool{}
	for i := range a.nodes {
		if !nodeReady(&a.nodes[i]) {
			away[a.nodes[i].Name] = true
		}
	}
	if len(away) == 0 {
		return
	}
	list, err := a.Core.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return
	}
	now := int64(0)
	for i := range list.Items {
		if p := &list.Items[i]; away[p.Spec.NodeName] {
			_ = a.Core.CoreV1().Pods(SystemNamespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		}
	}
}
