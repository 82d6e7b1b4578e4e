package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/caisson/caisson/internal/rules/gpu"
)

// NodeLabeller is the field manager of the labels that a stack puts onto nodes.
// Each stack has its own, so that one takes nothing from another.
func NodeLabeller(stack string) string { return Manager + "-nodes-" + stack }

// OwnLabels are the labels of n that the manager has applied.
func OwnLabels(n *corev1.Node, manager string) map[string]string {
	out := map[string]string{}
	for _, m := range n.ManagedFields {
		if m.Manager != manager || m.Operation != metav1.ManagedFieldsOperationApply || m.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata struct {
				Labels map[string]json.RawMessage `json:"f:labels"`
			} `json:"f:metadata"`
		}
		if json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for key := range n.Labels {
			if _, ours := fields.Metadata.Labels["f:"+key]; ours {
				out[key] = n.Labels[key]
			}
		}
	}
	return out
}

// ForeignLabels are those of keys that n has and that are neither the manager's
// nor nobody's, as values are that an operator gives where nobody has chosen one.
func ForeignLabels(n *corev1.Node, manager string, keys []string) map[string]string {
	own, out := OwnLabels(n, manager), map[string]string{}
	for _, key := range keys {
		value, has := n.Labels[key]
		if _, ours := own[key]; has && !ours && !gpu.IsUnchosen(key, value) {
			out[key] = value
		}
	}
	return out
}

// Labelled are the nodes that bear labels of the manager's, with these.
func (c *Client) Labelled(ctx context.Context, manager string) (map[string]map[string]string, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]string{}
	for i := range nodes {
		if own := OwnLabels(&nodes[i], manager); len(own) > 0 {
			out[nodes[i].Name] = own
		}
	}
	return out, nil
}

// LabelNode makes labels the ones of the manager on a node: those that it no
// longer wants go, those of others stay. A label that somebody else has set to
// another value is ErrForeign. No node is ever made. changed says whether the
// node is another now.
func (c *Client) LabelNode(ctx context.Context, name, manager string, labels map[string]string) (changed bool, _ error) {
	api := c.Core.CoreV1().Nodes()
	n, err := api.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("reading node %s: %w", name, err)
	}
	own := OwnLabels(n, manager)
	if maps.Equal(own, labels) {
		return false, nil
	}
	for key, there := range ForeignLabels(n, manager, slices.Collect(maps.Keys(labels))) {
		if there != labels[key] {
			return false, fmt.Errorf("labelling node %s: %w: %s=%s", name, ErrForeign, key, there)
		}
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name, "uid": n.UID, "labels": labels}})
	if err != nil {
		return false, fmt.Errorf("labelling node %s: %w", name, err)
	}
	force := true // what somebody else has chosen was looked at just now
	if _, err := api.Patch(ctx, name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: manager, Force: &force}); err != nil {
		return false, fmt.Errorf("labelling node %s: %w", name, err)
	}
	return true, nil
}
