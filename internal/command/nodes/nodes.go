// Package nodes is the nodes command: it finds what accelerators a cluster's nodes
// or this host have, and which driver payload each needs.
//
// It changes nothing but the inventory file that it is asked to write. What fits
// what it leaves to package gpu.
package nodes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/client/host"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// Verb names the command in events.
const Verb = "nodes"

// ErrNoTree: the path is no captured tree of a node.
var ErrNoTree = errors.New("no tree of a node")

// Options are the inputs of the nodes command. Without Local, Sysfs and Inventory
// the nodes are a cluster's.
type Options struct {
	Kubeconfig string
	Context    string
	Local      bool   // this host
	Sysfs      string // a captured tree: a directory with sys, proc and etc
	Inventory  string // a file of kind NodeInventory

	Probe   bool          // read the cluster's nodes' own files too, with pods
	Site    string        // site file, which says where those pods' image is; needed with Probe
	Image   imageref.Ref  // the image in place of this program's own
	Timeout time.Duration // how long pods may take to answer; zero for two minutes

	Operator  string    // release of the operator that brings drivers; "" for the newest known
	AMDDriver string    // version of amdgpu that images are built with
	Now       time.Time // judges which drivers have support; zero for all

	Output    string // inventory file to write; "" writes none
	HashNames bool   // in that file
}

// Result is what was found. Payloads belong to the nodes of the same index.
type Result struct {
	Nodes    []inventory.Node
	Payloads []inventory.Payload
	Groups   []inventory.Group
	Lacking  int // nodes for which no payload exists
	Written  string
}

// Run looks at the nodes and emits a finding for each node that lacks a payload
// and for each two sources that disagree.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	sink.Emit(event.Event{Verb: Verb, Kind: event.Start})
	res, err := run(ctx, opt, sink)
	end := event.Event{Verb: Verb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
		sink.Emit(end)
		return Result{}, err
	}
	sink.Emit(end)
	sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Message: countNodes(len(res.Nodes)), Fields: documentOf(res)})
	return res, nil
}

