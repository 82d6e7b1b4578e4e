package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/caisson/caisson/internal/api/object"
)

// Bounds of one answer to the question why something is not ready.
const (
	whyWithin  = 5 * time.Second
	maxBehind  = 3000 // objects of one kind in all namespaces that are looked through
	maxOwners  = 60   // objects that are read only for who owns them
	maxDepth   = 8    // owners above one object
	maxReason  = 400  // characters of one reason
	namedCount = 1    // pods whose trouble is told; the others are counted
)

// weight orders troubles: what says more about the cause comes first.
type weight int

const (
	crashes     weight = iota // a container that cannot run
	unscheduled               // a pod without a node
	notAdmitted               // a workload in a queue
	notCreated                // pods that the server does not let be made
	unbound                   // a claim without a volume
	starting                  // a pod on its way
	slow                      // a pod that runs and is not ready
)

// trouble is what keeps one object from being ready.
type trouble struct {
	about  string // Pod web/front-0
	text   string
	weight weight
}

func (t trouble) String() string { return clip(t.about+" "+t.text, maxReason) }

// Why says what keeps an object from being ready, as deep as the cluster shows it: of
// the pods behind it, whoever made them, the pod's own reason with the last line of
// its log, else claims without a volume, workloads that Kueue does not admit, and pods
// that may not be made. It is "" where nothing more is known than the object says of
// itself. No value of a Secret is part of it.
func (c *Client) Why(ctx context.Context, o object.Ref) string {
	if !mayHaveBehind(o.GroupVersionKind().GroupKind()) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, whyWithin)
	defer cancel()
	u, err := c.Get(ctx, o)
	if err != nil {
		return ""
	}
	s := c.newSearch(u)
	var found []trouble
	found = append(found, s.podTroubles(ctx)...)
	found = append(found, s.admissionTroubles(ctx)...)
	found = append(found, s.makerTroubles(ctx)...)
	found = append(found, s.claimTroubles(ctx)...)
	return summarize(found)
}

// mayHaveBehind says whether objects of a kind can have pods or claims behind them, or
// wait in a queue themselves. Of Kubernetes' own kinds few can.
func mayHaveBehind(kind schema.GroupKind) bool {
	switch kind.Group {
	case "":
		return kind.Kind == "Pod" || kind.Kind == "PersistentVolumeClaim" || kind.Kind == "ReplicationController"
	case "apps", "batch":
		return true
	case workloads.Group:
		return kind.Kind == workloads.Kind
	}
	return isCustomGroup(kind.Group) || strings.HasSuffix(kind.Group, ".x-k8s.io")
}

// summarize tells the gravest trouble and counts others of its weight.
func summarize(found []trouble) string {
	if len(found) == 0 {
		return ""
	}
	slices.SortStableFunc(found, func(a, b trouble) int {
		return cmp.Or(cmp.Compare(a.weight, b.weight), strings.Compare(a.about, b.about))
	})
	like := 0
	for _, t := range found {
		if t.weight == found[0].weight {
			like++
		}
	}
	if like > namedCount {
		return fmt.Sprintf("%s (and %d more like it)", found[0], like-namedCount)
	}
	return found[0].String()
}

// brokenBehind says of an object that calls itself ready why it is not: a pod behind
// it, one that should run for ever, crashes or does not get its image, or a workload
// behind it has not rolled out. "" where all is well.
func (c *Client) brokenBehind(ctx context.Context, u *unstructured.Unstructured) string {
	ctx, cancel := context.WithTimeout(ctx, whyWithin)
	defer cancel()
	s := c.newSearch(u)
	var found []trouble
	for _, p := range s.podsBehind(ctx, cannotRun) {
		if t := s.podTrouble(ctx, p); t.weight == crashes && t.text != "" {
			found = append(found, t)
		}
	}
	if len(found) == 0 {
		return s.unfinishedRollout(ctx)
	}
	return summarize(found)
}

// unfinishedRollout is the first workload behind the object whose pods are not all there,
// ready and of its newest kind, with what keeps them.
func (s *search) unfinishedRollout(ctx context.Context) string {
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet"} {
		for _, u := range s.listBehind(ctx, "apps", kind, isUnready) {
			why := summarize(s.podTroubles(ctx))
			return strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", object.RefOf(u), readinessOf(u, object.Target{}).Waiting(), why), ": ")
		}
	}
	return ""
}

func isUnready(u *unstructured.Unstructured) bool { return !readinessOf(u, object.Target{}).Ready }

