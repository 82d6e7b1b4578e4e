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
	Image   string        // the image in place of this program's own
	Timeout time.Duration // how long pods may take to answer; zero for two minutes

	Operator  string    // release of NVIDIA's operator; "" for the newest known
	AMDDriver string    // version of amdgpu that images are built with
	Now       time.Time // judges which drivers have support; zero for all

	Output    string // inventory file to write; "" writes none
	HashNames bool   // in that file
}

// Result is what was found. Payloads belong to the nodes of the same place.
type Result struct {
	Nodes    []gpu.Node
	Payloads []gpu.Payload
	Groups   []gpu.Group
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
	sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Message: count(len(res.Nodes)), Fields: fields(res)})
	return res, nil
}

func run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	c, err := gpu.Read()
	if err != nil {
		return Result{}, err
	}
	list, salt, found, err := look(ctx, c, opt)
	if err != nil {
		return Result{}, err
	}
	res := match(c, list, opt)
	for _, f := range append(found, gpu.Judge(res.Nodes, res.Payloads, event.Warn)...) {
		sink.Emit(event.Event{Verb: Verb, Kind: event.FindingKind, Item: f.Item, Finding: &f})
	}
	if opt.Output != "" {
		res.Written = opt.Output
		err = write(opt, list, salt)
	}
	return res, err
}

// look gathers the nodes, and a salt for hashes of their names.
func look(ctx context.Context, c *gpu.Catalogue, opt Options) ([]gpu.Node, string, []event.Finding, error) {
	switch {
	case opt.Inventory != "":
		v, err := c.Inventory(opt.Inventory)
		if err != nil {
			return nil, "", nil, err
		}
		return v.Nodes, "", nil, nil
	case opt.Sysfs != "":
		n, err := tree(c, opt.Sysfs, filepath.Base(filepath.Clean(opt.Sysfs)))
		return []gpu.Node{n}, opt.Sysfs, nil, err
	case opt.Local:
		return local(c)
	}
	return cluster(ctx, c, opt)
}

func local(c *gpu.Catalogue) ([]gpu.Node, string, []event.Finding, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, "", nil, fmt.Errorf("asking for the host's name: %w", err)
	}
	id, _ := os.ReadFile("/etc/machine-id")
	n, err := tree(c, "/", name)
	return []gpu.Node{n}, string(id), nil, err
}

func tree(c *gpu.Catalogue, dir, name string) (gpu.Node, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return gpu.Node{}, fmt.Errorf("opening the tree: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat("sys"); err != nil {
		return gpu.Node{}, fmt.Errorf("reading %s: %w: it has no directory sys", dir, ErrNoTree)
	}
	return gpu.ReadTree(c, root, name), nil
}

func cluster(ctx context.Context, c *gpu.Catalogue, opt Options) ([]gpu.Node, string, []event.Finding, error) {
	var p *prober
	if opt.Probe {
		var err error
		if p, err = newProber(opt); err != nil {
			return nil, "", nil, err
		}
		opt.Context = cmp.Or(opt.Context, p.site.Cluster.Context)
	}
	client, err := kube.Connect(ctx, kube.Options{Kubeconfig: opt.Kubeconfig, Context: opt.Context})
	if err != nil {
		return nil, "", nil, err
	}
	facts, err := client.NodeFacts(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	salt, err := client.UID(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	nodes, found := FromFacts(c, facts)
	if p != nil {
		more, err := p.probe(ctx, c, client, nodes)
		if err != nil {
			return nil, "", nil, err
		}
		found = append(found, more...)
	}
	return nodes, salt, found, nil
}

// FromFacts turns what the API server holds into nodes, with a finding for each
// two sources that disagree.
func FromFacts(c *gpu.Catalogue, facts []kube.NodeFacts) (nodes []gpu.Node, found []event.Finding) {
	for _, f := range facts {
		o := gpu.Observed{Name: f.Name, Labels: f.Labels, Kernel: f.Info.KernelVersion, OSImage: f.Info.OSImage,
			Runtime: f.Info.ContainerRuntimeVersion, Arch: f.Info.Architecture}
		for name, n := range f.Capacity {
			o.Resources = append(o.Resources, gpu.Resource{Name: name, Capacity: n, Allocatable: f.Allocatable[name]})
		}
		n, more := gpu.FromCluster(c, o)
		nodes, found = append(nodes, n), append(found, more...)
	}
	return nodes, found
}

// match finds a payload for each node.
func match(c *gpu.Catalogue, list []gpu.Node, opt Options) Result {
	res := Result{Nodes: list}
	rules := gpu.Options{Operator: opt.Operator, AMDDriver: opt.AMDDriver}
	if !opt.Now.IsZero() {
		rules.Month = opt.Now.UTC().Format("2006-01")
	}
	for _, n := range list {
		p := gpu.Match(c, n, rules)
		if p.Kind == gpu.None {
			res.Lacking++
		}
		res.Payloads = append(res.Payloads, p)
	}
	res.Groups = gpu.Groups(res.Nodes, res.Payloads)
	return res
}

func write(opt Options, list []gpu.Node, salt string) error {
	v := gpu.NewInventory(list, opt.HashNames, salt)
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

func count(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// JSON is the result as one document: the nodes with the payload of each, the
// NVIDIADriver groups, and how many nodes lack a payload.
func (r Result) JSON() ([]byte, error) {
	doc := fields(r)
	delete(doc, "output")
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the nodes: %w", err)
	}
	return append(out, '\n'), nil
}

// YAML is the nodes as a NodeInventory.
func (r Result) YAML() ([]byte, error) { return gpu.NewInventory(r.Nodes, false, "").Marshal() }

// fields is the result for programs.
func fields(res Result) map[string]any {
	type row struct {
		gpu.Node
		Payload gpu.Payload `json:"payload"`
	}
	rows := make([]row, len(res.Nodes))
	for i, n := range res.Nodes {
		rows[i] = row{n, res.Payloads[i]}
	}
	return map[string]any{"nodes": rows, "drivers": res.Groups, "lacking": res.Lacking, "output": res.Written}
}
