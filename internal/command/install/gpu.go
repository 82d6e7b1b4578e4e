package install

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// gpuObjects gives the component with the operator the objects that say which
// driver goes where.
func (in *installer) gpuObjects() error {
	list, err := decide.DriverObjects(in.plan)
	if err != nil || len(list) == 0 {
		return err
	}
	var out []*unstructured.Unstructured
	for _, o := range list {
		out = append(out, &unstructured.Unstructured{Object: o})
	}
	if in.own == nil {
		in.own = map[string][]*unstructured.Unstructured{}
	}
	in.own[in.plan.GPU.Component] = out
	return nil
}

// nodeLabels makes the labels of nodes those of the plan. A component without an
// operator of GPUs has none.
func (w *work) nodeLabels(ctx context.Context) error {
	if !w.drivesGPUs() {
		return nil
	}
	changed, err := w.in.labelNodes(ctx, w.c.Name, w.in.plan.Labels(w.c.Name))
	w.changed = w.changed || changed
	return err
}

// drivesGPUs says whether the component holds an operator of GPUs, or held one.
func (w *work) drivesGPUs() bool {
	operator := func(r plan.Release) bool { return decide.IsOperator(r.Chart) }
	before := w.in.installedCopy(w.c.Name)
	return slices.ContainsFunc(w.c.Releases, operator) || (before != nil && operatesGPUs(before))
}

// operatesGPUs says whether an installed component holds an operator of GPUs, or did.
func operatesGPUs(c *journal.Installed) bool {
	releases := slices.Clone(c.Releases)
	if c.Former != nil {
		releases = append(releases, c.Former.Releases...)
	}
	return slices.ContainsFunc(releases, func(r journal.Release) bool { return decide.IsOperator(r.Chart) })
}

// labelNodes makes the stack's labels on nodes those wanted, by node. A node that
// is gone needs none.
func (s *session) labelNodes(ctx context.Context, component string, wanted map[string]map[string]string) (changed bool, _ error) {
	manager := kube.NodeLabeller(s.stack)
	there, err := s.cluster.Labelled(ctx, manager)
	if err != nil {
		return false, err
	}
	names := slices.Sorted(maps.Keys(wanted))
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if _, keep := wanted[name]; !keep {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return false, nil
	}
	err = s.runStep(ctx, component, journal.Step{Kind: journal.StepNodes, Name: "labels"}, func(st *journal.Step) error {
		n := 0
		for _, name := range names {
			ours, err := s.cluster.LabelNode(ctx, name, manager, wanted[name])
			if err != nil && !(kube.Absent(err) && len(wanted[name]) == 0) {
				return err
			}
			if ours {
				n++
			}
		}
		if st.Note = fmt.Sprintf("%d of %d nodes changed", n, len(names)); n == 0 {
			st.State = journal.Skipped
		}
		changed = n > 0
		return nil
	})
	return changed, err
}

// unlabelNodes takes the labels away that a component has put onto nodes, or
// brings those of a former plan back.
func (s *session) unlabelNodes(ctx context.Context, c *journal.Installed, former digest.Digest) (changed bool, _ error) {
	if !operatesGPUs(c) {
		return false, nil
	}
	wanted, err := s.plannedLabels(ctx, c.Name, former)
	if err != nil {
		return false, err
	}
	return s.labelNodes(ctx, c.Name, wanted)
}

// plannedLabels are those of nodes that a component has by a plan, which is kept;
// none without a plan.
func (s *session) plannedLabels(ctx context.Context, component string, by digest.Digest) (map[string]map[string]string, error) {
	if by == "" {
		return nil, nil
	}
	data, err := s.store.Plan(ctx, by)
	if err != nil {
		return nil, err
	}
	p, err := plan.Parse(data)
	if err != nil {
		return nil, err
	}
	return p.Labels(component), nil
}

// examineLabels finds labels of nodes that are no longer as they were set. Those of a
// node that is gone are not missed.
func (e *examination) examineLabels(ctx context.Context, c *journal.Installed) error {
	if !operatesGPUs(c) || !c.Complete {
		return nil
	}
	wanted, err := e.plannedLabels(ctx, c.Name, c.Plan)
	if err != nil || len(wanted) == 0 {
		return err
	}
	nodes, err := e.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		for _, key := range slices.Sorted(maps.Keys(wanted[n.Name])) {
			if want, now := wanted[n.Name][key], n.Labels[key]; now != want {
				e.noteDrift(Drift{}, "node %s: label %s is %q, set was %q", n.Name, key, now, want)
			}
		}
	}
	return nil
}

// nodesMoved says which nodes that a driver was chosen for run another kernel, or
// are gone.
func (s *session) nodesMoved(ctx context.Context, p *plan.Plan) (moved []string, _ error) {
	if p.GPU == nil || p.GPU.Component == "" || len(p.GPU.Nodes) == 0 {
		return nil, nil
	}
	facts, err := s.cluster.NodeFacts(ctx)
	if err != nil {
		return nil, err
	}
	kernels := map[string]string{}
	for _, f := range facts {
		kernels[f.Name] = f.Info.KernelVersion
	}
	for _, n := range p.GPU.Nodes {
		switch now, there := kernels[n.Facts.Name]; {
		case !there:
			moved = append(moved, fmt.Sprintf("node %s is gone", n.Facts.Name))
		case now != "" && n.Facts.Kernel != "" && now != n.Facts.Kernel:
			moved = append(moved, fmt.Sprintf("node %s runs kernel %s, the plan saw %s", n.Facts.Name, now, n.Facts.Kernel))
		}
	}
	return moved, nil
}
