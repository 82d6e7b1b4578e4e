package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// ErrAuthority: the registry's authority is not the one the plan was made with.
var ErrAuthority = errors.New("the registry's CA file changed since the plan was made")

// Names inside the agent's objects.
const (
	mirrorLabel    = "caisson.dev/agent=mirror,caisson.dev/stack="
	removeArgument = "--remove"
)

// changeNodes brings what the plan changes on nodes, before any component. The
// journal has it as a component of its own.
func (in *installer) changeNodes(ctx context.Context) error {
	if in.plan.Nodes == nil {
		return nil
	}
	objects, err := in.nodeObjects(ctx)
	if err != nil {
		return err
	}
	in.own = map[string][]*unstructured.Unstructured{plan.MirrorComponent: objects}
	before := in.agentComplaints(ctx)
	stop := in.listenToAgent(ctx, before)
	err = in.installOne(ctx, &plan.Component{Name: plan.MirrorComponent, Namespace: kube.SystemNamespace})
	stop()
	if errors.Is(err, kube.ErrNotReady) {
		err = in.withComplaints(ctx, err, before)
	}
	return err
}

// nodeObjects are the objects of the site's strategy.
func (in *installer) nodeObjects(ctx context.Context) ([]*unstructured.Unstructured, error) {
	ca, err := readAuthority(in.plan)
	if err != nil {
		return nil, err
	}
	config := decide.MirrorConfig(in.plan, ca)
	var out []*unstructured.Unstructured
	if in.plan.Nodes.Strategy == plan.IDMS {
		for _, o := range config.OpenShift() {
			out = append(out, &unstructured.Unstructured{Object: o})
		}
		return out, nil
	}
	if out, err = agentObjects(ctx, config, in.plan.Nodes); err != nil {
		return nil, err
	}
	for _, u := range out { // adds the pull secret
		if err := helm.RewriteObject(u, in.pulls); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readAuthority reads the registry's CA as the plan saw it.
func readAuthority(p *plan.Plan) ([]byte, error) {
	if p.Nodes.CA == "" {
		return nil, nil
	}
	data, err := registry.ReadAuthorities(p.Site.Registry.CAFile, registry.MaxNodeAuthorities)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); got != p.Nodes.CA {
		return nil, fmt.Errorf("reading CA certificates: %s: %w", p.Site.Registry.CAFile, ErrAuthority)
	}
	return data, nil
}

// agentObjects renders the agent's chart: the ConfigMap, then the DaemonSet.
func agentObjects(ctx context.Context, c mirror.Config, n *plan.NodeChange) ([]*unstructured.Unstructured, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding the agent's configuration: %w", err)
	}
	var directories []any // of the nodes' runtimes, and no other
	for _, r := range n.Runtimes {
		directories = append(directories, runtimeDirectories(r)...)
	}
	return helm.RenderOurs(ctx, "node-agent", map[string]any{
		"stack": c.Stack, "image": string(n.Agent), "config": string(data), "directories": directories, "loginSecret": n.Login,
	})
}

// runtimeDirectories are the node's directories that the agent needs for a runtime.
func runtimeDirectories(runtime string) []any {
	directory := func(flag, name, path string, readOnly bool) any {
		return map[string]any{"flag": flag, "name": name, "path": path, "readOnly": readOnly}
	}
	if runtime == "containerd" {
		return []any{
			directory("--containerd", "certs", mirror.ContainerdDir, false),
			directory("--containerd-config", "containerd", "/etc/containerd", true),
		}
	}
	return []any{
		directory("--crio", "registries", mirror.CRIODir, false),
		directory("--crio-certs", "authorities", mirror.CRIOCertsDir, false),
	}
}

// clearTimeout bounds the wait until every node is cleared.
const clearTimeout = 5 * time.Minute

// clearNodes has the agent take its files away from every node, while it is
// still there. For any other component it does nothing.
func (s *session) clearNodes(ctx context.Context, c *journal.Installed) error {
	if c.Name != plan.MirrorComponent || c.Manifests == "" {
		return nil
	}
	return s.runStep(ctx, c.Name, journal.Step{Kind: journal.StepNodes}, func(st *journal.Step) error {
		set, err := s.agentSet(ctx, c)
		if err != nil || set == nil {
			st.State = journal.Skipped
			return err
		}
		if !c.Complete && !s.agentRan(ctx) {
			st.State, st.Note = journal.Skipped, "the agent never ran"
			return nil
		}
		if err := makeRemoving(set); err != nil {
			return err
		}
		if _, err := s.cluster.Apply(ctx, []*unstructured.Unstructured{set}, kube.ApplyOptions{Namespace: c.Namespace, Owner: s.ownerOf(c.Name)}); err != nil {
			return err
		}
		before := s.agentComplaints(ctx)
		waiting, cancel := context.WithTimeout(ctx, min(s.timeout, clearTimeout))
		defer cancel()
		target := object.Target{Object: s.cluster.Place(set, c.Namespace)}
		report := s.reportWaiting(c.Name)
		err = s.cluster.WaitReady(waiting, []object.Target{target}, func(t object.Target, k kube.State) { report(t.Object, k.Waiting()) })
		if errors.Is(err, kube.ErrNotReady) {
			err = s.withComplaints(ctx, err, before)
		}
		return err
	})
}

