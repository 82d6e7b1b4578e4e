package preflight

import (
	"context"
	"fmt"
	"time"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// decideGPUs looks at the cluster's nodes, has it decided what becomes of those with
// GPUs, and says what else the operator must be allowed to do for that.
func decideGPUs(ctx context.Context, c *kube.Client, s *decide.Selection, stack, file string, f *decide.Facts) error {
	var err error
	if f.GPU, err = gpuFacts(ctx, c, stack, file); err != nil {
		return err
	}
	if err := s.Configure(f.GPU); err != nil {
		return err
	}
	if err := s.TellSite(f.Version, f.GPU.Nodes); err != nil || s.GPU() == nil {
		return err
	}
	lacking, err := c.Denied(ctx, gpuRights(s.GPU(), s.Operator()))
	f.Denied = append(f.Denied, lacking...)
	return err
}

// gpuFacts reads the nodes, and what the site's inventory adds to them.
func gpuFacts(ctx context.Context, c *kube.Client, stack, file string) (f decide.GPUFacts, _ error) {
	catalogue, err := gpu.Read()
	if err != nil {
		return f, err
	}
	extra, found, err := readNodes(catalogue, file)
	if err != nil {
		return f, err
	}
	f = decide.GPUFacts{Month: time.Now().UTC().Format("2006-01"), Taken: map[string]map[string]string{}, Found: found}
	facts, err := c.NodeFacts(ctx)
	if kube.Forbidden(err) {
		return f, nil // named among the rights
	}
	if err != nil {
		return f, err
	}
	for _, n := range facts {
		node, more := gpu.FromCluster(catalogue, n.Observed())
		f.Found = append(f.Found, more...)
		if other, ok := extra[n.Name]; ok {
			node, more = gpu.Merge(node, other)
			f.Found = append(f.Found, more...)
			delete(extra, n.Name)
		}
		f.Nodes = append(f.Nodes, node)
	}
	if len(extra) > 0 {
		f.Found = append(f.Found, event.Finding{
			Severity: event.Warn, Code: event.CodeGPUPolicyNode, Item: file,
			What: fmt.Sprintf("%d nodes of the inventory %s are not in the cluster", len(extra), file),
			Why:  "what it says of them is left aside",
			Hint: "write it anew: caisson nodes export -o site-nodes.yaml",
		})
	}
	return f, findTaken(ctx, c, stack, f.Taken)
}

// findTaken finds labels that a plan may set and that somebody else has set.
func findTaken(ctx context.Context, c *kube.Client, stack string, out map[string]map[string]string) error {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	for i := range nodes {
		if labels := kube.ForeignLabels(&nodes[i], kube.NodeLabeller(stack), plan.NodeLabels); len(labels) > 0 {
			out[nodes[i].Name] = labels
		}
	}
	return nil
}

// readNodes reads the site's inventory, by name.
func readNodes(c *gpu.Catalogue, path string) (map[string]inventory.Node, []event.Finding, error) {
	if path == "" {
		return nil, nil, nil
	}
	v, err := inventory.Read(path)
	if err != nil {
		return nil, nil, err
	}
	c.Describe(v.Nodes)
	if v.HashedNames {
		return nil, []event.Finding{{
			Severity: event.Error, Code: event.CodeGPUPolicyNode, Item: path,
			What: fmt.Sprintf("the inventory %s, named under gpu.nodes, has hashes in place of the nodes' names", path),
			Why:  "nothing says which node of the cluster is which",
			Hint: "write it without --hash-names: caisson nodes export -o site-nodes.yaml",
		}}, nil
	}
	out := map[string]inventory.Node{}
	for _, n := range v.Nodes {
		out[n.Name] = n
	}
	return out, nil, nil
}

// gpuRights are those that GPU nodes need beside what is rendered.
func gpuRights(g *plan.GPU, o *gpu.Operator) []kube.Right {
	var out []kube.Right
	for _, n := range g.Nodes {
		if len(n.Labels) > 0 {
			for _, verb := range []string{"get", "list", "patch"} {
				out = append(out, kube.Right{Verb: verb, Resource: "nodes"})
			}
			break
		}
	}
	if o != nil && g.Drivers() {
		for _, verb := range verbsOf {
			out = append(out, kube.Right{Verb: verb, Group: o.Group, Resource: o.Resource})
		}
	}
	return out
}
