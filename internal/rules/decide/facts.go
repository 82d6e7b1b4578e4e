package decide

import (
	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// Facts are what was found at the site.
type Facts struct {
	UID            string
	Version        string   // v1.33.4
	Server         string   // address of the API server
	APIVersions    []string // what it serves: "v1", "v1/Pod"
	Platforms      []string // os/arch of the nodes, sorted, each once
	Namespaces     []string
	StorageClasses []string // nil where they could not be listed
	DefaultClass   string
	CRDs           []string // names of the definitions there
	Releases       []ReleaseFact
	Denied         []string            // rights the operator lacks, in words
	Logins         []plan.LoginTrouble // why nodes cannot log in to the registry
	TokensOnly     bool                // the registry takes no password with a request: it gives out tokens for it
	Registry       RegistryFacts
	CA             []byte // PEM of the registry's authority, where the site names one and nodes are told of it
	Cluster        ClusterState
	GPU            GPUFacts
}

// ReleaseFact is a release that exists in a namespace the plan uses.
type ReleaseFact struct {
	Namespace, Name string
	Revision        int
	Status          string
	Chart           string         // label: digest of the chart archive, shortened as by Mark
	Values          string         // likewise
	Images          string         // likewise
	Current         map[string]any // values of the deployed revision, where known
	Deployed        bool           // a revision of it is deployed, which an upgrade goes on from
	Foreign         bool           // kept by another tool, such as the Helm CLI
}

// RegistryFacts say what the site registry holds.
type RegistryFacts struct {
	Problem string          // why it could not be asked; empty when it could
	Has     map[string]bool // by REPOSITORY@DIGEST, REPOSITORY being a path below the registry's base
}

// Rendered is what one release renders to at the site.
type Rendered struct {
	ChartDigest  digest.Digest // of the archive
	ChartVersion string
	KubeVersion  string // the chart's constraint
	Objects      int
	CRDs         []plan.CRD      // Exists not yet set
	Images       []document.Site // see document.Images; of a manifest, Template is its item
	Parts        []Part
	Egress       []lint.Finding // but for images, which the plan compares with the bundle
	Rendering    *plan.Rendering
	Problem      string // why it does not render; the other fields are then empty
}

// Key names a rendering: of a release of a component, or of a manifest item.
type Key struct{ Component, Name string }
