// Package stack is what people declare: the components of a stack, and the
// mirrors through which its upstreams are reached.
//
// It holds the two kinds, Stack and Upstreams, reads them strictly and checks
// what can be checked without a network. It never resolves anything, and never
// reads the files a stack names.
package stack

import (
	"path/filepath"

	"github.com/caisson/caisson/internal/api/yamlfile"
)

// The kinds of this package.
const (
	KindStack     = "Stack"
	KindUpstreams = "Upstreams"
)

// Stack declares what a bundle will hold and how it is installed.
type Stack struct {
	// APIVersion is caisson.dev/v1alpha1.
	APIVersion string `yaml:"apiVersion" jsonschema:"required,enum=caisson.dev/v1alpha1"`
	// Kind is Stack.
	Kind string `yaml:"kind" jsonschema:"required,enum=Stack"`
	// Metadata names the stack.
	Metadata Metadata `yaml:"metadata" jsonschema:"required"`
	// Platforms are those whose images are carried: os/arch or os/arch/variant.
	Platforms []string `yaml:"platforms,omitempty" jsonschema:"required,minItems=1,example=linux/amd64"`
	// Kubernetes is the range of versions that charts are rendered for.
	Kubernetes Kubernetes `yaml:"kubernetes,omitempty"`
	// Agent carries caisson itself as an image, for what runs on the site's nodes:
	// the reference strategy mirror needs it.
	Agent bool `yaml:"agent,omitempty"`
	// Components are the units of installation.
	Components []Component `yaml:"components" jsonschema:"required,minItems=1"`

	// Dir is where the stack lies; paths in it are relative to here.
	Dir string `yaml:"-"`
}

// Metadata names a stack. Bundle files are named after it.
type Metadata struct {
	// Name is a DNS label, such as demo.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Version is the stack's own version, such as 1.0.0.
	Version string `yaml:"version" jsonschema:"required,minLength=1"`
}

// Kubernetes is the range of clusters a stack is made for.
type Kubernetes struct {
	// Versions are rendered at each; images are the union. Give the lowest and
	// the highest.
	Versions []string `yaml:"versions,omitempty" jsonschema:"pattern=^v?[0-9]+\\.[0-9]+(\\.[0-9]+)?$,example=1.33"`
	// APIVersions are API groups a chart may ask for, such as
	// monitoring.coreos.com/v1.
	APIVersions []string `yaml:"apiVersions,omitempty"`
}

// Component is one unit of installation: it is installed, becomes ready and is
// rolled back as a whole.
type Component struct {
	// Name is a DNS label, unique in the stack.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Needs are components that must be ready first.
	Needs []string `yaml:"needs,omitempty"`
	// Namespace is where the component is installed; its name where absent.
	Namespace string `yaml:"namespace,omitempty" jsonschema:"pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Images are carried beyond those that the charts reveal.
	Images []string `yaml:"images,omitempty" jsonschema:"example=ghcr.io/acme/web:1.2.3"`
	// Charts are Helm charts, installed in this order.
	Charts []Chart `yaml:"charts,omitempty"`
	// Models come from a Hugging Face compatible hub.
	Models []Model `yaml:"models,omitempty"`
	// Files are carried as they are: driver installers, ISO images.
	Files []File `yaml:"files,omitempty"`
	// Manifests are plain Kubernetes YAML files beside the stack.
	Manifests []string `yaml:"manifests,omitempty"`
	// Optional says that a site may leave the component out.
	Optional bool `yaml:"optional,omitempty"`
	// Ready lists what must hold before the component counts as ready.
	Ready []Condition `yaml:"ready,omitempty"`
	// Allow accepts what the egress lint finds in the component: places that
	// would call out of a closed site, and lookups of what is not the release's
	// own. What it finds and nothing accepts fails resolve and plan.
	Allow []Allow `yaml:"allow,omitempty"`
}

// Allow accepts findings of the egress lint.
type Allow struct {
	// Code of the findings, such as egress/download.
	Code string `yaml:"code" jsonschema:"required,enum=egress/download,enum=egress/remote,enum=egress/image,enum=egress/pull-always,enum=egress/call-home,enum=egress/more,enum=lookup,enum=chance"`
	// Match is a pattern of the template, of TEMPLATE:LINE or of the text that was
	// found, such as web/templates/*; an asterisk stands for anything.
	Match string `yaml:"match" jsonschema:"required,minLength=1,maxLength=1024"`
	// Reason says why it is accepted, for whoever reads the report.
	Reason string `yaml:"reason" jsonschema:"required,minLength=1,maxLength=1024"`
}

// Chart is one Helm release.
type Chart struct {
	// Name is the release's name.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=53"`
	// Source is oci://REGISTRY/PATH of the chart, or the address of an HTTP
	// chart repository.
	Source string `yaml:"source" jsonschema:"required,pattern=^(oci|https?)://"`
	// Chart is its name in an HTTP repository; the release's name where absent.
	Chart string `yaml:"chart,omitempty"`
	// Version is the chart's exact version.
	Version string `yaml:"version" jsonschema:"required,minLength=1"`
	// Values override the chart's own and those of ValuesFiles.
	Values map[string]any `yaml:"values,omitempty"`
	// ValuesFiles are files beside the stack; later ones override earlier ones.
	ValuesFiles []string `yaml:"valuesFiles,omitempty"`
}

