package nodes

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/client/agent"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// probeWithin is how long pods may take where nobody says.
const probeWithin = 2 * time.Minute

// prober reads the files of a cluster's nodes with a pod on each.
type prober struct {
	site    *site.Site
	image   imageref.Ref
	arch    string // of the nodes that the image runs on; "" for any
	timeout time.Duration
}

func newProber(opt Options) (*prober, error) {
	s, err := site.Read(opt.Site)
	if err != nil {
		return nil, err
	}
	p := &prober{site: s, image: opt.Image, timeout: cmp.Or(opt.Timeout, probeWithin)}
	if p.image != "" {
		return p, nil
	}
	im, err := agent.Build("")
	if err != nil {
		return nil, err
	}
	it := im.Item()
	_, p.arch, _ = strings.Cut(im.Platform, "/")
	p.image = s.Registry.Place(it.Ref, it.Digest)
	return p, nil
}

// probeNodes adds to nodes what their own files say, and finds those that did not
// answer and what sources differ on.
func (p *prober) probeNodes(
	ctx context.Context, c *gpu.Catalogue, client *kube.Client, nodes []inventory.Node, report func(string),
) ([]event.Finding, error) {
	q, err := p.makeQuestion(ctx, c, client)
	if err != nil {
		return nil, err
	}
	q.Report = report
	answers, err := client.Ask(ctx, q)
	var found []event.Finding
	switch {
	case errors.Is(err, kube.ErrLeft) && answers != nil:
		found = append(found, reportLeftover(q.Set.GetName(), err))
	case err != nil:
		return nil, fmt.Errorf("probing the nodes: %w", err)
	}
	for _, a := range answers {
		found = append(found, p.mergeAnswer(c, nodes, a)...)
	}
	return found, nil
}

// mergeAnswer merges one answer into the node it is of.
func (p *prober) mergeAnswer(c *gpu.Catalogue, nodes []inventory.Node, a kube.Answer) []event.Finding {
	for i := range nodes {
		if nodes[i].Name != a.Node {
			continue
		}
		if a.Log == nil {
			return []event.Finding{p.reportSilence(a)}
		}
		said, err := c.ParseProbe(a.Log, a.Node)
		if err != nil {
			a.Trouble = err.Error()
			return []event.Finding{p.reportSilence(a)}
		}
		var found []event.Finding
		nodes[i], found = gpu.Merge(nodes[i], said)
		return found
	}
	return nil // it came after the nodes were listed
}

func (p *prober) reportSilence(a kube.Answer) event.Finding {
	f := event.Finding{Severity: event.Warn, Code: event.CodeProbeSilent, Item: a.Node,
		What: fmt.Sprintf("node %s: the probe says nothing: %s", a.Node, a.Trouble),
		Why:  "only labels and status tell of the node",
		Hint: "look at the node with: kubectl describe node " + a.Node + "; or run caisson nodes --local on it"}
	if a.NoImage {
		f.Hint = string("the registry has to hold " + p.image + ": load or serve a bundle that this very caisson packed from a stack with agent: true, or name an image with --image")
	}
	return f
}

func reportLeftover(name string, err error) event.Finding {
	return event.Finding{Severity: event.Warn, Code: event.CodeProbeLeft, Item: name,
		What: fmt.Sprintf("the probe is still in the cluster: %v", err),
		Why:  "its pods wait on every node, and do nothing more",
		Hint: fmt.Sprintf("remove it with: kubectl -n %s delete daemonset %s", kube.SystemNamespace, name)}
}

// makeQuestion makes the DaemonSet and how to hear it.
func (p *prober) makeQuestion(ctx context.Context, c *gpu.Catalogue, client *kube.Client) (kube.Question, error) {
	set, err := p.makeSet(ctx)
	if err != nil {
		return kube.Question{}, err
	}
	secret, err := p.makeSecret(ctx, client, set)
	return kube.Question{Set: set, Secret: secret, Timeout: p.timeout, Limit: gpu.MaxProbe, Enough: func(log []byte) bool {
		_, err := c.ParseProbe(log, "any")
		return !errors.Is(err, gpu.ErrNoProbe)
	}}, err
}

// makeSet renders the chart of the probe, under a name of its own.
func (p *prober) makeSet(ctx context.Context) (*unstructured.Unstructured, error) {
	name := "caisson-probe-" + strings.ToLower(rand.Text()[:8])
	objects, err := helm.RenderOurs(ctx, "gpu-probe", map[string]any{
		"name": name, "image": string(p.image), "arch": p.arch,
		"networkPolicy": map[string]any{"enabled": false}, // it is gone before one would count
	})
	if err != nil || len(objects) != 1 {
		return nil, fmt.Errorf("making the probe's DaemonSet: %d objects, %w", len(objects), err)
	}
	return objects[0], nil
}

// makeSecret lets the set's pods pull as the site says: with a copy of its secret, or
// with the one of that name in the set's own namespace.
func (p *prober) makeSecret(ctx context.Context, client *kube.Client, set *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	ref := p.site.Registry.PullSecretRef
	if ref == nil {
		return nil, nil
	}
	name := ref.Name
	var secret *unstructured.Unstructured
	if ref.Namespace != "" {
		var err error
		if secret, err = client.PullSecret(ctx, ref.Namespace, ref.Name); err != nil {
			return nil, fmt.Errorf("reading the site's pull secret: %w", err)
		}
		name = set.GetName()
		secret.SetName(name)
		secret.SetNamespace(kube.SystemNamespace)
	}
	pulls := []any{map[string]any{"name": name}}
	return secret, unstructured.SetNestedSlice(set.Object, pulls, "spec", "template", "spec", "imagePullSecrets")
}
