// Package preflight is the plan command: it looks at the bundle, the cluster and
// the registry, has the plan made, and writes it down.
//
// It changes nothing anywhere but the plan file. What it decides it leaves to
// package decide, which is pure.
package preflight

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
)

const verb = "plan"

// Options are the inputs of the plan command.
type Options struct {
	Paths      []string // where the bundle lies; exactly one bundle
	Keys       []string // public key files
	Site       string   // site file
	Output     string   // plan file; "" writes none
	Kubeconfig string
	Context    string            // over the site file's
	Registry   registry.Presence // how to ask the registry; nil for the real one

	Renderer []string // command line of a process that renders charts, see helm.Workers; nil renders them here

	AllowExpired bool // plan with a bundle although its statement has expired
}

// Run makes a plan. All findings are emitted; with an error among them nothing
// is written and the error is plan.ErrPreflight.
func Run(ctx context.Context, opt Options, sink event.Sink) (*plan.Plan, error) {
	sink = event.Named(sink, verb)
	sink.Emit(event.Event{Verb: verb, Kind: event.Start})
	p, err := runPlan(ctx, opt, sink)
	end := event.Event{Verb: verb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
		sink.Emit(end)
		return nil, err
	}
	sink.Emit(end)
	sink.Emit(event.Event{Verb: verb, Kind: event.Result, Message: p.Name + " " + p.Version, Bytes: p.Bytes.Missing, Total: p.Bytes.Total, Fields: map[string]any{
		"index": p.Index, "components": len(p.Components), "images": len(p.Images), "findings": len(p.Findings), "output": opt.Output,
	}})
	return p, nil
}

func runPlan(ctx context.Context, opt Options, sink event.Sink) (*plan.Plan, error) {
	b, err := cargo.Open(ctx, opt.Paths, opt.Keys, cargo.Options{AllowExpired: opt.AllowExpired}, sink)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	chosen, nodes, err := readSite(opt)
	if err != nil {
		return nil, err
	}
	p, found, err := makePlan(ctx, opt, b, chosen, nodes, &stages{sink: sink})
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		sink.Emit(event.Event{Verb: verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
	}
	if p == nil {
		return nil, preflightError("planning", found)
	}
	if opt.Output != "" {
		err = plan.Write(opt.Output, p)
	}
	return p, err
}

func preflightError(doing string, found []event.Finding) error {
	n := 0
	for _, f := range found {
		if f.Severity == event.Error {
			n++
		}
	}
	return fmt.Errorf("%s: %w: %d findings are errors", doing, plan.ErrPreflight, n)
}

// makePlan makes the plan; nodes is the site's inventory of them, or "".
func makePlan(
	ctx context.Context, opt Options, from *cargo.Bundle, chosen plan.Site, nodes string, at *stages,
) (*plan.Plan, []event.Finding, error) {
	defer at.end()
	l := from.Lock()
	selection, found := decide.Select(l, chosen)
	if decide.HasErrors(found) {
		return nil, found, nil
	}
	context := opt.Context
	if context == "" {
		context = chosen.Context
	}
	cluster, err := kube.Connect(ctx, kube.Options{Kubeconfig: opt.Kubeconfig, Context: context})
	if err != nil {
		return nil, nil, err
	}
	at.begin("the cluster and the site registry", "what they have is being read")
	facts, err := gatherFacts(ctx, cluster, opt.Registry, selection, chosen.Registry)
	if err != nil {
		return nil, nil, err
	}
	if err := chooseReferences(ctx, cluster, selection, &chosen, &facts); err != nil {
		return nil, nil, err
	}
	if facts.CA, err = readAuthority(chosen); err != nil {
		return nil, nil, err
	}
	if err := checkAgentLogin(ctx, cluster, opt.Registry, selection, chosen, &facts); err != nil {
		return nil, nil, err
	}
	lacking, err := cluster.Denied(ctx, nodeRights(chosen))
	if err != nil {
		return nil, nil, err
	}
	facts.Denied = append(facts.Denied, lacking...)
	if err := decideGPUs(ctx, cluster, selection, l.Metadata.Name, nodes, &facts); err != nil {
		return nil, nil, err
	}
	at.begin("the charts", "they are being rendered and held against the cluster")
	renderers := helm.NewWorkers(opt.Renderer, runtime.GOMAXPROCS(0))
	defer renderers.Close()
	made, err := readClusterState(ctx, source{bundle: from, renderers: renderers}, cluster, selection, l.Metadata.Name, &facts)
	if err != nil {
		return nil, nil, err
	}
	b, err := planBundle(opt, from)
	if err != nil {
		return nil, nil, err
	}
	p, more := decide.Make(b, selection, made.made, facts)
	if p != nil {
		at.begin("the cluster", "it is being asked what installing would change")
		err = made.askers.hideError(compareObjects(ctx, cluster, p, made.pieces))
	}
	p, more = made.askers.keepSecrets(p, more)
	return p, append(found, more...), err
}

// planBundle says for install where the bundle and its keys are.
func planBundle(opt Options, from *cargo.Bundle) (decide.Bundle, error) {
	b := decide.Bundle{Index: from.IndexDigest(), Lock: from.LockDigest(), Sequence: from.Sequence()}
	for _, s := range from.Signers() {
		b.KeyIDs, b.Trust = append(b.KeyIDs, s.KeyID), append(b.Trust, s.Digest)
	}
	var err error
	if b.Paths, err = absolutePaths(opt.Paths); err != nil {
		return b, err
	}
	b.Keys, err = absolutePaths(opt.Keys)
	return b, err
}

func absolutePaths(paths []string) ([]string, error) {
	out := make([]string, len(paths))
	for i, p := range paths {
		a, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("finding %s: %w", p, err)
		}
		out[i] = a
	}
	return out, nil
}

// readSite reduces a site file to what a plan depends on, and says where its
// inventory of nodes is.
func readSite(opt Options) (_ plan.Site, nodes string, _ error) {
	s, err := site.Read(opt.Site)
	if err != nil {
		return plan.Site{}, "", err
	}
	raw, err := os.ReadFile(opt.Site)
	if err != nil {
		return plan.Site{}, "", fmt.Errorf("reading site: %w", err)
	}
	out := plan.Site{
		Name: s.Metadata.Name, Digest: digest.FromBytes(raw), Context: s.Cluster.Context,
		References: s.References, StorageClass: s.StorageClass, Hub: s.Hub, Components: map[string]plan.Choice{},
		Registry: s.Registry,
	}
	for name, c := range s.Components {
		out.Components[name] = plan.Choice{Enabled: c.Enabled, Values: c.Values}
	}
	if s.GPU != nil {
		if !s.GPU.Policy.Empty() {
			out.GPU = &s.GPU.Policy
		}
		if s.GPU.Nodes != "" {
			nodes = s.Path(s.GPU.Nodes)
		}
	}
	return out, nodes, nil
}
