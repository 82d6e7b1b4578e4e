// Package stack is what people declare: the components of a stack, and the
// mirrors through which its upstreams are reached.
//
// It holds the two kinds, Stack and Upstreams, reads them strictly and checks
// what can be checked without a network. It never resolves anything, and never
// reads the files a stack names.
package stack

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/manifests"
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
	// Extends is the stack whose components are taken over: the name of a shipped one, or
	// the path of a file that begins with ./ or ../.
	Extends string `yaml:"extends,omitempty" jsonschema:"example=sovereign-ai"`
	// Remove are components of the extended stack that are left out, also where others
	// need them.
	Remove []string `yaml:"remove,omitempty"`
	// Profiles are parts of the stack that can be carried alone. One of the same name as in
	// the extended stack adds components to that.
	Profiles []Profile `yaml:"profiles,omitempty"`
	// Carry are profiles: their components, and what those need, are carried where nobody
	// asks for other profiles. Those of the extended stack where absent, else all.
	Carry []string `yaml:"carry,omitempty"`
	// Platforms are those whose images are carried: os/arch or os/arch/variant. Those of
	// the extended stack where absent.
	Platforms []string `yaml:"platforms,omitempty" jsonschema:"minItems=1,example=linux/amd64"`
	// Kubernetes is the range of versions that charts are rendered for.
	Kubernetes Kubernetes `yaml:"kubernetes,omitempty"`
	// Agent carries caisson itself as an image, for what runs on the site's nodes:
	// the reference strategy mirror needs it.
	Agent bool `yaml:"agent,omitempty"`
	// Components are the units of installation. One of the same name as in the extended
	// stack adds to that: lists grow, charts, models and files of the same name are merged,
	// and values as Helm merges them.
	Components []Component `yaml:"components" jsonschema:"minItems=1"`

	file    *SourceFile
	origins origins // of fields that do not stand in file where they stand here
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
	// Replace are lists of this component that take the place of the extended stack's, rather
	// than add to it.
	Replace []string `yaml:"replace,omitempty" jsonschema:"enum=needs,enum=after,enum=images,enum=charts,enum=models,enum=files,enum=manifests,enum=upstreamManifests,enum=ready,enum=allow"`
	// License is that of the software, as an SPDX expression.
	License string `yaml:"license,omitempty" jsonschema:"example=Apache-2.0"`
	// Needs are components that must be ready first.
	Needs []string `yaml:"needs,omitempty"`
	// After are components that come first where they are part of the stack.
	After []string `yaml:"after,omitempty"`
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
	// UpstreamManifests are Kubernetes YAML that projects publish elsewhere than in a
	// chart: files by their URL, or kustomizations in an archive.
	UpstreamManifests []UpstreamManifest `yaml:"upstreamManifests,omitempty"`
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
	// Source is oci://REGISTRY/PATH of the chart, the address of an HTTP chart
	// repository, or caisson://NAME for a chart that comes with the program.
	Source string `yaml:"source,omitempty" jsonschema:"pattern=^(oci|https?|caisson)://"`
	// Chart is its name in an HTTP repository; the release's name where absent.
	Chart string `yaml:"chart,omitempty"`
	// Version is the chart's exact version. A chart that comes with the program has one
	// version, that may be left out.
	Version string `yaml:"version,omitempty" jsonschema:"minLength=1"`
	// Values override the chart's own and those of ValuesFiles.
	Values map[string]any `yaml:"values,omitempty"`
	// ValuesFiles are files beside the stack; later ones override earlier ones.
	ValuesFiles []string `yaml:"valuesFiles,omitempty"`

	layers []ValuesLayer
}

