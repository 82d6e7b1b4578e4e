package plan

import (
	"fmt"
	"slices"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/opencontainers/go-digest"
)

// The reference strategies, see package site.
const (
	Rewrite = "rewrite"
	Mirror  = "mirror"
	IDMS    = "idms"
)

// MirrorComponent is the name under which the journal has what the strategies
// mirror and idms bring. No component of a stack may have it.
const MirrorComponent = "caisson-mirror"

// NodeChange is what happens on every node, so that it finds upstream images in
// the site's registry.
type NodeChange struct {
	Strategy string        `json:"strategy"`           // mirror or idms
	Hosts    []string      `json:"hosts"`              // upstream registries
	Agent    imageref.Ref  `json:"agent,omitempty"`    // image that writes the files
	Runtimes []string      `json:"runtimes,omitempty"` // containerd, cri-o: those of the nodes
	Files    []NodeFile    `json:"files,omitempty"`    // put on the nodes, by their runtime
	CA       digest.Digest `json:"ca,omitempty"`       // of the registry's authority, put beside them
	Login    string        `json:"login,omitempty"`    // Secret whose login for the registry containerd gets
}

// NodeFile is one file that the agent keeps on nodes. The digest is the one that
// it has while no other stack wants it as well, and, where a login is added on the
// node, that of the file without its lines: a plan depends on no password.
type NodeFile struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"`
	Login  bool          `json:"login,omitempty"` // the registry's login is added to it, and only root may read it
}

// Rewrites says whether images become the site's in the objects themselves.
func (s Site) Rewrites() bool {
	return len(s.References) == 0 || slices.Contains(s.References, Rewrite)
}

// Mirrors is the strategy that changes nodes, or "".
func (s Site) Mirrors() string {
	for _, r := range []string{Mirror, IDMS} {
		if slices.Contains(s.References, r) {
			return r
		}
	}
	return ""
}

// check says what is wrong with a change that was read.
func (n *NodeChange) check() error {
	if n == nil {
		return nil
	}
	if n.Strategy != Mirror && n.Strategy != IDMS {
		return fmt.Errorf("nodes: no strategy is called %q", n.Strategy)
	}
	for _, r := range n.Runtimes {
		if r != "containerd" && r != "cri-o" {
			return fmt.Errorf("nodes: no runtime is called %q", r)
		}
	}
	if n.CA != "" && n.CA.Validate() != nil {
		return fmt.Errorf("nodes: digest %q is none", n.CA)
	}
	return nil
}

// Keeps says for the digest of a release's images how they are named.
func (s Site) Keeps() string {
	if s.Rewrites() {
		return ""
	}
	return "upstream names\n"
}