// listBehind are the objects of a kind that belong to the object and that are wanted.
func (s *search) listBehind(ctx context.Context, group, kind string, wanted func(*unstructured.Unstructured) bool) (out []*unstructured.Unstructured) {
	list, err := s.objects(ctx, schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind})
	if err != nil {
		return nil
	}
	for i := range list.Items {
		if u := &list.Items[i]; wanted(u) && s.isBehind(ctx, u) {
			out = append(out, u)
		}
	}
	return out
}

// cannotRun says whether a pod that should run for ever has a container that ends
// or never begins.
func cannotRun(p *corev1.Pod) bool {
	ended := p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed
	if ended || p.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		return false
	}
	return slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), isBroken)
}

// search finds what is behind one object. It asks for each kind once.
type search struct {
	*Client
	root      *unstructured.Unstructured
	namespace string                                // "" searches all
	owners    map[types.UID][]metav1.OwnerReference // of objects that were seen
	belongs   map[types.UID]bool                    // to root, as far as it is known
	read      int                                   // objects that were read for their owners
}

func (c *Client) newSearch(u *unstructured.Unstructured) *search {
	return &search{
		Client: c, root: u, namespace: u.GetNamespace(),
		owners: map[types.UID][]metav1.OwnerReference{}, belongs: map[types.UID]bool{u.GetUID(): true},
	}
}

// podTroubles are those of the pods behind the object, or of the object where it is a
// pod itself.
func (s *search) podTroubles(ctx context.Context) (out []trouble) {
	for _, p := range s.podsBehind(ctx, notYetReady) {
		if t := s.podTrouble(ctx, p); t.text != "" {
			out = append(out, t)
		}
	}
	return out
}

func notYetReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded {
		return false
	}
	ready, _ := podCondition(p, corev1.PodReady)
	return ready.Status != corev1.ConditionTrue
}

func podCondition(p *corev1.Pod, name corev1.PodConditionType) (corev1.PodCondition, bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == name {
			return c, true
		}
	}
	return corev1.PodCondition{}, false
}

// podsBehind are the pods that belong to the object and that are wanted.
func (s *search) podsBehind(ctx context.Context, wanted func(*corev1.Pod) bool) (out []*corev1.Pod) {
	list, err := s.pods(ctx)
	if err != nil {
		return nil
	}
	for i := range list.Items {
		if p := &list.Items[i]; wanted(p) && s.isBehind(ctx, p) {
			out = append(out, p)
		}
	}
	return out
}

// isBehind says whether an object is the one that is asked about, or belongs to it
// through any chain of owners.
func (s *search) isBehind(ctx context.Context, o metav1.Object) bool {
	s.owners[o.GetUID()] = o.GetOwnerReferences()
	return s.leadsToRoot(ctx, o.GetUID(), o.GetNamespace(), 0)
}

func (s *search) leadsToRoot(ctx context.Context, uid types.UID, namespace string, depth int) bool {
	if known, ok := s.belongs[uid]; ok {
		return known
	}
	s.belongs[uid] = false // also ends a circle
	if depth >= maxDepth {
		return false
	}
	for _, owner := range s.owners[uid] {
		s.readOwners(ctx, owner, namespace)
		if s.leadsToRoot(ctx, owner.UID, namespace, depth+1) {
			s.belongs[uid] = true
			return true
		}
	}
	return false
}

// readOwners learns who owns an owner, unless it is known.
func (s *search) readOwners(ctx context.Context, owner metav1.OwnerReference, namespace string) {
	if _, known := s.owners[owner.UID]; known || owner.UID == s.root.GetUID() || s.read >= maxOwners {
		return
	}
	s.read++
	s.owners[owner.UID] = nil
	o := object.Ref{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: namespace, Name: owner.Name}
	u, err := s.Get(ctx, o)
	if err == nil && u.GetUID() == owner.UID {
		s.owners[owner.UID] = u.GetOwnerReferences()
	}
}

// workloads is the kind by which Kueue keeps a job waiting.
var workloads = schema.GroupVersionKind{Group: "kueue.x-k8s.io", Kind: "Workload"}

// admissionTroubles are Kueue's workloads of the object that have no quota yet.
func (s *search) admissionTroubles(ctx context.Context) (out []trouble) {
	list, err := s.objects(ctx, workloads)
	if err != nil {
		return nil
	}
	for i := range list.Items {
		u := &list.Items[i]
		if text := notAdmittedYet(u); text != "" && s.isBehind(ctx, u) {
			out = append(out, trouble{object.RefOf(u).String(), text, notAdmitted})
		}
	}
	return out
}

