package kube

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/object"
)

// Finished lists those of the objects that run to an end, as jobs do, and report that
// they came to it well. One that is gone reports nothing.
func (c *Client) Finished(ctx context.Context, objects []object.Ref) ([]object.Ref, error) {
	found := make([]bool, len(objects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(waiters)
	for i, o := range objects {
		if !RunsToEnd(o.Kind) {
			continue
		}
		g.Go(func() error {
			u, err := c.Get(ctx, o)
			if Absent(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading %s: %w", o, err)
			}
			found[i] = hasFinished(u)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []object.Ref
	for i, o := range objects {
		if found[i] {
			out = append(out, o)
		}
	}
	return out, nil
}

// RunsToEnd says whether objects of a kind do something once: Job, and kinds of that
// name (TrainJob, PyTorchJob, RayJob), JobSet, workflows and runs of pipelines, and bare
// pods.
func RunsToEnd(kind string) bool {
	switch kind {
	case "Pod", "JobSet", "Workflow", "PipelineRun", "TaskRun":
		return true
	}
	return strings.HasSuffix(kind, "Job") && kind != "CronJob"
}

// IsWorkload says whether an object keeps pods running.
func IsWorkload(o object.Ref) bool {
	return o.Kind == "Deployment" || o.Kind == "StatefulSet" || o.Kind == "DaemonSet"
}

// hasFinished says whether an object reports that it ended well.
func hasFinished(u *unstructured.Unstructured) bool {
	if phase, _, _ := unstructured.NestedString(u.Object, "status", "phase"); phase == "Succeeded" {
		return true
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, e := range list {
		c, _ := e.(map[string]any)
		switch c["type"] {
		case "Complete", "Completed", "Succeeded", "Finished":
			if c["status"] == "True" {
				return true
			}
		}
	}
	return false
}
