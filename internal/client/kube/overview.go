package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What Overview.Unread says of lists that may not be read.
const (
	ListNamespaces     = "list namespaces"
	ListDefinitions    = "list customresourcedefinitions.apiextensions.k8s.io"
	ListStorageClasses = "list storageclasses.storage.k8s.io"
)

// Platform is a node's os/arch.
func Platform(n *corev1.Node) string {
	os, arch := n.Labels[corev1.LabelOSStable], n.Labels[corev1.LabelArchStable]
	if os == "" || arch == "" {
		os, arch = n.Status.NodeInfo.OperatingSystem, n.Status.NodeInfo.Architecture
	}
	return os + "/" + arch
}

// Platforms are those of the nodes, sorted, each once.
func (v Overview) Platforms() []string {
	var out []string
	for i := range v.Nodes {
		out = append(out, Platform(&v.Nodes[i]))
	}
	return sortedUnique(out)
}

// Runtimes are the names of the nodes' container runtimes, sorted, each once.
func (v Overview) Runtimes() []string {
	var out []string
	for i := range v.Nodes {
		if name, _, _ := strings.Cut(v.Nodes[i].Status.NodeInfo.ContainerRuntimeVersion, "://"); name != "" {
			out = append(out, name)
		}
	}
	return sortedUnique(out)
}
