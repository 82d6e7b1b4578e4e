// Package plan is the file that says what will be done to a site: which releases
// and manifests in which order, which image each upstream name becomes, what has
// to be ready, what going back would do. Package decide makes it.
//
// It holds the form of the file and what follows from it alone. It never reads a
// cluster, a registry or a bundle. A plan holds no rendered object. It binds charts
// and values by digest, lists every rendered object with the digest of its content,
// and names the fields that chance decides: only they may differ at install.
package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/event"
)

// APIVersion and Kind head every plan file.
const (
	APIVersion = "caisson.dev/v1alpha1"
	Kind       = "Plan"
)

// maxPlan bounds a plan file.
const maxPlan = 64 << 20

// Errors of this package.
var (
	// ErrPreflight: findings forbid the plan.
	ErrPreflight = errors.New("the site does not meet what the plan needs")
	// ErrUnfit: the plan says something else than the bundle it names.
	ErrUnfit = errors.New("the plan does not fit the bundle")
	// ErrInvalid is wrapped by every complaint about a plan file.
	ErrInvalid = errors.New("not a valid plan")
)

// Plan is a decided installation. Lists are in a fixed order, so equal inputs
// give equal files.
type Plan struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Name       string          `json:"name"`    // of the stack
	Version    string          `json:"version"` // of the stack
	Index      digest.Digest   `json:"index"`   // of the bundle: its index.json
	Lock       digest.Digest   `json:"lock"`    // of the lock inside the bundle
	Sequence   int64           `json:"sequence,omitempty"`
	KeyIDs     []string        `json:"keyIDs,omitempty"`  // whose signatures were accepted
	Trust      []digest.Digest `json:"trust,omitempty"`   // of those keys: of the PKIX encoding, in full
	Bundles    []string        `json:"bundles,omitempty"` // where the bundle lay; install looks there unless told otherwise
	Keys       []string        `json:"keys,omitempty"`    // public key files, likewise
	Site       Site            `json:"site"`
	Cluster    Cluster         `json:"cluster"`
	Images     []Image         `json:"images,omitempty"`     // by upstream reference
	Models     []ModelImage    `json:"models,omitempty"`     // of the components, in the lock's order
	Components []Component     `json:"components,omitempty"` // in order of installation
	Nodes      *NodeChange     `json:"nodes,omitempty"`      // nil: nodes stay as they are
	GPU        *GPU            `json:"gpu,omitempty"`        // nil: neither the cluster nor the stack has to do with GPUs
	Bytes      Bytes           `json:"bytes"`
	Findings   []event.Finding `json:"findings,omitempty"` // none of them an error
}

// Site is what the operator chose, as far as a plan depends on it.
type Site struct {
	Name          string            `json:"name"`
	Digest        digest.Digest     `json:"digest"` // of the site file
	Context       string            `json:"context,omitempty"`
	Registry      site.Registry     `json:"registry"`
	References    []string          `json:"references"`
	ReferencesWhy string            `json:"referencesWhy,omitempty"` // where the site file names none
	StorageClass  string            `json:"storageClass,omitempty"`
	Hub           string            `json:"hub,omitempty"`
	Components    map[string]Choice `json:"components,omitempty"`
	GPU           *site.Policy      `json:"gpu,omitempty"`
}

// Choice is what a site says about one component.
type Choice struct {
	Enabled *bool                     `json:"enabled,omitempty"` // nil: yes
	Values  map[string]map[string]any `json:"values,omitempty"`  // over the stack's, by release
}

// Cluster is the cluster the plan is for. The plan holds on no other, and on
// this one only as long as the digest of these facts is the same.
type Cluster struct {
	UID     string        `json:"uid"`
	Version string        `json:"version"`
	Digest  digest.Digest `json:"digest"` // of UID and Version
	Server  string        `json:"server,omitempty"`
	Bound   *Bound        `json:"bound,omitempty"` // what else the plan depends on

	APIVersions []string `json:"apiVersions,omitempty"` // what it served, for charts that ask: "v1", "v1/Pod"
}

// Bind computes the digest of what a plan depends on.
func Bind(uid, version string) digest.Digest {
	return digest.FromString(uid + "\n" + version + "\n")
}

// Bytes is the size of image content.
type Bytes struct {
	Total   int64 `json:"total"`   // of all images of the plan, each blob once
	Missing int64 `json:"missing"` // of those the registry does not have yet
}

// Image is one upstream reference and what the site's nodes pull for it.
type Image struct {
	Ref      imageref.Ref   `json:"ref"`  // in the lock
	Site     imageref.Ref   `json:"site"` // HOST/PREFIX/REPOSITORY@DIGEST
	Digest   digest.Digest  `json:"digest"`
	Platform string         `json:"platform,omitempty"` // set where the registry holds that child instead of the index
	Present  bool           `json:"present"`            // seen in the registry
	Aliases  []imageref.Ref `json:"aliases,omitempty"`  // other forms in which charts name it
}