// Model is one repository of a model hub.
type Model struct {
	// Name is what the stack calls the model.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Source is hf://OWNER/NAME.
	Source string `yaml:"source,omitempty" jsonschema:"pattern=^hf://[^/]+/[^/]+$"`
	// Revision is a branch, tag or commit; main where absent.
	Revision string `yaml:"revision,omitempty"`
	// Include are patterns of files to carry, such as *.safetensors; all where
	// absent.
	Include []string `yaml:"include,omitempty"`
	// Exclude are patterns of files to leave out, stronger than Include.
	Exclude []string `yaml:"exclude,omitempty"`
	// Serve says what the model will be asked for, and so which files it must
	// have: chat (tokenizer and chat template), completion or embed (tokenizer);
	// none, or absent, demands nothing.
	Serve string `yaml:"serve,omitempty" jsonschema:"enum=chat,enum=completion,enum=embed,enum=none"`
	// Allow accepts, file by file, what would be refused: code (pickled weights,
	// Python, archives), which is then carried, and an index or a configuration
	// that contradicts the other files.
	Allow []ModelAllow `yaml:"allow,omitempty"`
	// Extras are what clients of the model would download otherwise: encodings of
	// a tokenizer, a draft model. They lie among the model's files.
	Extras []ModelExtra `yaml:"extras,omitempty"`
}

// ModelAllow accepts one file of a model.
type ModelAllow struct {
	// File is the file's path, without patterns: pytorch_model.bin.
	File string `yaml:"file" jsonschema:"required,minLength=1,maxLength=1024"`
	// Reason says why it is accepted, for whoever reads the report.
	Reason string `yaml:"reason" jsonschema:"required,minLength=1,maxLength=1024"`
}

