package gpu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caisson/caisson/internal/api/inventory"
)

// MaxProbe bounds what a probe says, in bytes.
const MaxProbe = 256 << 10

// probeVersion is of the line's form.
const probeVersion = 1

// maxListed bounds each list in a probe's line.
const maxListed = 1024

// probeHead begins a probe's line, and no other line of its log.
const probeHead = `{"caissonProbe":`

// ErrNoProbe: a log holds no whole line of a probe.
var ErrNoProbe = errors.New("it holds no line of a probe")

// probeLine is what a probe says of its node.
type probeLine struct {
	Version int            `json:"caissonProbe"`
	Node    inventory.Node `json:"node"`
}

// ProbeLine writes what was read on a node as one line of at most MaxProbe
// bytes, for ParseProbe. Of lists longer than it takes, it writes the beginning.
func ProbeLine(n inventory.Node) ([]byte, error) {
	n.GPUs, n.HugePages, n.RDMA, n.Resources = cutList(n.GPUs), cutList(n.HugePages), cutList(n.RDMA), nil
	line, err := json.Marshal(probeLine{probeVersion, n})
	if err == nil && len(line) >= MaxProbe {
		err = fmt.Errorf("it has more than %d bytes", MaxProbe)
	}
	if err != nil {
		return nil, fmt.Errorf("writing what the probe found: %w", err)
	}
	return append(line, '\n'), nil
}

func cutList[E any](list []E) []E { return list[:min(len(list), maxListed)] }

// ParseProbe finds a probe's line in the log of its pod, which may be hostile, and
// makes of it a node of the given name. What the catalogue knows of a GPU comes
// from the catalogue, and what cannot be a name is left out; a line that no
// inventory could hold is an error. Without a whole line the error is ErrNoProbe.
func (c *Catalogue) ParseProbe(log []byte, name string) (inventory.Node, error) {
	line, ok := findProbe(log)
	if !ok {
		return inventory.Node{}, ErrNoProbe
	}
	var p probeLine
	if err := json.Unmarshal(line, &p); err != nil {
		return inventory.Node{}, fmt.Errorf("reading what the probe found: %w", err)
	}
	if p.Version != probeVersion {
		return inventory.Node{}, fmt.Errorf("reading what the probe found: it is in form %d, not %d", p.Version, probeVersion)
	}
	n := c.takeOver(p.Node, name)
	if err := checkProbed(n); err != nil {
		return inventory.Node{}, fmt.Errorf("reading what the probe found: %w", err)
	}
	return n, nil
}

// findProbe is the first whole line of a probe.
func findProbe(log []byte) ([]byte, bool) {
	for line := range bytes.Lines(log[:min(len(log), MaxProbe)]) {
		if bytes.HasPrefix(line, []byte(probeHead)) && bytes.HasSuffix(line, []byte("\n")) {
			return line, true
		}
	}
	return nil, false
}

// takeOver takes of a line what a probe can know.
func (c *Catalogue) takeOver(said inventory.Node, name string) inventory.Node {
	n := inventory.Node{Name: name, Sources: []string{inventory.FromProbe}, Arch: said.Arch, Kernel: said.Kernel, OS: said.OS, Cgroup: said.Cgroup,
		Switches: said.Switches, Driver: said.Driver, SecureBoot: said.SecureBoot, IOMMUGroups: said.IOMMUGroups, HugePages: cutList(said.HugePages)}
	n.OS.OSTree, n.Driver.Names = inventory.TagWord(said.OS.OSTree), nil
	for _, name := range cutList(said.Driver.Names) {
		if inventory.TagWord(name) != "" {
			n.Driver.Names = append(n.Driver.Names, name)
		}
	}
	for _, g := range cutList(said.GPUs) {
		n.GPUs = append(n.GPUs, c.describe(inventory.GPU{Vendor: g.Vendor, Device: g.Device, Class: g.Class, Virtual: g.Virtual, Bound: inventory.TagWord(g.Bound), Count: g.Count}))
	}
	for _, r := range cutList(said.RDMA) {
		if inventory.TagWord(r.Name) != "" {
			n.RDMA = append(n.RDMA, inventory.RDMA{Name: r.Name, Link: inventory.TagWord(r.Link), Switch: r.Switch})
		}
	}
	return n
}

// checkProbed checks n as an inventory checks its nodes, and its numbers.
func checkProbed(n inventory.Node) error {
	numbers := []int{n.Cgroup, n.Switches, n.IOMMUGroups}
	for _, h := range n.HugePages {
		numbers = append(numbers, h.SizeKiB, h.Count)
	}
	for _, v := range numbers {
		if v < 0 {
			return fmt.Errorf("%d is a number below zero", v)
		}
	}
	for _, g := range n.GPUs {
		if g.Vendor == "" || g.Device == "" || g.Count == 0 {
			return errors.New("a GPU lacks its id or its number")
		}
	}
	text, err := inventory.New([]inventory.Node{n}, false, "").Marshal()
	if err == nil {
		_, err = inventory.Parse(n.Name, text)
	}
	return err
}