// Model is one repository of a model hub.
type Model struct {
	// Name is what the stack calls the model.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Source is hf://OWNER/NAME.
	Source string `yaml:"source" jsonschema:"required,pattern=^hf://[^/]+/[^/]+$"`
	// Revision is a branch, tag or commit; main where absent.
	Revision string `yaml:"revision,omitempty"`
	// Include are patterns of files to carry, such as *.safetensors; all where
	// absent.
	Include []string `yaml:"include,omitempty"`
	// Exclude are patterns of files to leave out, stronger than Include.
	Exclude []string `yaml:"exclude,omitempty"`
}

// File is anything that can be downloaded.
type File struct {
	// Name is unique in the component.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-._a-z0-9]*[a-z0-9])?$,maxLength=128"`
	// URL is where it comes from.
	URL string `yaml:"url" jsonschema:"required,pattern=^https?://"`
	// SHA256 is the digest of its content, 64 hex digits.
	SHA256 string `yaml:"sha256" jsonschema:"required,pattern=^(sha256:)?[0-9a-f]{64}$"`
}

// Condition is one thing that must hold in the cluster.
type Condition struct {
	// APIVersion of the object, where its kind alone is ambiguous.
	APIVersion string `yaml:"apiVersion,omitempty"`
	// Kind of the object, such as Deployment.
	Kind string `yaml:"kind" jsonschema:"required,minLength=1"`
	// Name of the object.
	Name string `yaml:"name" jsonschema:"required,minLength=1"`
	// Namespace of the object; the component's where absent.
	Namespace string `yaml:"namespace,omitempty"`
	// Condition that must be True, such as Available; where absent the object
	// must be in the state that its kind counts as done.
	Condition string `yaml:"condition,omitempty"`
}

// ReadStack reads the Stack document of the file at path and checks it. The
// error is a *yamlfile.Error that lists every problem, or
// yamlfile.ErrNoDocument.
func ReadStack(path string) (*Stack, error) {
	doc, err := yamlfile.ReadFile(path, KindStack, yamlfile.MaxBytes)
	if err != nil {
		return nil, err
	}
	s, err := decodeStack(doc)
	if err != nil {
		return nil, err
	}
	s.Dir = filepath.Dir(path)
	return s, nil
}

// ParseStack is ReadStack for bytes; name stands for the file in messages. Dir
// is left empty.
func ParseStack(name string, data []byte) (*Stack, error) {
	doc, err := yamlfile.Parse(name, data, KindStack)
	if err != nil {
		return nil, err
	}
	return decodeStack(doc)
}

func decodeStack(doc *yamlfile.Document) (*Stack, error) {
	var s Stack
	doc.Decode(&s)
	checkStack(doc, &s)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return &s, nil
}

// Path leads to a file that the stack names.
func (s *Stack) Path(name string) string {
	return filepath.Join(s.Dir, filepath.FromSlash(name))
}