// ModelExtra is one file by URL, or another model in a folder.
type ModelExtra struct {
	// Path is where it lies among the model's files: a file for URL, a folder for
	// Source.
	Path string `yaml:"path" jsonschema:"required,minLength=1,maxLength=1024,example=tiktoken/o200k_base.tiktoken"`
	// URL is where the file comes from.
	URL string `yaml:"url,omitempty" jsonschema:"pattern=^https?://"`
	// SHA256 is the digest of the file's content, 64 hex digits.
	SHA256 string `yaml:"sha256,omitempty" jsonschema:"pattern=^(sha256:)?[0-9a-f]{64}$"`
	// Source is hf://OWNER/NAME of the other model, such as a draft model.
	Source string `yaml:"source,omitempty" jsonschema:"pattern=^hf://[^/]+/[^/]+$"`
	// Revision of the other model is a branch, tag or commit; main where absent.
	Revision string `yaml:"revision,omitempty"`
	// Include are patterns of the other model's files; the usual ones where absent.
	Include []string `yaml:"include,omitempty"`
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

// ReadStack reads the Stack document of the file at path, with what it extends, and
// checks it. The error is a *yamlfile.Error that lists every problem, or
// yamlfile.ErrNoDocument.
func ReadStack(path string) (*Stack, error) {
	from, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return parseStack(from)
}

// Read is ReadStack for a path, and ReadShipped for the name of a stack that comes with
// the program. A file of that name goes before it.
func Read(name string) (*Stack, error) {
	info, err := os.Stat(name)
	isFile := err == nil && info.Mode().IsRegular()
	if !isFile && (slices.Contains(manifests.Stacks(), name) || err != nil && !strings.ContainsAny(name, "./\\")) {
		return ReadShipped(name)
	}
	return ReadStack(name)
}

// ReadShipped reads a stack that comes with the program. Errors wrap ErrNoStack.
func ReadShipped(name string) (*Stack, error) {
	from, err := openShipped(name)
	if err != nil {
		return nil, err
	}
	return parseStack(from)
}

// ParseStack is ReadStack for bytes; name stands for the file in messages. Paths in it are
// relative to the working directory.
func ParseStack(name string, data []byte) (*Stack, error) {
	return parseStack(&SourceFile{Name: name, Dir: ".", Text: data})
}

func parseStack(from *SourceFile) (*Stack, error) {
	doc, err := yamlfile.Parse(from.Name, from.Text, KindStack)
	if err != nil {
		return nil, err
	}
	from.doc = doc
	own := &Stack{file: from}
	doc.Decode(own)
	own.noteLayers()
	whole := own
	if own.Extends != "" && !doc.Failed() {
		if whole = extendStack(doc, own); whole == nil {
			return nil, doc.Err()
		}
	}
	checkStack(doc, whole)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return whole, nil
}

// Others are those that c comes after and does not need.
func (c *Component) Others() []string {
	return slices.DeleteFunc(slices.Clone(c.After), func(n string) bool { return slices.Contains(c.Needs, n) })
}

// Before are all components that come before c: those that it needs, and those that it
// comes after.
func (c *Component) Before() []string { return union(c.Needs, c.After) }

// extendStack is own with what it extends, or nil where that cannot be had: doc says why.
func extendStack(doc *yamlfile.Document, own *Stack) *Stack {
	base, err := readBase(own.file, own.Extends)
	if err != nil {
		doc.Problemf("extends", "%v", err)
		return nil
	}
	for i, name := range own.Remove {
		if !slices.ContainsFunc(base.Components, func(c Component) bool { return c.Name == name }) {
			doc.Problemf(fmt.Sprintf("remove[%d]", i), "stack %s has no component %q%s", own.Extends, name, yamlfile.Suggest(name, base.componentNames()))
		}
	}
	for i, c := range own.Components {
		if first := slices.IndexFunc(own.Components, func(o Component) bool { return o.Name == c.Name }); first < i {
			doc.Problemf(fmt.Sprintf("components[%d].name", i), "%q is already the name of components[%d]", c.Name, first)
		}
	}
	reportRemovedNeeds(doc, own)
	reportMisnamed(doc, base, own)
	reportReplaced(doc, base, own)
	if doc.Failed() {
		return nil
	}
	return mergeStacks(base, own)
}

// reportMisnamed reports charts and models that say nothing of where they come from, so
// that they must be meant to be those of the extended stack, which has none of that name.
func reportMisnamed(doc *yamlfile.Document, base, own *Stack) {
	for i, c := range own.Components {
		k := slices.Index(base.componentNames(), c.Name)
		if k < 0 || slices.Contains(own.Remove, c.Name) {
			continue
		}
		report := func(kind string, j int, name, source string, known []string) {
			if !slices.Contains(c.Replace, kind+"s") && source == "" && name != "" && !slices.Contains(known, name) {
				doc.Problemf(fmt.Sprintf("components[%d].%ss[%d].source", i, kind, j), "is missing: component %s of %s has no %s %q%s",
					c.Name, own.Extends, kind, name, yamlfile.Suggest(name, known))
			}
		}
		for j, ch := range c.Charts {
			report("chart", j, ch.Name, ch.Source, namesOf(base.Components[k].Charts, func(ch Chart) string { return ch.Name }))
		}
		for j, m := range c.Models {
			report("model", j, m.Name, m.Source, namesOf(base.Components[k].Models, func(m Model) string { return m.Name }))
		}
	}
}

// reportReplaced reports lists that are to be replaced where there is none.
func reportReplaced(doc *yamlfile.Document, base, own *Stack) {
	for i, c := range own.Components {
		there := slices.Contains(base.componentNames(), c.Name) && !slices.Contains(own.Remove, c.Name)
		for j, name := range c.Replace {
			at := fmt.Sprintf("components[%d].replace[%d]", i, j)
			switch known := slices.Sorted(maps.Keys((&Component{}).lists())); {
			case !slices.Contains(known, name):
				doc.Problemf(at, "%q is not one of %s%s", name, strings.Join(known, ", "), yamlfile.Suggest(name, known))
			case !there:
				doc.Problemf(at, "nothing is there to replace: %s has no component %q", own.Extends, c.Name)
			}
		}
	}
}

func namesOf[T any](list []T, name func(T) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = name(list[i])
	}
	return out
}

// reportRemovedNeeds reports what a stack's own components need although it removes it.
func reportRemovedNeeds(doc *yamlfile.Document, own *Stack) {
	names := own.componentNames()
	for i, c := range own.Components {
		for j, n := range c.Needs {
			if k := slices.Index(own.Remove, n); k >= 0 && !slices.Contains(names, n) {
				doc.Problemf(fmt.Sprintf("components[%d].needs[%d]", i, j), "%q is removed by remove[%d]", n, k)
			}
		}
	}
}

// File is the file that the stack was read from.
func (s *Stack) File() *SourceFile { return s.file }

func (s *Stack) componentNames() []string {
	return namesOf(s.Components, func(c Component) string { return c.Name })
}
