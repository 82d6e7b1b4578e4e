package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/pkg/version"
)

// fakeAnnotation marks the nodes that kwok plays.
const fakeAnnotation = "kwok.x-k8s.io/node"

//go:embed stages/*.yaml
var stageFiles embed.FS

// stages tells kwok how fake objects live, as one YAML stream.
func stages() ([]byte, error) {
	names, err := fs.Glob(stageFiles, "stages/*.yaml")
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	for _, name := range names {
		b, err := stageFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		documents = append(documents, b)
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

// register creates the fake nodes gpu-1, gpu-2, ... and the StorageClass
// whose claims are always met.
func (c *cluster) register(ctx context.Context) error {
	for i := 1; i <= c.nodes; i++ {
		if _, err := c.client.CoreV1().Nodes().Create(ctx, c.node(i), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating node %d: %w", i, err)
		}
	}
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "standard",
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner: "test.caisson.dev/volume",
	}
	if _, err := c.client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating storage class: %w", err)
	}
	return nil
}

// node is what a kubelet, GPU feature discovery and the device plugin would
// say of a machine with eight H100.
func (c *cluster) node(i int) *corev1.Node {
	name := fmt.Sprintf("gpu-%d", i)
	resources := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("96"),
		corev1.ResourceMemory:           resource.MustParse("1Ti"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		corev1.ResourcePods:             resource.MustParse("110"),
		"nvidia.com/gpu":                resource.MustParse("8"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{fakeAnnotation: "fake"},
			Labels: map[string]string{
				"type":                   "kwok",
				corev1.LabelHostname:     name,
				corev1.LabelOSStable:     "linux",
				corev1.LabelArchStable:   "amd64",
				"nvidia.com/gpu.present": "true",
				"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
				"nvidia.com/gpu.count":   "8",
			},
		},
		Status: corev1.NodeStatus{
			Capacity:    resources,
			Allocatable: resources,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeHostName, Address: name},
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.99.%d.%d", i/256, i%256)},
			},
			NodeInfo: corev1.NodeSystemInfo{
				Architecture:            "amd64",
				OperatingSystem:         "linux",
				OSImage:                 "Ubuntu 24.04.3 LTS",
				KernelVersion:           "6.8.0-79-generic",
				ContainerRuntimeVersion: "containerd://2.1.4",
				KubeletVersion:          version.Get().GitVersion,
			},
		},
	}
	if c.taint {
		node.Spec.Taints = []corev1.Taint{{Key: "nvidia.com/gpu", Value: "present", Effect: corev1.TaintEffectNoSchedule}}
	}
	return node
}

func (c *cluster) waitNodes(ctx context.Context) error {
	return poll(ctx, "the nodes to be ready", func(ctx context.Context) error {
		list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, node := range list.Items {
			if !accepts(&node) {
				return fmt.Errorf("node %s is not ready", node.Name)
			}
		}
		return nil
	})
}

// accepts says whether the scheduler would put pods on the node: it is Ready
// and no longer tainted as unready.
func accepts(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
