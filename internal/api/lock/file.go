package lock

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What is carried as one file.
const (
	File     Kind = "file"
	Manifest Kind = "manifest" // plain Kubernetes YAML
)

// FilesHost begins the references of files and manifests.
const FilesHost = "files.caisson.dev/"

var fileKind = KindInfo{
	Kind: File, Plural: "files", Title: "files", Purpose: "FILE",
	Listed: true, Plain: true, forms: []string{fileForm.Field},
}

var manifestKind = KindInfo{
	Kind: Manifest, Plural: "manifests", Title: "manifests", Purpose: "SOURCE",
	Plain: true, forms: []string{fileForm.Field},
}

var fileForm = Form{Field: "rawFile", Content: (*RawFile)(nil), About: "file or manifest"}

// RawFile is a file by URL, or a manifest: beside the stack, by URL, or built of what its
// project publishes.
type RawFile struct {
	Name      string        `yaml:"name"`
	URL       string        `yaml:"url,omitempty"`
	Path      string        `yaml:"path,omitempty"`    // manifests: relative to the lock file, slash-separated
	Shipped   string        `yaml:"shipped,omitempty"` // manifests: among the files of the stacks that ship with the program
	Build     *Build        `yaml:"build,omitempty"`   // manifests: how it is made of what its project publishes
	Digest    digest.Digest `yaml:"digest"`
	Size      int64         `yaml:"size"`
	MediaType string        `yaml:"mediaType"`
}

func (f *RawFile) normalize() {
	if f.Build != nil {
		f.Build.normalize()
	}
}

func (f *RawFile) clone() Content {
	if f.Build == nil {
		return f
	}
	c, b := *f, *f.Build
	b.Remotes = slices.Clone(b.Remotes)
	c.Build = &b
	return &c
}

// Written is what the stack calls a manifest, in rules about what it holds.
func (f *RawFile) Written() string {
	switch {
	case f.Path != "":
		return f.Path
	case f.Shipped != "":
		return shippedFiles + f.Shipped
	}
	return f.Name
}

func (f *RawFile) check(c *checker, at string) {
	c.checkText(at+".name", f.Name, true)
	if strings.ContainsAny(f.Name, `/\`) || f.Name == ".." || f.Name == "." {
		c.problem(at+".name", "%q is not a file name", f.Name)
	}
	given := countGiven(f.URL, f.Path, f.Shipped)
	if f.Build != nil {
		f.Build.check(c, at+".build")
		given++
	}
	if given != 1 {
		c.problem(at, "needs one of url, path, shipped and build, and has %d", given)
	}
	if f.Shipped != "" {
		c.checkPath(at+".shipped", f.Shipped)
	}
	if f.URL != "" {
		c.checkURL(at+".url", f.URL)
	}
	if f.Path != "" {
		c.checkPath(at+".path", belowLock(f.Path))
	}
	c.checkBlob(at, f.Digest, f.Size)
	c.mediaType(at+".mediaType", f.MediaType, true)
}

func countGiven(values ...string) (n int) {
	for _, v := range values {
		if v != "" {
			n++
		}
	}
	return n
}

// belowLock drops the steps that lead from the lock's folder to the stack's.
func belowLock(p string) string {
	p = strings.TrimPrefix(p, "./")
	for strings.HasPrefix(p, "../") {
		p = p[3:]
	}
	return p
}

func (f *RawFile) heads(*Item) []HeadBlob { return nil }

func (f *RawFile) slots(*Item) []Slot {
	src := Source{Kind: FromURL, URL: f.URL, Digest: f.Digest}
	switch {
	case f.Path != "":
		src = Source{Kind: FromPath, Path: f.Path, Digest: f.Digest}
	case f.Shipped != "":
		src = Source{Kind: FromShipped, Path: shippedFiles + f.Shipped, Digest: f.Digest}
	case f.Build != nil:
		src = Source{Kind: FromBuild, URL: f.Build.Source.URL, Build: f.Build, Digest: f.Digest}
	}
	return []Slot{blobSlot(f.blob(), src)}
}

func (f *RawFile) wrap(func(string) digest.Digest) (manifest, config []byte, err error) {
	empty := ocispec.DescriptorEmptyJSON
	return assembleManifest(ocispec.Manifest{
		ArtifactType: ArtifactTypeFile,
		Layers: []ocispec.Descriptor{{
			MediaType:   f.MediaType,
			Digest:      f.Digest,
			Size:        f.Size,
			Annotations: map[string]string{ocispec.AnnotationTitle: f.Name},
		}},
	}, empty.MediaType, empty.Data)
}

func (f *RawFile) artifactType() string { return ArtifactTypeFile }

func (f *RawFile) describe(_ *Item, d *Description) {
	d.Name, d.Checksum, d.Digest = f.Name, f.Digest, f.Digest
}

func (f *RawFile) facts() []Fact { return []Fact{{"file", ruleLock, f.blob()}} }

func (f *RawFile) blob() Blob { return Blob{f.Digest, f.MediaType, f.Size} }
