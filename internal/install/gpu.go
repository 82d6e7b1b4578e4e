package install

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/journal"
	"github.com/caisson/caisson/internal/kube"
	"github.com/caisson/caisson/internal/plan"
)

// gpuObjects gives the component with NVIDIA's operator the objects that say
// which driver goes where.
func (in *installer) gpuObjects() error {
	list, err := in.plan.DriverObjects()
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

// nodeLabels makes the labels of nodes those of the plan. A component without
// NVIDIA's operator has none.
func (w *work) nodeLabels(ctx context.Context) error {
	if !w.drives() {
		return nil
	}
	changed, err := w.in.labelNodes(ctx, w.c.Name, w.in.plan.Labels(w.c.Name))
	w.changed = w.changed || changed
	return err
}

// drives says whether the component holds NVIDIA's operator, or held it.
func (w *work) drives() bool {
	operator := func(r plan.Release) bool { return plan.IsOperator(r.Chart) }
	before := w.in.installed(w.c.Name)
	return slices.ContainsFunc(w.c.Releases, operator) || (before != nil && operates(before))
}

// operates says whether an installed component holds NVIDIA's operator, or did.
func operates(c *journal.Installed) bool {
	releases := slices.Clone(c.Releases)
	if c.Former != nil {
		releases = append(releases, c.Former.Releases...)
	}
	return slices.ContainsFunc(releases, func(r journal.Release) bool { return plan.IsOperator(r.Chart) })
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
	err = s.step(ctx, component, journal.Step{Kind: journal.StepNodes, Name: "labels"}, func(st *journal.Step) error {
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
func (s *session) unlabelNodes(ctx context.Context, c *journal.Installed, former digest.Digest) error {
	if !operates(c) {
		return nil
	}
	wanted := map[string]map[string]string{}
	if former != "" {
		data, err := s.store.Plan(ctx, former)
		if err != nil {
			return err
		}
		p, err := plan.Parse(data)
		if err != nil {
			return err
		}
		wanted = p.Labels(c.Name)
	}
	_, err := s.labelNodes(ctx, c.Name, wanted)
	return err
}

// nodesMoved refuses a plan when a node that a driver was chosen for runs another
// kernel, or is gone.
func (s *session) nodesMoved(ctx context.Context, p *plan.Plan) error {
	if p.GPU == nil || p.GPU.Component == "" || len(p.GPU.Nodes) == 0 {
		return nil
	}
	facts, err := s.cluster.NodeFacts(ctx)
	if err != nil {
		return err
	}
	kernels := map[string]string{}
	for _, f := range facts {
		kernels[f.Name] = f.Info.KernelVersion
	}
	var moved []string
	for _, n := range p.GPU.Nodes {
		switch now, there := kernels[n.Facts.Name]; {
		case !there:
			moved = append(moved, fmt.Sprintf("node %s is gone", n.Facts.Name))
		case now != "" && n.Facts.Kernel != "" && now != n.Facts.Kernel:
			moved = append(moved, fmt.Sprintf("node %s runs kernel %s, the plan saw %s", n.Facts.Name, now, n.Facts.Kernel))
		}
	}
	if len(moved) > 0 {
		return fmt.Errorf("checking the plan: %w: %s", ErrPlanStale, strings.Join(moved, "; "))
	}
	return nil
}