// ModelImage is a model that pods mount as an image, and what the site's nodes pull for it.
type ModelImage struct {
	Ref  imageref.Ref `json:"ref"`  // in the lock
	Site string       `json:"site"` // HOST/PREFIX/REPOSITORY:TAG, or Ref where the site does not rewrite
}

// Component is one unit of installation.
type Component struct {
	Name      string           `json:"name"`
	Level     int              `json:"level"` // components of one level need nothing of each other
	Needs     []string         `json:"needs,omitempty"`
	Namespace string           `json:"namespace"`
	CRDs      []CRD            `json:"crds,omitempty"`
	Releases  []Release        `json:"releases,omitempty"`
	Manifests []Manifest       `json:"manifests,omitempty"`
	Objects   []ObjectChange   `json:"objects,omitempty"` // that change and belong to no release of the plan
	Images    []imageref.Ref   `json:"images,omitempty"`  // in the lock
	Ready     []lock.Condition `json:"ready,omitempty"`   // namespaces filled in
	Bytes     Bytes            `json:"bytes"`
	Rollback  []string         `json:"rollback,omitempty"` // what going back would do, in order, for people
}

// CRD is a custom resource definition that a component brings.
type CRD struct {
	Name   string `json:"name"`
	Source string `json:"source"` // release or manifest item it comes from
	Size   int    `json:"size"`   // bytes as written
	Exists bool   `json:"exists"` // it was there when the plan was made
	// Unchanged: it was there just as the component brings it.
	Unchanged bool `json:"unchanged,omitempty"`
}

// Action is what will happen to a release.
type Action string

// The actions.
const (
	Install Action = "install"
	Upgrade Action = "upgrade"
	Keep    Action = "keep" // already as planned
)

// Release is one Helm release as it should be.
type Release struct {
	Name         string         `json:"name"`
	Chart        imageref.Ref   `json:"chart"`       // in the lock
	ChartDigest  digest.Digest  `json:"chartDigest"` // of the chart archive
	ChartVersion string         `json:"chartVersion"`
	Values       map[string]any `json:"values,omitempty"`
	ValuesDigest digest.Digest  `json:"valuesDigest"`
	ImagesDigest digest.Digest  `json:"imagesDigest"` // of the references the release's images become
	Objects      int            `json:"objects"`      // rendered, hooks included
	Action       Action         `json:"action"`
	Revision     int            `json:"revision,omitempty"`    // there now
	Changes      []string       `json:"changes,omitempty"`     // of an upgrade: chart, values, images, or why else
	Differences  []string       `json:"differences,omitempty"` // of values: "replicas: 2 > 3"; secrets not shown

	ObjectChanges []ObjectChange `json:"objectChanges,omitempty"` // against the revision that is there
	Rendering     *Rendering     `json:"rendering,omitempty"`     // nil in plans of earlier versions
}

// Manifest is one file of plain objects.
type Manifest struct {
	Item    imageref.Ref  `json:"item"`   // lock reference
	Digest  digest.Digest `json:"digest"` // of the file
	Objects int           `json:"objects"`
}

// Component finds a component by name.
func (p *Plan) Component(name string) (*Component, bool) {
	for i := range p.Components {
		if p.Components[i].Name == name {
			return &p.Components[i], true
		}
	}
	return nil, false
}

// Digest is the digest of the plan's file form.
func (p *Plan) Digest() (digest.Digest, error) {
	b, err := p.Marshal()
	return digest.FromBytes(b), err
}

// Marshal writes the plan as indented JSON, ending in a newline.
func (p *Plan) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		return nil, fmt.Errorf("encoding plan: %w", err)
	}
	return b.Bytes(), nil
}

// Parse reads a plan's file form, strictly: no unknown field, nothing after it,
// every digest well formed, every reference to a component or image resolved.
// Errors wrap ErrInvalid.
func Parse(data []byte) (*Plan, error) {
	if len(data) > maxPlan {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(data), maxPlan)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var p Plan
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows it", ErrInvalid)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &p, nil
}

// Read reads a plan file. Errors wrap ErrInvalid or are those of the file
// system.
func Read(path string) (*Plan, error) {
	data, err := atomicfile.ReadFile(path, maxPlan)
	if errors.As(err, new(*atomicfile.TooLargeError)) {
		return nil, fmt.Errorf("reading plan %s: %w: %w", path, ErrInvalid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading plan: %w", err)
	}
	p, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading plan %s: %w", path, err)
	}
	return p, nil
}

// Write writes a plan file whole or not at all. Values can hold what should
// stay private: the file is the operator's alone.
func Write(path string, p *Plan) error {
	data, err := p.Marshal()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return fmt.Errorf("writing plan %s: %w", path, err)
	}
	return nil
}