// notAdmittedYet is why Kueue keeps a workload waiting; "" where it does not.
func notAdmittedYet(u *unstructured.Unstructured) string {
	for _, name := range []string{"Finished", "Admitted"} {
		if c, found := conditionOf(u, name); found && c["status"] == "True" {
			return ""
		}
	}
	for _, name := range []string{"QuotaReserved", "Admitted"} {
		if c, found := conditionOf(u, name); found && c["status"] == "False" {
			text, _ := c["message"].(string)
			return "is not admitted by Kueue: " + textOr(oneLine(text), name+" is False")
		}
	}
	return "is not admitted by Kueue: its controller has not looked at it; is it running, and does the queue exist?"
}

// makerTroubles are why what should make pods does not.
func (s *search) makerTroubles(ctx context.Context) (out []trouble) {
	for _, kind := range []string{"ReplicaSet", "StatefulSet", "DaemonSet", "Job"} {
		group := "apps"
		if kind == "Job" {
			group = "batch"
		}
		for _, u := range s.listBehind(ctx, group, kind, lacksPods) {
			out = append(out, s.makerTrouble(ctx, u)...)
		}
	}
	return out
}

// lacksPods says whether fewer pods were made than are wanted.
func lacksPods(u *unstructured.Unstructured) bool {
	number := func(otherwise int64, path ...string) int64 {
		n, found, _ := unstructured.NestedInt64(u.Object, path...)
		if !found {
			return otherwise
		}
		return n
	}
	switch u.GetKind() {
	case "DaemonSet":
		return number(0, "status", "currentNumberScheduled") < number(0, "status", "desiredNumberScheduled")
	case "Job":
		suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend")
		return !suspended && number(0, "status", "active")+number(0, "status", "succeeded")+number(0, "status", "failed") == 0
	}
	return number(0, "status", "replicas") < number(1, "spec", "replicas")
}

func (s *search) makerTrouble(ctx context.Context, u *unstructured.Unstructured) []trouble {
	text := s.warningAbout(ctx, u)
	if c, found := conditionOf(u, "ReplicaFailure"); found && c["status"] == "True" && text == "" {
		text, _ = c["message"].(string)
	}
	if text == "" {
		return nil
	}
	return []trouble{{object.RefOf(u).String(), "cannot make its pods: " + oneLine(text), notCreated}}
}

// claimTroubles are the claims of the object that have no volume: it is one, owns
// them, or has pods that use them, which say so themselves.
func (s *search) claimTroubles(ctx context.Context) (out []trouble) {
	list, err := s.claims(ctx)
	if err != nil {
		return nil
	}
	for i := range list.Items {
		claim := &list.Items[i]
		if claim.Status.Phase != corev1.ClaimPending || !s.isBehind(ctx, claim) {
			continue
		}
		about := "PersistentVolumeClaim " + claim.Namespace + "/" + claim.Name
		out = append(out, trouble{about, s.whyUnbound(ctx, claim), unbound})
	}
	return out
}

func (s *search) whyUnbound(ctx context.Context, claim *corev1.PersistentVolumeClaim) string {
	text := "has no volume yet"
	if class := claim.Spec.StorageClassName; class != nil && *class != "" {
		text += " of storage class " + *class
	}
	if said := s.newestEvent(ctx, claim.Namespace, claim.UID); said != "" {
		text += ": " + oneLine(said)
	}
	return text
}

func (s *search) warningAbout(ctx context.Context, u *unstructured.Unstructured) string {
	return s.newestWarning(ctx, u.GetNamespace(), string(u.GetUID()))
}

// newestEvent is the newest event about an object, whatever its type.
func (c *Client) newestEvent(ctx context.Context, namespace string, uid types.UID) string {
	return c.newestMessage(ctx, namespace, "involvedObject.uid="+string(uid))
}

// newestWarning is the newest warning about an object; "" for none.
func (c *Client) newestWarning(ctx context.Context, namespace, uid string) string {
	return c.newestMessage(ctx, namespace, "type=Warning,involvedObject.uid="+uid)
}

func (c *Client) newestMessage(ctx context.Context, namespace, selector string) string {
	about := metav1.ListOptions{FieldSelector: selector, Limit: maxBehind}
	list, err := c.Core.CoreV1().Events(namespace).List(ctx, about)
	if err != nil {
		return ""
	}
	newest, at := "", time.Time{}
	for _, e := range list.Items {
		if when := eventTime(&e); newest == "" || !when.Before(at) {
			newest, at = e.Message, when
		}
	}
	return strings.TrimSpace(newest)
}

// eventTime is when an event was last seen, as far as its kind of writer says.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

// oneLine is foreign text in one line of bounded length, without control characters.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
	return clip(strings.Join(strings.Fields(text), " "), maxReason)
}

// clip shortens text to n characters.
func clip(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return text
}
