// Package lock is the pinned form of a stack: every item with its digest, size
// and origin. `resolve` writes it, `pack` and everything after reads it.
//
// It holds the lock's types, its stable text form, and the pure functions that
// follow from it (which blobs are payload, in which order, made of which parts;
// the manifests that wrap charts, models and files). It never touches the
// network or the disk beyond reading and writing the lock file itself.
package lock

import "github.com/opencontainers/go-digest"

// APIVersion and Kind head every lock file.
const (
	APIVersion = "caisson.dev/v1alpha1"
	KindLock   = "Lock"
)

// Lock pins a stack. Fields appear in the file in this order; lists are sorted
// by the rule of their comment, so equal stacks against equal upstreams give
// equal bytes.
type Lock struct {
	APIVersion string      `yaml:"apiVersion"`
	Kind       string      `yaml:"kind"`
	Metadata   Metadata    `yaml:"metadata"`
	Platforms  []string    `yaml:"platforms"` // os/arch[/variant], sorted
	Kubernetes Kubernetes  `yaml:"kubernetes,omitempty"`
	Components []Component `yaml:"components"`        // in the stack's order
	Drivers    []Driver    `yaml:"drivers,omitempty"` // of a site's GPU nodes, sorted by name
	Items      []Item      `yaml:"items"`             // sorted by kind (image, chart, model, file, manifest, referrer) then ref
}

// Metadata names the stack.
type Metadata struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// Kubernetes is the range charts were rendered for.
type Kubernetes struct {
	Versions    []string `yaml:"versions,omitempty"`
	APIVersions []string `yaml:"apiVersions,omitempty"`
}

// Component is one unit of installation.
type Component struct {
	Name      string      `yaml:"name"`
	Needs     []string    `yaml:"needs,omitempty"` // component names, sorted
	Namespace string      `yaml:"namespace,omitempty"`
	Optional  bool        `yaml:"optional,omitempty"`
	Releases  []Release   `yaml:"releases,omitempty"`  // in the stack's order
	Manifests []string    `yaml:"manifests,omitempty"` // item refs, in the stack's order
	Items     []string    `yaml:"items,omitempty"`     // refs of its other items, sorted
	Ready     []Condition `yaml:"ready,omitempty"`
	Allow     []Allow     `yaml:"allow,omitempty"` // in the stack's order
}

// Allow accepts findings of the egress lint, here and when a plan is made.
type Allow struct {
	Code   string `yaml:"code"`
	Match  string `yaml:"match"` // pattern of the template, of TEMPLATE:LINE or of the text
	Reason string `yaml:"reason"`
}

// Release is one Helm release of a component.
type Release struct {
	Name   string         `yaml:"name"`
	Chart  string         `yaml:"chart"`            // item ref
	Values map[string]any `yaml:"values,omitempty"` // values files and values, merged
}

