// Package lock is the pinned form of a stack: every item with its digest, size
// and origin. `resolve` writes it, `pack` and everything after reads it.
//
// It holds the lock's types, its stable text form, and the pure functions that
// follow from it (which blobs are payload, in which order, made of which parts;
// the manifests that wrap charts, models and files). It never touches the
// network or the disk beyond reading and writing the lock file itself.
package lock

import (
	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/ledger"
)

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
	// Checks are those of the items' origin that were made when resolving, sorted
	// by item. Packing takes them into the bundle's ledger.
	Checks []ledger.Check `yaml:"checks,omitempty"`
}

// Metadata names the stack.
type Metadata struct {
	Name     string   `yaml:"name"`
	Version  string   `yaml:"version"`
	Profiles []string `yaml:"profiles,omitempty"` // of the stack, that alone are here; sorted. Absent: all
}

// Kubernetes is the range charts were rendered for.
type Kubernetes struct {
	Versions    []string `yaml:"versions,omitempty"`
	APIVersions []string `yaml:"apiVersions,omitempty"`
}

// Component is one unit of installation.
type Component struct {
	Name      string         `yaml:"name"`
	License   string         `yaml:"license,omitempty"` // of the software, an SPDX expression
	Needs     []string       `yaml:"needs,omitempty"`   // component names, sorted
	After     []string       `yaml:"after,omitempty"`   // that come first where they are installed; sorted, none of Needs
	Namespace string         `yaml:"namespace,omitempty"`
	Optional  bool           `yaml:"optional,omitempty"`
	Releases  []Release      `yaml:"releases,omitempty"`  // in the stack's order
	Manifests []imageref.Ref `yaml:"manifests,omitempty"` // item refs, in the stack's order
	Items     []imageref.Ref `yaml:"items,omitempty"`     // refs of its other items, sorted
	CRDs      []CRD          `yaml:"crds,omitempty"`      // that its charts and manifests bring, sorted by name
	Ready     []Condition    `yaml:"ready,omitempty"`
	Allow     []Allow        `yaml:"allow,omitempty"` // in the stack's order
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
	Chart  imageref.Ref   `yaml:"chart"`            // item ref
	Values map[string]any `yaml:"values,omitempty"` // values files and values, merged
	Facts  []string       `yaml:"facts,omitempty"`  // of the site, that the chart is told as values; sorted
}

// CRD is a custom resource definition.
type CRD struct {
	Name   string   `yaml:"name"`                  // queues.example.com
	Served []string `yaml:"served,flow,omitempty"` // versions that clients can use, sorted
	Stored string   `yaml:"stored,omitempty"`      // the version in which objects are kept
}

// Condition is one thing that must hold before a component counts as ready.
type Condition struct {
	APIVersion string `yaml:"apiVersion,omitempty"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
	Namespace  string `yaml:"namespace,omitempty"` // default: the component's
	Condition  string `yaml:"condition,omitempty"` // status.conditions type that must be True; empty: kstatus Current
}

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
	Ref        imageref.Ref  `yaml:"ref"`
	Kind       Kind          `yaml:"kind"`
	Components []string      `yaml:"components"` // sorted
	Source     string        `yaml:"source"`     // upstream name: docker://…, oci://…, https://…, hf://REPO@COMMIT, file:PATH, caisson:agent
	Subject    digest.Digest `yaml:"subject,omitempty"`
	FoundBy    []string      `yaml:"foundBy,omitempty"` // images: "stack", "chart NAME", "nodes", sorted
	Digest     digest.Digest `yaml:"digest,omitempty"`
	MediaType  string        `yaml:"mediaType,omitempty"`
	Size       int64         `yaml:"size,omitempty"`
	Content    Content       `yaml:"-"` // written under the field of its form

	surplus int // further content that a file gives; Check refuses it
}

// Blob is a content descriptor.
type Blob struct {
	Digest    digest.Digest `yaml:"digest"`
	MediaType string        `yaml:"mediaType,omitempty"`
	Size      int64         `yaml:"size"`
}
