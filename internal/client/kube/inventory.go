package kube

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
)

// Inventory is what a plan wants to know of a cluster. Lists are sorted.
type Inventory struct {
	Platforms      []string // os/arch of the nodes
	Namespaces     []string
	CRDs           []string
	StorageClasses []string
	DefaultClass   string
}

// Inventory reads the cluster.
func (c *Client) Inventory(ctx context.Context) (Inventory, error) {
	var v Inventory
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return v, err
	}
	for i := range nodes {
		v.Platforms = append(v.Platforms, Platform(&nodes[i]))
	}
	v.Platforms = sortedUnique(v.Platforms)
	if v.Namespaces, err = c.listNames(ctx, schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}); err != nil {
		return v, err
	}
	if v.CRDs, err = c.listNames(ctx, schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}); err != nil {
		return v, err
	}
	return v, c.readStorage(ctx, &v)
}

func (c *Client) readStorage(ctx context.Context, v *Inventory) error {
	list, err := c.Core.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing storage classes: %w", err)
	}
	for _, s := range list.Items {
		v.StorageClasses = append(v.StorageClasses, s.Name)
		if s.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			v.DefaultClass = s.Name
		}
	}
	v.StorageClasses = sortedUnique(v.StorageClasses)
	return nil
}

// listNames lists the names of a kind's objects without reading the objects.
func (c *Client) listNames(ctx context.Context, r schema.GroupVersionResource) ([]string, error) {
	m, err := metadata.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	list, err := m.Resource(r).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", r.Resource, err)
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return sortedUnique(out), nil
}

// ForeignReleases lists releases in a namespace that the Helm CLI keeps.
func (c *Client) ForeignReleases(ctx context.Context, namespace string) ([]string, error) {
	list, err := c.Core.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm", FieldSelector: "type=helm.sh/release.v1"})
	if err != nil {
		return nil, fmt.Errorf("listing releases of Helm in namespace %s: %w", namespace, err)
	}
	var out []string
	for _, s := range list.Items {
		out = append(out, s.Labels["name"])
	}
	return sortedUnique(out), nil
}

// Denied asks for each right and returns those the operator lacks, in words.
func (c *Client) Denied(ctx context.Context, rights []Right) ([]string, error) {
	var out []string
	for _, r := range rights {
		ok, err := c.Allowed(ctx, r)
		if err != nil {
			return nil, err
		}
		if !ok {
			out = append(out, r.String())
		}
	}
	return out, nil
}

func sortedUnique(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// ErrNotPullSecret: the Secret holds no registry credentials.
var ErrNotPullSecret = errors.New("it is not of type kubernetes.io/dockerconfigjson")

// PullSecret reads a pull secret as an object to apply elsewhere, without its
// namespace and marks.
func (c *Client) PullSecret(ctx context.Context, namespace, name string) (*unstructured.Unstructured, error) {
	s, err := c.Core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading pull secret %s/%s: %w", namespace, name, err)
	}
	if s.Type != corev1.SecretTypeDockerConfigJson {
		return nil, fmt.Errorf("reading pull secret %s/%s: %w", namespace, name, ErrNotPullSecret)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": string(s.Type),
		"metadata": map[string]any{"name": name},
		"data":     map[string]any{corev1.DockerConfigJsonKey: base64.StdEncoding.EncodeToString(s.Data[corev1.DockerConfigJsonKey])},
	}}, nil
}
