// Package site is what an operator says about the place where a stack is
// installed.
//
// It holds the kind Site, reads it strictly and checks what can be checked
// without the cluster. It never talks to a cluster or a registry.
package site

import (
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/yamlfile"
)

// KindSite heads a site file.
const KindSite = "Site"

// Registry modes.
const (
	Embedded = "embedded" // served by caisson from the bundle
	External = "external" // the site's own registry
)

// The reference strategies.
const (
	RewriteReferences = "rewrite" // pin every image by digest to the site registry
	MirrorReferences  = "mirror"  // an agent tells each node's runtime of the site registry
	IDMSReferences    = "idms"    // OpenShift's mirror sets tell it
)

// Site describes one place of installation.
type Site struct {
	// APIVersion is caisson.dev/v1alpha1.
	APIVersion string `yaml:"apiVersion" jsonschema:"required,enum=caisson.dev/v1alpha1"`
	// Kind is Site.
	Kind string `yaml:"kind" jsonschema:"required,enum=Site"`
	// Metadata names the site.
	Metadata Metadata `yaml:"metadata" jsonschema:"required"`
	// Cluster says which cluster is meant.
	Cluster Cluster `yaml:"cluster,omitempty"`
	// Registry is where the cluster pulls from.
	Registry Registry `yaml:"registry" jsonschema:"required"`
	// References say how upstream image names become pulls from the site
	// registry: rewrite pins each by digest; mirror tells every node, with an
	// agent; idms does so on OpenShift. rewrite goes with either. Where absent,
	// idms and rewrite on OpenShift, elsewhere rewrite.
	References []string `yaml:"references,omitempty" jsonschema:"enum=rewrite,enum=mirror,enum=idms"`
	// Components choose and tune the stack's components, by name.
	Components map[string]Component `yaml:"components,omitempty"`
	// StorageClass is a storage class that the cluster must have, or the stack
	// bring. Which class a volume gets is set in the components' values.
	StorageClass string `yaml:"storageClass,omitempty"`
	// Hub is the address of the site's model hub, such as http://hub.site:8080, for
	// charts that ask for it.
	Hub string `yaml:"hub,omitempty" jsonschema:"pattern=^https?://"`
	// GPU says what is wanted of the nodes with GPUs.
	GPU *GPU `yaml:"gpu,omitempty"`

	// Dir is where the site file lies; paths in it are relative to here.
	Dir string `yaml:"-"`
}

// Metadata names a site.
type Metadata struct {
	// Name is a DNS label.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
}

// Cluster says which cluster is meant.
type Cluster struct {
	// Context of the kubeconfig; the current one where absent.
	Context string `yaml:"context,omitempty"`
}

// Registry is the registry that the cluster's nodes pull from. A plan holds it as
// the site file does. Read leaves no slash around Prefix.
type Registry struct {
	// Mode is external for the site's own registry, embedded for one that
	// caisson serves.
	Mode string `yaml:"mode" json:"mode" jsonschema:"required,enum=embedded,enum=external"`
	// Address is HOST[:PORT] as the nodes reach it.
	Address string `yaml:"address" json:"address" jsonschema:"required,minLength=1,example=registry.site.example:5000"`
	// Prefix is put before every repository, such as mirror/.
	Prefix string `yaml:"prefix,omitempty" json:"prefix,omitempty"`
	// CAFile is a PEM file with the registry's certificate authority.
	CAFile string `yaml:"caFile,omitempty" json:"caFile,omitempty"`
	// PlainHTTP says that the registry speaks HTTP without TLS.
	PlainHTTP bool `yaml:"plainHTTP,omitempty" json:"plainHTTP,omitempty"`
	// PullSecretRef names a Secret of type kubernetes.io/dockerconfigjson.
	PullSecretRef *SecretRef `yaml:"pullSecretRef,omitempty" json:"pullSecretRef,omitempty"`
	// NodesLogIn says that the container runtime of every node logs in to the
	// registry by itself, so that pods need no Secret for it.
	NodesLogIn bool `yaml:"nodesLogIn,omitempty" json:"nodesLogIn,omitempty"`
}

// SecretRef names a Secret.
type SecretRef struct {
	// Name of the Secret.
	Name string `yaml:"name" json:"name" jsonschema:"required,minLength=1"`
	// Namespace of the Secret; the component's where absent.
	Namespace string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
}

// Component is what a site says about one component.
type Component struct {
	// Enabled says whether it is installed; true where absent. Only optional
	// components can be left out.
	Enabled *bool `yaml:"enabled,omitempty"`
	// Values override the stack's, by the name of the chart in the stack.
	Values map[string]map[string]any `yaml:"values,omitempty"`
}

// Read reads the Site document of the file at path and checks it. The registry's
// CA file then counts from where this process stands. The error is a
// *yamlfile.Error that lists every problem, or yamlfile.ErrNoDocument.
func Read(path string) (*Site, error) {
	doc, err := yamlfile.ReadFile(path, KindSite, yamlfile.MaxBytes)
	if err != nil {
		return nil, err
	}
	s, err := decodeSite(doc)
	if err != nil {
		return nil, err
	}
	s.Dir = filepath.Dir(path)
	if s.Registry.CAFile != "" {
		s.Registry.CAFile = s.Path(s.Registry.CAFile)
	}
	return s, nil
}

// Parse is Read for bytes; name stands for the file in messages. Dir is left
// empty.
func Parse(name string, data []byte) (*Site, error) {
	doc, err := yamlfile.Parse(name, data, KindSite)
	if err != nil {
		return nil, err
	}
	return decodeSite(doc)
}

func decodeSite(doc *yamlfile.Document) (*Site, error) {
	var s Site
	doc.Decode(&s)
	checkSite(doc, &s)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	s.Registry.Prefix = strings.Trim(s.Registry.Prefix, "/")
	return &s, nil
}

// Enables says whether the site wants a component.
func (s *Site) Enables(component string) bool {
	c, ok := s.Components[component]
	return !ok || c.Enabled == nil || *c.Enabled
}

// Base is where the site's repositories begin: HOST[:PORT][/PREFIX].
func (r Registry) Base() string {
	if p := strings.Trim(r.Prefix, "/"); p != "" {
		return r.Address + "/" + p
	}
	return r.Address
}

// Place is what the site's nodes pull for a manifest of an upstream reference.
func (r Registry) Place(ref imageref.Ref, dg digest.Digest) imageref.Ref {
	return imageref.Ref(r.Base() + "/" + ref.SitePath()).At(dg)
}

// Path leads to a file that the site names: a relative one lies beside it.
func (s *Site) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Dir, name)
}