// Condition is one thing that must hold before a component counts as ready.
type Condition struct {
	APIVersion string `yaml:"apiVersion,omitempty"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
	Namespace  string `yaml:"namespace,omitempty"` // default: the component's
	Condition  string `yaml:"condition,omitempty"` // status.conditions type that must be True; empty: kstatus Current
}

// Kind is the kind of an item.
type Kind string

const (
	Image    Kind = "image"
	Chart    Kind = "chart"
	Model    Kind = "model"
	File     Kind = "file"
	Manifest Kind = "manifest" // plain Kubernetes YAML
	Referrer Kind = "referrer" // signature, attestation, SBOM: an OCI referrer, its fallback tag, or a cosign tag
)

// Item is one thing in the bundle. Ref is unique and becomes its
// org.opencontainers.image.ref.name:
//
//	image     the whole normalised reference: ghcr.io/acme/web:1.2.3, …@sha256:… or both
//	chart     HOST/PATH/NAME:VERSION ('+' as '_')
//	model     huggingface.co/ + lowercase repository + ':' + commit
//	file      files.caisson.dev/COMPONENT/NAME: + 12 digits of the digest
//	manifest  files.caisson.dev/COMPONENT/NAME: + 12 digits of the digest
//	referrer  REPOSITORY@DIGEST, or REPOSITORY:TAG for a fallback or cosign tag
//
// Digest, MediaType and Size describe its root manifest; they are zero only for
// a model with pending layers, whose manifest exists once they are streamed.
type Item struct {
	Ref        string        `yaml:"ref"`
	Kind       Kind          `yaml:"kind"`
	Components []string      `yaml:"components"` // sorted
	Source     string        `yaml:"source"`     // upstream name: docker://…, oci://…, https://…, hf://REPO@COMMIT, file:PATH, caisson:agent
	Subject    digest.Digest `yaml:"subject,omitempty"`
	FoundBy    []string      `yaml:"foundBy,omitempty"` // images: "stack", "chart NAME", "nodes", sorted
	Digest     digest.Digest `yaml:"digest,omitempty"`
	MediaType  string        `yaml:"mediaType,omitempty"`
	Size       int64         `yaml:"size,omitempty"`
	// Manifests holds what is carried verbatim from a registry, the root first,
	// then the carried children in the index's order. A child of the root index
	// that is not listed is not carried (sparse index).
	Manifests []ImageManifest `yaml:"manifests,omitempty"`
	HelmChart *HelmChart      `yaml:"helmChart,omitempty"` // a chart from an HTTP repository, wrapped by us
	HubModel  *HubModel       `yaml:"hubModel,omitempty"`
	RawFile   *RawFile        `yaml:"rawFile,omitempty"` // file or manifest
}

// ImageManifest is one manifest or index carried verbatim.
type ImageManifest struct {
	Digest    digest.Digest `yaml:"digest"`
	MediaType string        `yaml:"mediaType"`
	Size      int64         `yaml:"size"`
	Platform  string        `yaml:"platform,omitempty"` // os/arch[/variant] of an image; "attestation" for a BuildKit attestation manifest
	Config    *Blob         `yaml:"config,omitempty"`
	Layers    []Blob        `yaml:"layers,omitempty"` // in the manifest's order
}

// Blob is a content descriptor.
type Blob struct {
	Digest    digest.Digest `yaml:"digest"`
	MediaType string        `yaml:"mediaType,omitempty"`
	Size      int64         `yaml:"size"`
}

// HelmChart is a chart archive that came from an HTTP repository.
type HelmChart struct {
	Name       string        `yaml:"name"`
	Version    string        `yaml:"version"`
	URL        string        `yaml:"url"`
	Digest     digest.Digest `yaml:"digest"` // sha256 of the .tgz
	Size       int64         `yaml:"size"`
	Provenance *Blob         `yaml:"provenance,omitempty"` // of URL + ".prov"
	Config     string        `yaml:"config"`               // Chart.yaml's metadata as the OCI config JSON
}

// HubModel is a model of a Hugging Face compatible hub at one commit.
type HubModel struct {
	Repository string       `yaml:"repository"` // as the hub spells it
	Revision   string       `yaml:"revision"`   // what the stack asked for
	Commit     string       `yaml:"commit"`     // 40 hex digits
	License    string       `yaml:"license,omitempty"`
	Platform   string       `yaml:"platform,omitempty"` // named in its image config; empty means linux/amd64
	Files      []ModelFile  `yaml:"files"`              // sorted by path
	Layers     []ModelLayer `yaml:"layers"`             // see ModelLayers
}

// ModelFile is one file of a model repository. SHA256 is always known: from the
// hub for LFS files, computed by resolve (which reads them) for the rest.
type ModelFile struct {
	Path    string        `yaml:"path"`
	Size    int64         `yaml:"size"`
	SHA256  digest.Digest `yaml:"sha256"`
	GitSHA1 string        `yaml:"gitSHA1,omitempty"` // non-LFS files
	LFS     bool          `yaml:"lfs,omitempty"`
}

// ModelLayer is one uncompressed tar layer holding Files (paths, sorted). Digest
// is empty ("pending") while it depends on bytes that resolve has not read.
type ModelLayer struct {
	Digest digest.Digest `yaml:"digest,omitempty"`
	Size   int64         `yaml:"size"`
	Files  []string      `yaml:"files"`
}

// RawFile is a file by URL, or a manifest beside the stack.
type RawFile struct {
	Name      string        `yaml:"name"`
	URL       string        `yaml:"url,omitempty"`
	Path      string        `yaml:"path,omitempty"` // manifests: relative to the lock file, slash-separated
	Digest    digest.Digest `yaml:"digest"`
	Size      int64         `yaml:"size"`
	MediaType string        `yaml:"mediaType"`
}