func run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	c, err := gpu.Read()
	if err != nil {
		return Result{}, err
	}
	g, err := gatherNodes(ctx, c, opt, sink)
	if err != nil {
		return Result{}, err
	}
	res := matchNodes(c, g.nodes, opt)
	for _, f := range append(g.found, gpu.PayloadFindings(res.Nodes, res.Payloads, event.Warn)...) {
		sink.Emit(event.Event{Verb: Verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
	}
	if opt.Output != "" {
		res.Written = opt.Output
		err = writeInventory(opt, g)
	}
	return res, err
}

// gathered are nodes, a salt for hashes of their names, and what reading them came
// upon.
type gathered struct {
	nodes []inventory.Node
	salt  string
	found []event.Finding
}

// gatherNodes reads the nodes from where the options say.
func gatherNodes(ctx context.Context, c *gpu.Catalogue, opt Options, sink event.Sink) (gathered, error) {
	switch {
	case opt.Inventory != "":
		v, err := inventory.Read(opt.Inventory)
		if err != nil {
			return gathered{}, err
		}
		c.Describe(v.Nodes)
		return gathered{nodes: v.Nodes}, nil
	case opt.Sysfs != "":
		n, err := readTree(c, opt.Sysfs, filepath.Base(filepath.Clean(opt.Sysfs)))
		return gathered{nodes: []inventory.Node{n}, salt: opt.Sysfs}, err
	case opt.Local:
		return readLocal(c)
	}
	return readCluster(ctx, c, opt, sink)
}

func readLocal(c *gpu.Catalogue) (gathered, error) {
	name, err := os.Hostname()
	if err != nil {
		return gathered{}, fmt.Errorf("asking for the host's name: %w", err)
	}
	id, _ := os.ReadFile("/etc/machine-id")
	n, err := readTree(c, "/", name)
	return gathered{nodes: []inventory.Node{n}, salt: string(id)}, err
}

func readTree(c *gpu.Catalogue, dir, name string) (inventory.Node, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return inventory.Node{}, fmt.Errorf("opening the tree: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat("sys"); err != nil {
		return inventory.Node{}, fmt.Errorf("reading %s: %w: it has no directory sys", dir, ErrNoTree)
	}
	return host.ReadTree(c, root, name), nil
}

func readCluster(ctx context.Context, c *gpu.Catalogue, opt Options, sink event.Sink) (gathered, error) {
	var p *prober
	if opt.Probe {
		var err error
		if p, err = newProber(opt); err != nil {
			return gathered{}, err
		}
		opt.Context = cmp.Or(opt.Context, p.site.Cluster.Context)
	}
	client, err := kube.Connect(ctx, kube.Options{Kubeconfig: opt.Kubeconfig, Context: opt.Context})
	if err != nil {
		return gathered{}, err
	}
	facts, err := client.NodeFacts(ctx)
	if err != nil {
		return gathered{}, err
	}
	salt, err := client.UID(ctx)
	if err != nil {
		return gathered{}, err
	}
	g := gathered{salt: salt}
	g.nodes, g.found = fromFacts(c, facts)
	if p != nil {
		more, err := p.probeNodes(ctx, c, client, g.nodes, func(why string) { reportWaiting(sink, why) })
		reportWaiting(sink, "")
		if err != nil {
			return gathered{}, err
		}
		g.found = append(g.found, more...)
	}
	return g, nil
}

// reportWaiting tells what the probe waits for, and with an empty text that it is over.
func reportWaiting(sink event.Sink, why string) {
	sink.Emit(event.Event{Verb: Verb, Kind: event.Progress, Message: why, Wait: &event.Wait{For: "the probe", Why: why}})
}

// fromFacts turns what the API server holds into nodes, with a finding for each
// two sources that disagree.
func fromFacts(c *gpu.Catalogue, facts []kube.NodeFacts) (nodes []inventory.Node, found []event.Finding) {
	for _, f := range facts {
		n, more := gpu.FromCluster(c, f.Observed())
		nodes, found = append(nodes, n), append(found, more...)
	}
	return nodes, found
}

// matchNodes finds a payload for each node.
func matchNodes(c *gpu.Catalogue, list []inventory.Node, opt Options) Result {
	res := Result{Nodes: list}
	rules := gpu.Options{Operator: opt.Operator, AMDDriver: opt.AMDDriver}
	if !opt.Now.IsZero() {
		rules.Month = opt.Now.UTC().Format("2006-01")
	}
	for _, n := range list {
		p := gpu.Match(c, n, rules)
		if p.Kind == inventory.NoPayload {
			res.Lacking++
		}
		res.Payloads = append(res.Payloads, p)
	}
	res.Groups = gpu.Groups(res.Nodes, res.Payloads)
	return res
}

func writeInventory(opt Options, g gathered) error {
	v := inventory.New(g.nodes, opt.HashNames, g.salt)
	v.Operator = opt.Operator
	text, err := v.Marshal()
	if err != nil {
		return err
	}
	if err := os.WriteFile(opt.Output, text, 0o644); err != nil {
		return fmt.Errorf("writing the node inventory: %w", err)
	}
	return nil
}

func countNodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// JSON is the result as one document: the nodes with the payload of each, the
// groups of nodes with a driver image each, and how many nodes lack a payload.
func (r Result) JSON() ([]byte, error) {
	doc := documentOf(r)
	delete(doc, "output")
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the nodes: %w", err)
	}
	return append(out, '\n'), nil
}

// YAML is the nodes as a NodeInventory.
func (r Result) YAML() ([]byte, error) { return inventory.New(r.Nodes, false, "").Marshal() }

// documentOf is the result for programs.
func documentOf(res Result) map[string]any {
	type row struct {
		inventory.Node
		Payload inventory.Payload `json:"payload"`
	}
	rows := make([]row, len(res.Nodes))
	for i, n := range res.Nodes {
		rows[i] = row{n, res.Payloads[i]}
	}
	return map[string]any{"nodes": rows, "drivers": res.Groups, "lacking": res.Lacking, "output": res.Written}
}
