package support

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
)

// Bounds of what is read.
const (
	maxLog     = 256 << 10 // bytes of one log
	maxLines   = 2000      // of one log, its last ones
	maxFailing = 40        // pods whose logs are read
	maxEvents  = 2000      // of one namespace
	logTimeout = 10 * time.Second
)

// gatherer reads a cluster into an archive.
type gatherer struct {
	*ticket
	client *kube.Client
	store  *archive.Store
	blind  bool // Secrets or values cannot be read: free text stays out
	logs   int  // pods whose logs were read
}

func (g *gatherer) gatherAll(ctx context.Context, tool string) {
	uid, err := g.client.UID(ctx)
	if err != nil {
		g.addMissing("the cluster's identity", err)
	}
	g.store = archive.Open(g.client, uid, "")
	journals := g.loadJournals(ctx)
	namespaces := namespacesOf(journals)
	// What is secret is learned before anything is written down.
	for _, ns := range namespaces {
		g.learnSecrets(ctx, ns)
	}
	plans := map[*journal.Journal][]*plan.Plan{}
	for _, j := range journals {
		plans[j] = g.readPlans(ctx, j)
	}
	g.addVersions(tool, g.describeCluster(ctx))
	for _, j := range journals {
		dir := "stacks/" + safeName(j.Stack) + "/"
		if g.blind {
			dropFreeText(j)
		}
		g.addJSON(dir+"journal.json", j)
		for _, p := range plans[j] {
			g.addPlan(dir, p)
		}
		g.addObjects(ctx, dir, j)
	}
	for _, ns := range namespaces {
		g.addNamespace(ctx, ns)
	}
}

func (g *gatherer) loadJournals(ctx context.Context) (out []*journal.Journal) {
	stacks, err := g.store.Stacks(ctx)
	if err != nil {
		g.addMissing("the journals", err)
	}
	for _, stack := range stacks {
		j, err := g.store.Load(ctx, stack)
		if err != nil {
			g.addMissing("a journal", err)
			continue
		}
		out = append(out, j)
	}
	return out
}

