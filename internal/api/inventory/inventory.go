// Package inventory holds what a site's nodes are like: their systems, their
// accelerators and the drivers of these, and the file kind NodeInventory that
// carries this to where drivers are chosen.
//
// It reads, checks and writes that file. What a node needs is decided elsewhere,
// and no cluster and no host is read here.
package inventory

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/api/yamlfile"
)

// Kind heads an inventory file.
const Kind = "NodeInventory"

// Inventory is the kind NodeInventory: what a site's nodes are like, to be
// carried to where drivers are chosen.
type Inventory struct {
	// APIVersion is caisson.dev/v1alpha1.
	APIVersion string `yaml:"apiVersion" json:"apiVersion" jsonschema:"required,enum=caisson.dev/v1alpha1"`
	// Kind is NodeInventory.
	Kind string `yaml:"kind" json:"kind" jsonschema:"required,enum=NodeInventory"`
	// HashedNames says that names are hashes and not the nodes' own.
	HashedNames bool `yaml:"hashedNames,omitempty" json:"hashedNames,omitempty"`
	// Operator is the release of NVIDIA's operator that is meant.
	Operator string `yaml:"operator,omitempty" json:"operator,omitempty"`
	// Nodes of the site.
	Nodes []Node `yaml:"nodes" json:"nodes" jsonschema:"required"`
}

// New makes an inventory of nodes, sorted by name. Hashed names are equal
// where names are, within and across inventories with the same salt.
func New(nodes []Node, hash bool, salt string) Inventory {
	v := Inventory{APIVersion: yamlfile.APIVersion, Kind: Kind, HashedNames: hash, Nodes: slices.Clone(nodes)}
	if hash {
		for i := range v.Nodes {
			v.Nodes[i].Name = hashName(v.Nodes[i].Name, salt)
		}
	}
	slices.SortFunc(v.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return v
}

func hashName(name, salt string) string {
	return fmt.Sprintf("node-%.6x", sha256.Sum256([]byte(salt+"\x00"+name)))
}

// Marshal writes an inventory that Parse reads back.
func (v Inventory) Marshal() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("writing the node inventory: %w", err)
	}
	return b.Bytes(), enc.Close()
}

// MaxSize bounds an inventory file, in bytes.
const MaxSize = 16 << 20

// Bounds on an inventory.
const (
	maxNodes = 10000
	maxCount = 4096 // GPUs of one kind on a node
)

// Read reads the inventory of the file at path and checks it. The error
// is a *yamlfile.Error that lists every problem, or yamlfile.ErrNoDocument.
func Read(path string) (*Inventory, error) {
	doc, err := yamlfile.ReadFile(path, Kind, MaxSize)
	if err != nil {
		return nil, err
	}
	return decode(doc)
}

// Parse is Read for bytes; name stands for the file in messages.
func Parse(name string, text []byte) (*Inventory, error) {
	doc, err := yamlfile.Parse(name, text, Kind)
	if err != nil {
		return nil, err
	}
	return decode(doc)
}

func decode(doc *yamlfile.Document) (*Inventory, error) {
	var v Inventory
	doc.Decode(&v)
	if len(v.Nodes) > maxNodes {
		doc.Problemf("nodes", "are %d, more than %d", len(v.Nodes), maxNodes)
		return nil, doc.Err()
	}
	seen := map[string]bool{}
	for i, n := range v.Nodes {
		at := fmt.Sprintf("nodes[%d]", i)
		if seen[n.Name] {
			doc.Problemf(at+".name", "%q is there twice", n.Name)
		}
		seen[n.Name] = true
		n.check(doc, at)
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return &v, nil
}

func (n Node) check(doc *yamlfile.Document, at string) {
	switch {
	case n.Name == "":
		doc.Missing(at + ".name")
	case len(n.Name) > 253:
		doc.Problemf(at+".name", "is longer than 253 bytes")
	}
	words := map[string]string{
		"kernel": n.Kernel, "arch": n.Arch, "os.id": n.OS.ID, "os.version": n.OS.Version, "driver.version": n.Driver.Version,
	}
	for field, value := range words {
		if value != "" && TagWord(value) == "" {
			doc.Problemf(at+"."+field, "%q cannot stand in the tag of an image", value)
		}
	}
	checkOneOf(doc, at+".secureBoot", n.SecureBoot, "on", "off", "none")
	checkOneOf(doc, at+".driver.state", n.Driver.State, DriverNone, DriverInTree, DriverNouveau, DriverInstalled)
	checkOneOf(doc, at+".driver.modules", n.Driver.Modules, OpenModules, ProprietaryModules)
	for i, g := range n.GPUs {
		g.check(doc, fmt.Sprintf("%s.gpus[%d]", at, i))
	}
}

func (g GPU) check(doc *yamlfile.Document, at string) {
	if g.Count < 0 || g.Count > maxCount {
		doc.Problemf(at+".count", "%d is not a number of GPUs", g.Count)
	}
	for field, id := range map[string]string{"vendor": g.Vendor, "device": g.Device, "class": g.Class} {
		if id != "" && (len(id) != 4 || HexDigits(id) != id) {
			doc.Problemf(at+"."+field, "%q is not four hexadecimal digits in quotes", id)
		}
	}
}

func checkOneOf(doc *yamlfile.Document, field, value string, known ...string) {
	if value != "" && !slices.Contains(known, value) {
		doc.Problemf(field, "unknown value %q%s", value, yamlfile.Suggest(value, known))
	}
}

var tagRule = regexp.MustCompile(`^[A-Za-z0-9._~+-]{1,64}$`)

// TagWord is a word that can stand in the tag of an image; empty for any other.
func TagWord(s string) string {
	if !tagRule.MatchString(s) {
		return ""
	}
	return s
}

// HexDigits takes 0x from a number of at most eight hexadecimal digits; what is
// none becomes empty.
func HexDigits(s string) string {
	s = strings.ToLower(strings.TrimPrefix(s, "0x"))
	if len(s) > 8 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}