// agentSet is the DaemonSet as it was applied, or nil where it is gone or never
// was.
func (s *session) agentSet(ctx context.Context, c *journal.Installed) (*unstructured.Unstructured, error) {
	text, err := s.store.Objects(ctx, c.Manifests)
	if err != nil {
		return nil, err
	}
	objects, err := kube.Parse(text)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(objects, func(u *unstructured.Unstructured) bool { return u.GetKind() == "DaemonSet" })
	if i < 0 {
		return nil, nil
	}
	live, err := s.cluster.Get(ctx, s.cluster.Place(objects[i], c.Namespace))
	if kube.Absent(err) || (err == nil && live.GetAnnotations()[kube.AnnotationOwner] != s.ownerOf(c.Name)) {
		return nil, nil
	}
	return objects[i], err
}

// makeRemoving makes the DaemonSet one whose pods take the files away.
func makeRemoving(set *unstructured.Unstructured) error {
	containers, found, err := unstructured.NestedSlice(set.Object, "spec", "template", "spec", "containers")
	if err != nil || !found || len(containers) == 0 {
		return fmt.Errorf("reading the agent's manifest: it has no container: %w", err)
	}
	main, _ := containers[0].(map[string]any)
	args, _ := main["args"].([]any)
	main["args"] = append(args, removeArgument)
	return unstructured.SetNestedSlice(set.Object, containers, "spec", "template", "spec", "containers")
}

// agentRan says whether any pod of the agent got as far as running.
func (s *session) agentRan(ctx context.Context) bool {
	pods, err := s.cluster.Core.CoreV1().Pods(kube.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: mirrorLabel + s.stack})
	if err != nil {
		return true
	}
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			if c.ContainerID != "" || c.RestartCount > 0 || c.Ready {
				return true
			}
		}
	}
	return false
}

// troubles bounds what is told of the agent's pods.
const troubles = 5

// listenEvery is how often the agent's pods are asked while they are waited for.
const listenEvery = 10 * time.Second

// listenToAgent warns of what the agent's pods complain of, but for the complaints
// before, each text once, until stop is called.
func (s *session) listenToAgent(ctx context.Context, before []complaint) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var told []string
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(listenEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, text := range newTexts(s.agentComplaints(ctx), before) {
				if !slices.Contains(told, text) {
					told = append(told, text)
					s.warn(plan.MirrorComponent, "%s", text)
				}
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// withComplaints adds to err what the agent's pods complain of, node by node, but for
// the complaints before.
func (s *session) withComplaints(ctx context.Context, err error, before []complaint) error {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	told := newTexts(s.agentComplaints(asking), before)
	if len(told) == 0 {
		return err
	}
	text := strings.Join(told, "\n")
	if errors.Is(whyUnpulled(text), ErrUntrusted) && !errors.Is(err, ErrUntrusted) {
		return fmt.Errorf("%w: %w\n%s", ErrUntrusted, err, text)
	}
	return fmt.Errorf("%w\n%s", err, text)
}

// complaint is a warning about one of the agent's pods.
type complaint struct {
	id   string // another one each time that it is repeated
	node string
	text string
	at   time.Time
}

// agentComplaints are the warnings about the agent's pods, newest first.
func (s *session) agentComplaints(ctx context.Context) (out []complaint) {
	list, err := s.cluster.Core.CoreV1().Events(kube.SystemNamespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod,type=Warning", Limit: 500})
	if err != nil {
		return nil
	}
	for _, e := range list.Items {
		text := strings.TrimSpace(e.Message)
		if !strings.HasPrefix(e.InvolvedObject.Name, "caisson-mirror-"+s.stack+"-") || strings.HasPrefix(text, "Error: ") { // another one says why
			continue
		}
		out = append(out, complaint{fmt.Sprintf("%s/%d", e.UID, e.Count), e.Source.Host, text, e.LastTimestamp.Time})
	}
	slices.SortStableFunc(out, func(a, b complaint) int { return b.at.Compare(a.at) })
	return out
}

// newTexts tell of a few complaints that were not there before, each node's newest
// one first.
func newTexts(now, before []complaint) (out []string) {
	told := map[string]int{}
	var later []string
	for _, c := range now {
		if slices.ContainsFunc(before, func(b complaint) bool { return b.id == c.id }) {
			continue
		}
		text := c.text
		if c.node != "" {
			text = "node " + c.node + ": " + text
		}
		if told[c.node]++; told[c.node] == 1 {
			out = append(out, text)
		} else {
			later = append(later, text)
		}
	}
	for _, text := range later {
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out[:min(len(out), troubles)]
}