// namespacesOf are those that the stacks live in, and the product's own.
func namespacesOf(journals []*journal.Journal) []string {
	out := []string{kube.SystemNamespace}
	for _, j := range journals {
		for _, c := range j.Installed {
			out = append(out, c.Namespace)
		}
		for _, o := range j.Made {
			if o.Kind == "Namespace" {
				out = append(out, o.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// learnSecrets learns the values of a namespace's Secrets, but of the product's own
// records, which are read by themselves.
func (g *gatherer) learnSecrets(ctx context.Context, namespace string) {
	list, err := g.client.Core.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		g.blind = true
		g.addMissing("logs and messages, since the Secrets in namespace "+namespace+" cannot be read", err)
		return
	}
	for _, s := range list.Items {
		if strings.HasPrefix(string(s.Type), "caisson.dev/") {
			continue
		}
		for key, value := range s.Data {
			if s.Type != corev1.SecretTypeServiceAccountToken || key == corev1.ServiceAccountTokenKey {
				g.clean.Learn(string(value))
			}
		}
	}
}

// dropFreeText takes free text out of a journal.
func dropFreeText(j *journal.Journal) {
	for i := range j.Runs {
		r := &j.Runs[i]
		r.Error = ""
		for k := range r.Components {
			c := &r.Components[k]
			c.Error = ""
			for s := range c.Steps {
				c.Steps[s].Error, c.Steps[s].Note = "", ""
			}
		}
	}
}

// readPlans reads the plans of what is installed and of what it was before.
func (g *gatherer) readPlans(ctx context.Context, j *journal.Journal) (out []*plan.Plan) {
	seen := map[string]bool{}
	for _, c := range j.Installed {
		wanted := []string{c.Plan.String()}
		if c.Former != nil {
			wanted = append(wanted, c.Former.Plan.String())
		}
		for _, d := range wanted {
			if seen[d] || d == "" {
				continue
			}
			seen[d] = true
			if p := g.readPlan(ctx, d); p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// node is what the archive says of a node.
type node struct {
	Name   string                `json:"name"`
	Info   corev1.NodeSystemInfo `json:"info"`
	Ready  corev1.ConditionStatus
	Taints []corev1.Taint `json:"taints,omitempty"`
}

func (g *gatherer) describeCluster(ctx context.Context) map[string]any {
	out := map[string]any{"server": g.client.Server(), "operator": g.client.Identity()}
	version, err := g.client.Version()
	if err != nil {
		g.addMissing("the cluster's version", err)
	}
	out["kubernetes"] = version
	list, err := g.client.Nodes(ctx)
	if err != nil {
		g.addMissing("the nodes", err)
	}
	var nodes []node
	for _, n := range list {
		info := n.Status.NodeInfo
		info.MachineID, info.SystemUUID, info.BootID = "", "", ""
		entry := node{Name: n.Name, Info: info, Taints: n.Spec.Taints}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				entry.Ready = c.Status
			}
		}
		nodes = append(nodes, entry)
	}
	out["nodes"] = nodes
	return out
}

// addVersions adds what runs here.
func (a *ticket) addVersions(tool string, cluster map[string]any) {
	a.addJSON("versions.json", map[string]any{"caisson": tool, "made": time.Now().UTC().Truncate(time.Second), "cluster": cluster})
}

// objectState is one object and how it is.
type objectState struct {
	Component string     `json:"component"`
	Object    object.Ref `json:"object"`
	State     kube.State `json:"state"`
}

// addObjects adds the state of what the journal names.
func (g *gatherer) addObjects(ctx context.Context, dir string, j *journal.Journal) {
	var out []objectState
	for _, c := range j.Installed {
		targets := slices.Clone(c.Ready)
		for _, o := range c.Objects {
			targets = append(targets, object.Target{Object: o})
		}
		for _, r := range c.Releases {
			for _, o := range r.Objects {
				targets = append(targets, object.Target{Object: o})
			}
		}
		for _, t := range targets {
			s, err := g.client.Look(ctx, t)
			if err != nil {
				s.Message = err.Error()
			}
			if g.blind {
				s.Message = ""
			}
			out = append(out, objectState{Component: c.Name, Object: t.Object, State: s})
		}
	}
	g.addJSON(dir+"objects.json", out)
}

func (g *gatherer) addNamespace(ctx context.Context, ns string) {
	dir := "namespaces/" + ns + "/"
	pods, err := g.client.Core.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		g.addMissing("the pods of namespace "+ns, err)
		return
	}
	var states []pod
	for i := range pods.Items {
		states = append(states, podState(&pods.Items[i], g.blind))
	}
	g.addJSON(dir+"pods.json", states)
	if g.blind {
		return
	}
	g.addEvents(ctx, ns, dir)
	for i := range pods.Items {
		if p := &pods.Items[i]; isFailing(p) {
			g.podLogs(ctx, p, dir)
		}
	}
}

// pod is the state of a pod, without its environment.
type pod struct {
	Name       string                   `json:"name"`
	Node       string                   `json:"node,omitempty"`
	Created    metav1.Time              `json:"created"`
	Phase      corev1.PodPhase          `json:"phase"`
	Reason     string                   `json:"reason,omitempty"`
	Message    string                   `json:"message,omitempty"`
	Conditions []corev1.PodCondition    `json:"conditions,omitempty"`
	Init       []corev1.ContainerStatus `json:"initContainers,omitempty"`
	Containers []corev1.ContainerStatus `json:"containers,omitempty"`
}

func podState(p *corev1.Pod, blind bool) pod {
	s := p.Status
	out := pod{Name: p.Name, Node: p.Spec.NodeName, Created: p.CreationTimestamp, Phase: s.Phase, Reason: s.Reason}
	if blind {
		return out
	}
	out.Message, out.Conditions, out.Init, out.Containers = s.Message, s.Conditions, s.InitContainerStatuses, s.ContainerStatuses
	return out
}

// isFailing says whether a pod's logs could tell why something does not work.
func isFailing(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodFailed {
		return true
	}
	for _, s := range append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...) {
		done := s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
		if s.RestartCount > 0 || (!s.Ready && !done) {
			return true
		}
	}
	return false
}

// clusterEvent is one event of the cluster.
type clusterEvent struct {
	Last    time.Time `json:"last"`
	Type    string    `json:"type"`
	Object  string    `json:"object"`
	Reason  string    `json:"reason"`
	Count   int32     `json:"count,omitempty"`
	Message string    `json:"message"`
}

func (g *gatherer) addEvents(ctx context.Context, ns, dir string) {
	list, err := g.client.Core.CoreV1().Events(ns).List(ctx, metav1.ListOptions{Limit: maxEvents})
	if err != nil {
		g.addMissing("the events of namespace "+ns, err)
		return
	}
	out := make([]clusterEvent, 0, len(list.Items))
	for _, e := range list.Items {
		last := e.LastTimestamp.Time
		if last.IsZero() {
			last = e.CreationTimestamp.Time
		}
		out = append(out, clusterEvent{last, e.Type, e.InvolvedObject.Kind + " " + e.InvolvedObject.Name, e.Reason, e.Count, e.Message})
	}
	slices.SortFunc(out, func(a, b clusterEvent) int { return a.Last.Compare(b.Last) })
	g.addJSON(dir+"events.json", out)
}

var errEnough = errors.New("the logs of enough pods are there")

func (g *gatherer) podLogs(ctx context.Context, p *corev1.Pod, dir string) {
	if g.logs++; g.logs > maxFailing {
		g.addMissing("the logs of pod "+p.Namespace+"/"+p.Name, errEnough)
		return
	}
	for _, c := range append(slices.Clone(p.Spec.InitContainers), p.Spec.Containers...) {
		name := dir + "logs/" + p.Name + "." + c.Name
		g.addLog(ctx, p, c.Name, false, name+".log")
		if hasRestarted(p, c.Name) {
			g.addLog(ctx, p, c.Name, true, name+".previous.log")
		}
	}
}

func hasRestarted(p *corev1.Pod, container string) bool {
	return slices.ContainsFunc(append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...), func(s corev1.ContainerStatus) bool {
		return s.Name == container && s.RestartCount > 0
	})
}

func (g *gatherer) addLog(ctx context.Context, p *corev1.Pod, container string, previous bool, file string) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	lines, limit := int64(maxLines), int64(maxLog)
	stream, err := g.client.Core.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &lines, LimitBytes: &limit}).Stream(ctx)
	if err != nil {
		g.addMissing(fmt.Sprintf("the log of container %s of pod %s/%s", container, p.Namespace, p.Name), err)
		return
	}
	defer stream.Close()
	data, err := io.ReadAll(io.LimitReader(stream, maxLog))
	if err != nil {
		g.addMissing(file, err)
	}
	g.addText(file, string(data))
}
