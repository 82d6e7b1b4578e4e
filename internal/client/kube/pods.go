package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
)

// Use is one container of a pod or of a template, and its image.
type Use struct {
	Object    object.Ref
	Container string
	Image     string // as the object has it
	Trouble   string // why the image cannot be pulled: REASON: MESSAGE; "" where nothing is known
}

// holders are the kinds that run containers, and where their pod is.
var holders = []struct {
	resource schema.GroupVersionResource
	kind     string
	pod      []string
}{
	{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "Pod", []string{"spec"}},
	{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, "Deployment", []string{"spec", "template", "spec"}},
	{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}, "StatefulSet", []string{"spec", "template", "spec"}},
	{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}, "DaemonSet", []string{"spec", "template", "spec"}},
	{schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}, "Job", []string{"spec", "template", "spec"}},
	{schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}, "CronJob", []string{"spec", "jobTemplate", "spec", "template", "spec"}},
}

// Uses lists the containers of a namespace's pods, jobs and templates, but of
// what is being deleted.
func (c *Client) Uses(ctx context.Context, namespace string) ([]Use, error) {
	var out []Use
	for _, h := range holders {
		list, err := c.dynamic.Resource(h.resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("listing %s in namespace %s: %w", h.resource.Resource, namespace, err)
		}
		for i := range list.Items {
			if u := &list.Items[i]; u.GetDeletionTimestamp() == nil {
				out = append(out, containerUses(u, h.pod)...)
			}
		}
	}
	return out, nil
}

func containerUses(u *unstructured.Unstructured, pod []string) (out []Use) {
	troubles := pullTroubles(u)
	for _, kind := range []string{"initContainers", "containers", "ephemeralContainers"} {
		list, _, _ := unstructured.NestedSlice(u.Object, append(slices.Clone(pod), kind)...)
		for _, e := range list {
			m, _ := e.(map[string]any)
			name, _ := m["name"].(string)
			image, _ := m["image"].(string)
			out = append(out, Use{Object: object.RefOf(u), Container: name, Image: image, Trouble: troubles[name]})
		}
	}
	return out
}

// unpulled are the reasons for which a container waits when its image does not
// come.
var unpulled = map[string]bool{"ImagePullBackOff": true, "ErrImagePull": true, "InvalidImageName": true, "ErrImageNeverPull": true, "RegistryUnavailable": true, "ImageInspectError": true, "SignatureValidationFailed": true}

// pullTroubles are the reasons, by container, why a pod's images are not pulled.
func pullTroubles(u *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	for _, kind := range []string{"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"} {
		list, _, _ := unstructured.NestedSlice(u.Object, "status", kind)
		for _, e := range list {
			m, _ := e.(map[string]any)
			reason, _, _ := unstructured.NestedString(m, "state", "waiting", "reason")
			message, _, _ := unstructured.NestedString(m, "state", "waiting", "message")
			if name, _ := m["name"].(string); unpulled[reason] {
				out[name] = strings.TrimSuffix(reason+": "+message, ": ")
			}
		}
	}
	return out
}
