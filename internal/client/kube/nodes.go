package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// NodeFacts is what the API server holds about one node.
type NodeFacts struct {
	Name        string
	Labels      map[string]string
	Info        corev1.NodeSystemInfo
	Capacity    map[string]int64
	Allocatable map[string]int64
}

// Observed is what the server holds, for those who look for accelerators in it.
func (f NodeFacts) Observed() gpu.Observed {
	o := gpu.Observed{
		Name: f.Name, Labels: f.Labels, Kernel: f.Info.KernelVersion, OSImage: f.Info.OSImage,
		Runtime: f.Info.ContainerRuntimeVersion, Arch: f.Info.Architecture,
	}
	for name, n := range f.Capacity {
		o.Resources = append(o.Resources, inventory.Resource{Name: name, Capacity: n, Allocatable: f.Allocatable[name]})
	}
	return o
}

// NodeFacts lists all nodes with their labels and status, in the server's order.
func (c *Client) NodeFacts(ctx context.Context) ([]NodeFacts, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]NodeFacts, len(nodes))
	for i, n := range nodes {
		out[i] = NodeFacts{Name: n.Name, Labels: n.Labels, Info: n.Status.NodeInfo,
			Capacity: wholeQuantities(n.Status.Capacity), Allocatable: wholeQuantities(n.Status.Allocatable)}
	}
	return out, nil
}

func wholeQuantities(list corev1.ResourceList) map[string]int64 {
	out := make(map[string]int64, len(list))
	for name, q := range list {
		out[string(name)] = q.Value()
	}
	return out
}
